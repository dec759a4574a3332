"""A small real server that answers as told, and an environment in which nobody is signed in."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ml_platform.sdk import Platform


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answers:
    """What the server says, one after the other; `None` closes the connection without an answer."""

    url: str = ""
    waiting: deque[tuple[int, dict[str, str], bytes] | None] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)

    def add(self, status: int, body: Any = None, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.waiting.append((status, {k.replace("_", "-"): v for k, v in headers.items()}, data))

    def hang_up(self) -> None:
        self.waiting.append(None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: Answers

    def _serve(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.answers.received.append(Received(self.command, self.path, headers, self.rfile.read(size)))
        answer = self.answers.waiting.popleft()
        if answer is None:
            self.close_connection = True
            return
        status, extra, data = answer
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        for name, value in ({"content-type": "application/json"} | extra).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server finds them by these names

    def log_message(self, *_: object) -> None:
        """The test says what went wrong."""


@pytest.fixture
def answers() -> Iterator[Answers]:
    said = Answers()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"answers": said}))
    said.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield said
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


@pytest.fixture
def platform_of_answers(answers: Answers) -> Iterator[Platform]:
    with Platform(answers.url, "mlops_a_b") as found:
        yield found


@pytest.fixture(autouse=True)
def _nobody_is_signed_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MLOPS_API_URL", "MLOPS_API_KEY", "MLOPS_TEAM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))

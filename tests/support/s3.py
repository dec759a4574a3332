"""A real S3 server of the suite's own: moto's, over HTTP, on a free port, that can be taken away and given back.

Beyond moto it does what S3 does and moto leaves out: it knows its one access key, and a write is one step.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from ml_platform.kit.s3 import S3Address, S3Connection
from ml_platform.kit.s3.client import S3Client

ACCESS_KEY = "AKIATESTSOFTHEPLATFM"
SECRET_KEY = "secret-of-the-tests-and-of-nothing-else"
REGION = "eu-central-1"

_WRITES = {"PUT", "POST", "DELETE"}


class S3Server:
    """Starts at once; what it holds outlives `stop` and `start`, which come back to the same port."""

    def __init__(self) -> None:
        # Only the tests of S3 pay for these imports.
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            create_backend_app,
        )

        self._app = DomainDispatcherApplication(create_backend_app)
        self._writing = threading.Lock()
        self._released = threading.Event()
        self._released.set()
        self._server: Any = None
        self.port = 0
        self.failing = False
        self.keeps_conditions = True
        self.refuse: Callable[[str, str], bool] | None = None
        self.requests: list[tuple[str, str]] = []
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it, as the standard variables say it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
        }

    def make_bucket(self, name: str, *, locked: bool = False) -> None:
        """With Object Lock when it is to be `locked`."""
        headers = {"authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{REGION}/s3/x"}
        if locked:
            headers["x-amz-bucket-object-lock-enabled"] = "true"
        answer = httpx.put(
            f"{self.url}/{name}",
            headers=headers,
            content=(
                "<CreateBucketConfiguration>"
                f"<LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
            ),
        )
        answer.raise_for_status()

    def start(self) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log_request(self, *_args: Any) -> None:
                pass

        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True, request_handler=Quiet)
        self.port = self._server.port
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        """Nobody listens on its port any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @contextmanager
    def away(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Takes requests and answers none."""
        self._released.clear()
        try:
            yield
        finally:
            self._released.set()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        self._released.wait()
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        if self.failing or (self.refuse is not None and self.refuse(method, path)):
            return _refuse(start_response, "503 Slow Down", "SlowDown")
        if f"Credential={ACCESS_KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return _refuse(start_response, "403 Forbidden", "InvalidAccessKeyId")
        if not self.keeps_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if method not in _WRITES:
            return self._app(environ, start_response)
        with self._writing:
            return self._app(environ, start_response)


def _refuse(start_response: Any, status: str, code: str) -> Iterable[bytes]:
    body = f"<Error><Code>{code}</Code><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId></Error>".encode()
    start_response(status, [("content-type", "application/xml"), ("content-length", str(len(body)))])
    return [body]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of one test, and a prefix in it."""

    server: S3Server
    name: str

    @property
    def uri(self) -> str:
        return f"s3://{self.name}/the/platform"

    def client(self, uri: str | None = None, **connection: Any) -> S3Client:
        """Gives up soon, unless it is told otherwise."""
        limits = {"silence_seconds": 2.0, "retry_seconds": 2.0, "retries": 1, **connection}
        return S3Client(S3Address.parse(uri or self.uri), S3Connection(**limits))

    def keys(self) -> list[str]:
        return sorted(info.key for info in self.client(f"s3://{self.name}").objects("the"))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A fresh bucket; this process and its children know how to reach it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    name = f"test-{secrets.token_hex(8)}"
    s3_server.make_bucket(name)
    s3_server.requests.clear()
    return Bucket(s3_server, name)


@pytest.fixture
def locked_s3(s3: Bucket) -> Bucket:
    """A fresh bucket with Object Lock."""
    name = f"locked-{secrets.token_hex(8)}"
    s3.server.make_bucket(name, locked=True)
    return Bucket(s3.server, name)


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)

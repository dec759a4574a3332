"""A receiver of CloudEvents over HTTP that checks what the specification requires, and can misbehave."""

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REQUIRED = ("specversion", "id", "source", "type")
_NAME = re.compile(r"[a-z0-9]{1,20}\Z")


def check_event(event: dict[str, Any]) -> None:
    """CloudEvents 1.0.2: required attributes, names and types of all, time as RFC 3339, data as JSON."""
    for name in REQUIRED:
        assert isinstance(event.get(name), str), f"{name} is missing"
        assert event[name], f"{name} is empty"
    assert event["specversion"] == "1.0"
    urlsplit(event["source"])
    assert event["datacontenttype"] == "application/json"
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    for name, value in event.items():
        if name == "data":
            continue
        assert _NAME.match(name), name
        assert isinstance(value, str | bool | int), (name, value)
        if isinstance(value, int) and not isinstance(value, bool):
            assert -(2**31) <= value < 2**31, (name, value)
    json.dumps(event["data"], allow_nan=False)


class Receiver:
    """Keeps every event; `answer` may say another status than 204 for a body of events."""

    def __init__(self, port: int = 0, certificate: Path | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.posts = 0
        self.answer: Callable[[list[dict[str, Any]]], int] = lambda _: 204
        self.retry_after: str | None = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/sink?from=tests"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """By id."""
        with self._lock:
            return {e["id"]: e for e in self.events if e["type"] == f"org.kubeflow.serving.inference.{kind}"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    self.close_connection = True  # the sender was killed in the middle of it
                    return None
                try:
                    events = receiver._read(self.path, self.headers, body)
                except (AssertionError, ValueError, KeyError) as error:
                    receiver.faults.append(repr(error))
                    return self.reply(500)
                status = receiver.answer(events)
                with receiver._lock:
                    receiver.posts += 1
                    receiver.headers.append(dict(self.headers))
                    if status < 300:
                        receiver.events.extend(events)
                return self.reply(status)

            def reply(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if receiver.retry_after is not None and status >= 300:
                    self.send_header("Retry-After", receiver.retry_after)
                self.end_headers()

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError, ssl.SSLError):  # the sender was killed, or refuses
                    super().handle()

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _read(self, path: str, headers: Any, body: bytes) -> list[dict[str, Any]]:
        assert path == "/sink?from=tests", path
        kind = headers["content-type"].partition(";")[0]
        if kind == "application/cloudevents-batch+json":
            events = json.loads(body, parse_constant=_refuse)
            assert isinstance(events, list)
        elif kind == "application/cloudevents+json":
            events = [json.loads(body, parse_constant=_refuse)]
        else:
            event: dict[str, Any] = {
                name.lower()[3:]: unquote(value)
                for name, value in headers.items()
                if name.lower().startswith("ce-")
            }
            events = [{**event, "datacontenttype": kind, "data": json.loads(body, parse_constant=_refuse)}]
        for event in events:
            check_event(event)
        return events


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")

"""A collector of OTLP over HTTP that reads what it is sent by the published messages, and can misbehave."""

import contextlib
import gzip
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collected:
    """A span with its attributes as a dictionary."""

    def __init__(self, span: Span, resource: dict[str, Any]) -> None:
        self.raw = span
        self.name = span.name
        self.kind = span.kind
        self.trace_id, self.span_id = span.trace_id.hex(), span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = _plain(span.attributes)
        self.resource = resource
        self.failed = span.status.code == 2

    def __repr__(self) -> str:
        return f"{self.name} {self.attributes}"


class Collector:
    """Keeps all spans. `answer` says a status; while `free` is clear nobody is answered.

    One that is away has its port and refuses connections, until it is told to `listen`.
    """

    def __init__(self, *, away: bool = False) -> None:
        self.spans: list[Collected] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: set[str] = set()
        self.faults: list[str] = []
        self.posts = 0
        self.answer: Callable[[], int] = lambda: 200
        self.rejects = 0
        self.hangs_up = False
        self.free = threading.Event()
        self.free.set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(), bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.server_bind()
        self.port = self._server.server_address[1]
        self._listening = False
        if not away:
            self.listen()

    def listen(self) -> None:
        self._listening = True
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.free.set()
        if self._listening:
            self._server.shutdown()
        self._server.server_close()

    def roots(self) -> list[Collected]:
        """The servers' own spans, as they came."""
        with self._lock:
            return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]

    def of_request(self, request_id: str) -> list[Collected] | None:
        """The server's span and those below it, by their beginnings; None until it is there."""
        with self._lock:
            spans = list(self.spans)
        root = next((s for s in spans if s.attributes.get("mlops.request_id") == request_id), None)
        if root is None:
            return None
        below = [s for s in spans if s.trace_id == root.trace_id and s.parent == root.span_id]
        return [root, *sorted(below, key=lambda span: span.start)]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    self.close_connection = True  # the sender was killed in the middle of it
                    return
                with collector._lock:
                    collector.posts += 1
                collector.free.wait(60)
                status = collector.answer()
                if status < 300:
                    collector._read(self.path, dict(self.headers.items()), body)
                answer = ExportTraceServiceResponse()
                if collector.rejects:
                    answer.partial_success.rejected_spans = collector.rejects
                    answer.partial_success.error_message = "too old"
                data = answer.SerializeToString()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = collector.hangs_up  # without a word of it, as idle ones are closed

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # the sender was killed, or has given up
                    super().handle()

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _read(self, path: str, headers: dict[str, str], body: bytes) -> None:
        headers = {name.lower(): value for name, value in headers.items()}
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        with self._lock:
            self.paths.add(path)
            self.headers.append(headers)
            self.bodies.append(body)
            if headers.get("content-type") != "application/x-protobuf":
                self.faults.append(f"content-type {headers.get('content-type')}")
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _plain(group.resource.attributes)
                for span in (span for scope in group.scope_spans for span in scope.spans):
                    self.spans.append(Collected(span, resource))
                    self._check(self.spans[-1])

    def _check(self, span: Collected) -> None:
        """What the protocol requires of any span."""
        raw = span.raw
        if len(raw.trace_id) != 16 or not any(raw.trace_id) or len(raw.span_id) != 8 or not any(raw.span_id):
            self.faults.append(f"identifiers of {span}")
        if not span.name or not 0 < span.start <= span.end:
            self.faults.append(f"name or times of {span}")


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}

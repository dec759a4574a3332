"""Sends traced requests to a collector: `python -m ml_platform.inference.traces.exporter`.

A process of its own: writing spans takes more time than a prediction does. It is given what the workers noted,
as JSON, a line at a time; what it cannot get rid of it drops and counts, so it is always ready for more. It
ends a moment after its input has, whatever the collector does.
"""

from __future__ import annotations

import gzip
import http.client
import logging
import os
import random
import signal
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ml_platform.inference.settings import Settings
from ml_platform.inference.traces.counts import TraceCounts
from ml_platform.inference.traces.spans import SpanWriter
from ml_platform.inference.traces.standard import check_endpoint, headers_of, pairs
from ml_platform.inference.traces.tracer import Traced

VARIABLE = "MLOPS_INFERENCE_TRACES_SETTINGS"
"""In which the parent hands its settings, as JSON; they may hold a secret."""
STOP_SECONDS = 3.0

_log = logging.getLogger(__name__)
_BATCH = 100
WAITING = 10_000
_GATHER_SECONDS = 0.5
_TIMEOUT = 10.0
_PATIENCE = 30.0
_FIRST_PAUSE, _LAST_PAUSE = 0.5, 8.0
_LATER = frozenset({429, 502, 503, 504})


class Collector:
    """Posts to it over one connection. `deadline` says when there is no more time, in monotonic seconds."""

    def __init__(self, settings: Settings, counts: TraceCounts) -> None:
        self._url = urlsplit(check_endpoint(settings.traces_endpoint))
        self._target = f"{self._url.path}?{self._url.query}" if self._url.query else self._url.path
        self._headers = headers_of(settings.traces_headers)
        self._headers |= {"content-type": "application/x-protobuf", "user-agent": "ml-platform"}
        self._gzip = settings.traces_compression == "gzip"
        if self._gzip:
            self._headers["content-encoding"] = "gzip"
        self._context: ssl.SSLContext | None = None
        if self._url.scheme == "https":
            self._context = ssl.create_default_context(cafile=settings.traces_ca_file or None)
        self._counts = counts
        self._connection: http.client.HTTPConnection | None = None
        self._problem = ""

    def post(self, body: bytes, deadline: Callable[[], float], wait: Callable[[float], object]) -> bool:
        """Whether it took the body, before the deadline or at the first try."""
        body = gzip.compress(body, 1) if self._gzip else body
        pause = _FIRST_PAUSE
        while True:
            reused = self._connection is not None
            try:
                status, after = self._try(body, max(0.1, min(_TIMEOUT, deadline() - time.monotonic())))
            except (OSError, http.client.HTTPException) as error:
                self._drop_connection()
                if reused and not isinstance(error, TimeoutError):
                    continue  # it was closed meanwhile, as idle ones are
                self._failed(f"{type(error).__name__}: {error}"[:300])
                after = None
            else:
                if status < 300:
                    self._problem = ""
                    return True
                self._failed(f"it answered {status}")
                if status not in _LATER:
                    return False
            span = after if after is not None else pause * random.uniform(0.5, 1)  # noqa: S311 - jitter
            if time.monotonic() + span >= deadline():
                return False
            wait(span)
            pause = min(pause * 2, _LAST_PAUSE)

    def _try(self, body: bytes, timeout: float) -> tuple[int, float | None]:
        connection = self._connected(timeout)
        connection.request("POST", self._target, body, self._headers)
        answer = connection.getresponse()
        data = answer.read(65_536)
        if answer.will_close or not answer.isclosed():
            self._drop_connection()
        if answer.status < 300:
            self._counts.rejected_spans += _rejected(data)
        after = answer.headers.get("retry-after", "")
        return answer.status, float(after) if after.isdigit() else None

    def _connected(self, timeout: float) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is None:
            host, port = self._url.hostname or "", self._url.port
            if self._context is not None:
                connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)
            else:
                connection = http.client.HTTPConnection(host, port, timeout=timeout)
            connection.connect()
            self._connection = connection
        connection.sock.settimeout(timeout)
        return connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _failed(self, problem: str) -> None:
        self._counts.failures += 1
        if problem != self._problem:
            _log.warning("the collector does not take traces: %s", problem)
            self._problem = problem


class Exporter:
    """Takes requests on one thread and sends them on another."""

    def __init__(self, settings: Settings, tell: Callable[[TraceCounts], None]) -> None:
        self._counts = TraceCounts()
        self._tell = tell
        self._collector = Collector(settings, self._counts)
        attributes = pairs(settings.traces_attributes, "traces_attributes")
        self._writer = SpanWriter(settings.traces_service, attributes)
        self._waiting: deque[Traced] = deque()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._end = float("inf")
        self._in_hand = 0
        self._over = False
        self._sender = threading.Thread(target=self._send_always, name="sender", daemon=True)

    def start(self) -> None:
        self._sender.start()

    def take(self, requests: list[Traced]) -> None:
        """Queues them; drops those for which there is no room."""
        room = WAITING - len(self._waiting)
        self._waiting.extend(requests[:room])
        if room < len(requests):
            with self._lock:
                self._counts.dropped += len(requests) - room

    def stop(self) -> None:
        """Sends what waits, as far as that can be done in a moment."""
        self._end = time.monotonic() + STOP_SECONDS
        self._stopping.set()
        self._sender.join(STOP_SECONDS + 0.5)
        with self._lock:
            self._over = True
            left = len(self._waiting) + self._in_hand
            self._counts.dropped += left
        if left:
            _log.warning("%d traced requests could not be sent any more", left)
        self._tell(self._counts)

    def _send_always(self) -> None:
        while time.monotonic() < self._end and not (self._stopping.is_set() and not self._waiting):
            if len(self._waiting) < _BATCH:
                self._stopping.wait(_GATHER_SECONDS)
            with self._lock:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                self._in_hand = len(batch)
            if batch:
                self._send(batch)

    def _send(self, batch: list[Traced]) -> None:
        patience = time.monotonic() + _PATIENCE
        try:
            body = self._writer.write(batch)
            arrived = self._collector.post(body, lambda: min(patience, self._end), self._pause)
        except Exception:  # what comes next may be without fault
            _log.exception("%d traced requests cannot be sent", len(batch))
            arrived = False
        with self._lock:
            if self._over:
                return  # it was counted
            self._in_hand = 0
            if arrived:
                self._counts.exported += len(batch)
            else:
                self._counts.dropped += len(batch)
        self._tell(self._counts)

    def _pause(self, seconds: float) -> None:
        """A pause between tries is cut short when the end begins, and whole after that."""
        self._tell(self._counts)
        if self._stopping.is_set():
            time.sleep(seconds)
        else:
            self._stopping.wait(seconds)


def _rejected(data: bytes) -> int:
    try:
        answer = ExportTraceServiceResponse.FromString(data)
    except DecodeError:  # an answer in JSON, or none
        return 0
    rejected = int(answer.partial_success.rejected_spans)
    if rejected:
        _log.warning(
            "the collector refused %d spans: %s", rejected, answer.partial_success.error_message[:200]
        )
    return rejected


def main() -> int:
    settings = Settings.from_json(os.environ.pop(VARIABLE))
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s traces %(levelname)s %(message)s"
    )
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # it ends with its input, and after the workers
    exporter = Exporter(settings, _tell)
    exporter.start()
    decode = msgspec.json.Decoder(list[Traced]).decode
    for line in sys.stdin.buffer:
        try:
            exporter.take(decode(line))
        except msgspec.DecodeError as error:
            _log.error("a line cannot be read: %s", error)
    exporter.stop()
    return 0


def _tell(counts: TraceCounts) -> None:
    try:
        sys.stdout.buffer.write(msgspec.json.encode(counts) + b"\n")
        sys.stdout.buffer.flush()
    except OSError:
        pass  # the parent is gone


if __name__ == "__main__":
    sys.exit(main())

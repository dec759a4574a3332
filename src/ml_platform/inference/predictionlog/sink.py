"""Sends logged requests to a URL as CloudEvents: `python -m ml_platform.inference.predictionlog.sink`.

A process of its own: it reads what the workers have spooled, so a receiver that is slow or away costs a
prediction nothing. It tries until the receiver takes an event or says that it never will (400, 422, 413 for one
alone), ends when its standard input does, which is when the parent is gone, and goes on where it was.
"""

from __future__ import annotations

import argparse
import http.client
import logging
import os
import random
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ml_platform.inference.predictionlog.cloudevents import Event, binary, structured
from ml_platform.inference.predictionlog.outbox import Outbox
from ml_platform.kit.locks import LockHeldError, file_lock

MODES = ("batch", "structured", "binary")
URL_VARIABLE = "MLOPS_INFERENCE_EVENTS_URL"

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.25
_TIMEOUT = 10.0
_FIRST_PAUSE = 0.25
_LAST_PAUSE = 30.0
_LONGEST_WAIT = 120.0
_AT_ONCE = 8
_NEVER = frozenset({400, 413, 422})
"""Answers that say something of the event itself; any other one may change."""


def check_url(url: str) -> SplitResult:
    """Raises ValueError unless it is an http or https address without a name and a password in it."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise ValueError(f"events_url: {url!r} is not an http(s) address; give a token by events_token_file")
    _ = parts.port  # raises ValueError when it is no number
    return parts


class Receiver:
    """Posts bodies and does not return before each has arrived, was refused for good, or `stop` is set."""

    def __init__(
        self, url: str, token_file: Path | None, stop: threading.Event, failed: Callable[[str], None]
    ) -> None:
        self._url = check_url(url)
        self._token_file = token_file
        self._stop = stop
        self._failed = failed
        self._local = threading.local()
        path = self._url.path or "/"
        self._target = f"{path}?{self._url.query}" if self._url.query else path

    def post(self, headers: dict[str, str], body: bytes) -> int | None:
        """The status that ended the tries; None when it was stopped."""
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            try:
                status, wait = self._try(headers, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._drop_connection()
                self._failed(f"{type(error).__name__}: {error}"[:300])
                wait = None
            else:
                if 200 <= status < 300 or status in _NEVER:
                    return status
                self._failed(f"the receiver answered {status}")
            self._stop.wait(wait if wait is not None else pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
            pause = min(pause * 2, _LAST_PAUSE)
        return None

    def _try(self, headers: dict[str, str], body: bytes) -> tuple[int, float | None]:
        connection = self._connection()
        sent = dict(headers)
        if self._token_file is not None:
            sent["authorization"] = f"Bearer {self._token_file.read_text().strip()}"
        connection.request("POST", self._target, body, sent)
        answer = connection.getresponse()
        answer.read(65_536)
        if answer.will_close or not answer.isclosed():
            self._drop_connection()
        after = answer.headers.get("retry-after", "")
        return answer.status, min(float(after), _LONGEST_WAIT) if after.isdigit() else None

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            host, port = self._url.hostname or "", self._url.port
            if self._url.scheme == "https":
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)
            else:
                connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.connection = connection
        return connection

    def _drop_connection(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None


class Sink:
    """Sends an outbox to a receiver, and remembers what has arrived."""

    def __init__(
        self, outbox: Outbox, url: str, mode: str, token_file: Path | None, stop: threading.Event, batch: int
    ) -> None:
        self._outbox = outbox
        self._stop = stop
        self._mode = mode
        self._records = max(1, batch // 2)  # a request is two events
        self._lock = threading.Lock()
        self._receiver = Receiver(url, token_file, stop, self._failed)
        self._pool = ThreadPoolExecutor(_AT_ONCE, "events")

    def run(self) -> None:
        """Until it is stopped."""
        while not self._stop.is_set():
            try:
                self._send_waiting()
            except OSError as error:
                _log.error("the events that wait cannot be read: %s", error)
            self._stop.wait(_LOOK_SECONDS)
        self._pool.shutdown(cancel_futures=True)

    def _send_waiting(self) -> None:
        state = self._outbox.state
        before = (dict(state.places), state.sent)
        for events, name, place in self._outbox.waiting(self._records):
            arrived = self._send(events)
            if arrived is None:
                return
            state.sent += arrived
            state.rejected += len(events) - arrived
            state.places[name] = place
            state.error = None
            self._outbox.save()
        if (dict(state.places), state.sent) != before:
            self._outbox.save()

    def _send(self, events: Sequence[Event]) -> int | None:
        """How many arrived; the others never will. None when it was stopped before that was known."""
        if self._mode == "batch":
            return self._send_batch([structured(event) for event in events], events)
        statuses = list(self._pool.map(self._send_one, events))
        return None if None in statuses else sum(status for status in statuses if status is not None)

    def _send_batch(self, bodies: Sequence[bytes], events: Sequence[Event]) -> int | None:
        headers = {"content-type": "application/cloudevents-batch+json; charset=utf-8"}
        status = self._receiver.post(headers, b"[" + b",".join(bodies) + b"]")
        if status is None or status < 300:
            return None if status is None else len(events)
        if len(events) == 1:
            return self._rejected(events[0], status)
        middle = len(events) // 2  # one event must not take the others with it
        first = self._send_batch(bodies[:middle], events[:middle])
        second = None if first is None else self._send_batch(bodies[middle:], events[middle:])
        return None if first is None or second is None else first + second

    def _send_one(self, event: Event) -> int | None:
        if self._mode == "binary":
            headers, body = binary(event)
        else:
            headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
            body = structured(event)
        status = self._receiver.post(headers, body)
        if status is None:
            return None
        return 1 if status < 300 else self._rejected(event, status)

    def _rejected(self, event: Event, status: int) -> int:
        _log.error("the receiver refused the event %s of type %s with %d", event["id"], event["type"], status)
        return 0

    def _failed(self, reason: str) -> None:
        with self._lock:
            state = self._outbox.state
            if state.error != reason:
                _log.warning("events do not arrive, they wait: %s", reason)
            state.failures += 1
            state.error = reason
            self._outbox.save()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--url", default=os.environ.get(URL_VARIABLE, ""))  # which may hold a secret
    parser.add_argument("--mode", choices=MODES, default=MODES[0])
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--batch", type=int, default=100)
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s events %(levelname)s %(message)s"
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all
    stop = threading.Event()
    threading.Thread(target=_watch_parent, args=(stop,), daemon=True).start()
    try:
        with file_lock(options.events / "lock", wait=False):
            outbox = Outbox(options.spool, options.events)
            token_file = options.token_file.expanduser() if options.token_file else None
            Sink(outbox, options.url, options.mode, token_file, stop, options.batch).run()
    except LockHeldError:
        _log.error("another process emits the events of %s", options.events)
        return 1
    return 0


def _watch_parent(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

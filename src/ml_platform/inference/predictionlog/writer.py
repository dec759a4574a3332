"""The worker's side of the prediction log: encode on the loop, write on a thread, never wait.

A record is encoded right after its answer has been sent (a microsecond) and lies in memory for at most a
quarter of a second before it is the kernel's. When memory or the spool directory is full, or the disk
fails, records are dropped and counted; an answer never waits for the log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from ml_platform.inference.predictionlog.spool import (
    Record,
    SegmentHeader,
    SegmentWriter,
    segment_name,
    spooled_bytes,
)

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 0.25
_CHECK_SECONDS = 1.0
_encode = msgspec.msgpack.Encoder().encode


class RevisionLog:
    """The records of one revision, from the data plane to the thread that writes them."""

    def __init__(self, log: PredictionLog, header: SegmentHeader) -> None:
        self._log = log
        self.header = header
        self.pending: list[bytes] = []
        self.segment: SegmentWriter | None = None
        self.opened = 0.0

    def append(self, record: Record) -> None:
        log = self._log
        if log.full:
            log.dropped += max(len(record.rows), 1)
            return
        data = _encode(record)
        log.buffered += len(data)
        self.pending.append(data)


class PredictionLog:
    """All revisions' logs of one worker, and the thread that writes them."""

    def __init__(
        self, spool: Path, *, roll_seconds: float, roll_bytes: int, spool_bytes: int, buffer_bytes: int
    ) -> None:
        self._spool = spool
        self._roll_seconds = roll_seconds
        self._roll_bytes = roll_bytes
        self._spool_bytes = spool_bytes
        self._buffer_bytes = buffer_bytes
        self._logs: dict[SegmentHeader, RevisionLog] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._asked: deque[Callable[[], object]] = deque()
        self._disk_full = False
        self._checked = 0.0
        self._sequence = 0
        self.dropped = 0
        self.buffered = 0
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        self._spool.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def close(self) -> None:
        """Writes what is left and closes the segments, so that they can be rolled."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=10)
        self._tell(len(self._asked))

    def flush(self, done: Callable[[], object]) -> None:
        """Has everything that was appended until now written and its segments closed; then `done` is called.

        By the thread that writes.
        """
        self._asked.append(done)
        self._wake.set()

    @property
    def full(self) -> bool:
        return self._disk_full or self.buffered > self._buffer_bytes

    def revision(self, header: SegmentHeader) -> RevisionLog:
        """The log of a revision; the same one as long as nothing of the header changes."""
        with self._lock:
            if header not in self._logs:
                self._logs[header] = RevisionLog(self, header)
            return self._logs[header]

    def _run(self) -> None:
        while True:
            self._wake.wait(_FLUSH_SECONDS)
            self._wake.clear()
            stopping, asked = self._stopping, len(self._asked)
            try:
                self._check_disk()
            except OSError as error:
                _log.error("the prediction spool cannot be read: %s", error)
            with self._lock:
                logs = list(self._logs.values())
            for log in logs:
                self._flush(log)
                if log.segment is not None and (stopping or asked or self._is_due(log)):
                    log.segment.close()
                    log.segment = None
            self._tell(asked)
            if stopping:
                return

    def _tell(self, number: int) -> None:
        for _ in range(number):
            self._asked.popleft()()

    def _flush(self, log: RevisionLog) -> None:
        if not log.pending:
            return
        # Swapping the list is one step for the loop's thread: what it appends next is in the new one.
        records, log.pending = log.pending, []
        try:
            if log.segment is None:
                log.segment = SegmentWriter(self._spool, self._name(log.header), log.header)
                log.opened = time.monotonic()
            log.segment.append(records)
        except OSError as error:
            _log.error("%d requests could not be logged: %s", len(records), error)
            self.dropped += len(records)
            if log.segment is not None:
                log.segment.close()  # its tail may be torn; a new one starts clean
                log.segment = None
        finally:
            self.buffered -= sum(map(len, records))

    def _is_due(self, log: RevisionLog) -> bool:
        old = time.monotonic() - log.opened >= self._roll_seconds
        return old or (log.segment is not None and log.segment.size >= self._roll_bytes)

    def _check_disk(self) -> None:
        now = time.monotonic()
        if now - self._checked >= _CHECK_SECONDS:
            self._checked = now
            self._disk_full = spooled_bytes(self._spool) >= self._spool_bytes

    def _name(self, header: SegmentHeader) -> str:
        self._sequence += 1
        return segment_name(header.revision_id, self._sequence)

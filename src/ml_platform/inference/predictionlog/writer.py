"""The worker's side of the prediction log: encode on the loop, write on a thread, never wait.

A record is encoded right after its answer has been sent (a microsecond) and lies in memory for at most a
quarter of a second before it is the kernel's, and for as long again before it is the disk's. While the disk
is full or fails, records wait in memory. When memory or the spool has no room left, new records are dropped
and counted: what was taken in is kept, and an answer never waits for the log.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from ml_platform.inference.predictionlog.outgoing import waiting_bytes
from ml_platform.inference.predictionlog.spool import (
    Record,
    SegmentHeader,
    SegmentWriter,
    segment_name,
    spooled_bytes,
)

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 0.25
_SYNC_SECONDS = 0.25
_CHECK_SECONDS = 1.0
_OUTGOING_SECONDS = 5.0  # there may be many files
_LONGEST_PAUSE = 5.0
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class RevisionLog:
    """The records of one revision, from the data plane to the thread that writes them."""

    def __init__(self, log: PredictionLog, header: SegmentHeader) -> None:
        self._log = log
        self.header = header
        # Each of its operations is one step, whichever thread does it.
        self.pending: deque[bytes] = deque()

    def append(self, record: Record) -> None:
        """Takes a record in, or counts it as dropped; raises nothing, since its answer has been sent."""
        log = self._log
        if log.full:
            log.refused += max(len(record.rows), 1)
            return
        try:
            data = _encode(record)
        except (TypeError, ValueError, OverflowError) as error:
            _log.error("a request of %s cannot be logged: %s", self.header.revision_id, error)
            log.refused += max(len(record.rows), 1)
            return
        log.taken += len(data)
        self.pending.append(data)


class PredictionLog:
    """All revisions' logs of one worker, and the thread that writes them.

    The counters are each written by one thread alone: `taken` and `refused` by the loop's, `done` and `lost`
    by the one that writes.

    What waits in `outgoing` to be sent on counts as spooled.
    """

    def __init__(
        self,
        spool: Path,
        *,
        roll_seconds: float,
        roll_bytes: int,
        spool_bytes: int,
        buffer_bytes: int,
        free_bytes: int = 0,
        outgoing: Path | None = None,
    ) -> None:
        self._spool = spool
        self._outgoing = outgoing
        self._outgoing_bytes = 0
        self._outgoing_checked = -_OUTGOING_SECONDS
        self._roll_seconds = roll_seconds
        self._roll_bytes = roll_bytes
        self._spool_bytes = spool_bytes
        self._buffer_bytes = buffer_bytes
        self._free_bytes = free_bytes
        self._logs: dict[SegmentHeader, RevisionLog] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._asked: deque[Callable[[bool], object]] = deque()
        self._segment: SegmentWriter | None = None
        self._opened = self._checked = self._synced = self._not_before = 0.0
        self._pause = 0.0
        self._unsynced = False
        self._sequence = 0
        self._no_room = False
        self.taken = self.done = self.refused = self.lost = 0
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        self._spool.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def close(self) -> None:
        """Writes what is left and closes the segment, so that it can be rolled."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=10)
        self._tell(len(self._asked), written=not self.buffered)

    def flush(self, done: Callable[[bool], object]) -> None:
        """Has everything that was appended until now written and the segment closed.

        `done` is called then, by the thread that writes, with whether all of it was written.
        """
        self._asked.append(done)
        self._wake.set()

    @property
    def buffered(self) -> int:
        """Bytes that wait in memory."""
        return self.taken - self.done

    @property
    def dropped(self) -> int:
        """Predictions that are not, and will not be, in the log."""
        return self.refused + self.lost

    @property
    def full(self) -> bool:
        return self._no_room or self.taken - self.done > self._buffer_bytes

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
            self._check_room()
            written = self._write(now=bool(stopping or asked))
            if self._segment is not None and (stopping or asked or self._is_due(self._segment)):
                self._let_go()
            self._tell(asked, written=written)
            if stopping:
                self._give_up()
                return

    def _write(self, *, now: bool) -> bool:
        """Writes what waits; whether nothing is left of what waited. After a failure it pauses, unless `now`."""
        if not now and time.monotonic() < self._not_before:
            return False
        with self._lock:
            logs = list(self._logs.values())
        for log in logs:
            records = [log.pending.popleft() for _ in range(len(log.pending))]
            if not records:
                continue
            try:
                self._open().append(log.header, records)
            except OSError as error:
                log.pending.extendleft(reversed(records))  # the frame is torn: a reader passes over it
                self._fail(error)
                return False
            self.done += sum(map(len, records))
            self._unsynced = True
        self._pause = 0.0
        self._sync()
        return True

    def _open(self) -> SegmentWriter:
        if self._segment is None:
            self._sequence += 1
            self._segment = SegmentWriter(self._spool, segment_name(self._sequence))
            self._opened = time.monotonic()
        return self._segment

    def _sync(self) -> None:
        now = time.monotonic()
        if self._segment is None or not self._unsynced or now - self._synced < _SYNC_SECONDS:
            return
        self._unsynced, self._synced = False, now
        try:
            self._segment.sync()
        except OSError as error:
            self._fail(error)

    def _let_go(self) -> None:
        """Ends the segment, whose tail may be torn; the next one starts clean."""
        self._synced = 0.0
        self._sync()
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close()

    def _fail(self, error: OSError) -> None:
        _log.error("the prediction log cannot be written, its records wait in memory: %s", error)
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        self._unsynced = False
        self._pause = min(max(self._pause * 2, _FLUSH_SECONDS), _LONGEST_PAUSE)
        self._not_before = time.monotonic() + self._pause

    def _give_up(self) -> None:
        left = [data for log in self._logs.values() for data in log.pending]
        if left:
            self.lost += sum(max(len(_decode(data).rows), 1) for data in left)
            _log.error("%d requests could not be logged", len(left))

    def _tell(self, number: int, *, written: bool) -> None:
        for _ in range(number):
            self._asked.popleft()(written)

    def _is_due(self, segment: SegmentWriter) -> bool:
        return time.monotonic() - self._opened >= self._roll_seconds or segment.size >= self._roll_bytes

    def _check_room(self) -> None:
        now = time.monotonic()
        if now - self._checked < _CHECK_SECONDS:
            return
        self._checked = now
        try:
            disk = os.statvfs(self._spool)
            if self._outgoing is not None and now - self._outgoing_checked >= _OUTGOING_SECONDS:
                self._outgoing_checked = now
                self._outgoing_bytes = waiting_bytes(self._outgoing)
            spooled = spooled_bytes(self._spool) + self._outgoing_bytes
        except OSError as error:
            _log.error("the prediction spool cannot be read: %s", error)
            return
        self._no_room = spooled >= self._spool_bytes or disk.f_bavail * disk.f_frsize < self._free_bytes

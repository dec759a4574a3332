"""Delivers events at least once, those of a run in their order, and never holds up anything but themselves."""

import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from ml_platform.kit.clock import Clock, utc_now
from ml_platform.kit.db import Database
from ml_platform.services.lineage.interfaces import EventReceiver, EventRejectedError
from ml_platform.services.lineage.tables import LineageEventRow

_log = structlog.get_logger(__name__)
_MAX_BACKOFF = timedelta(minutes=5)
_BATCH = 100


class EventDelivery:
    """A thread for one receiver.

    One that is away is asked again after ever longer pauses, up to five minutes. An event that it refuses is
    tried again as well and holds back the later events of its run, and no others.
    """

    def __init__(
        self,
        database: Database,
        receiver: EventReceiver,
        *,
        clock: Clock = utc_now,
        interval: float = 0.5,
        first_pause: float = 0.5,
    ) -> None:
        self._database = database
        self._receiver = receiver
        self._clock = clock
        self._interval = interval
        self._first_pause = first_pause
        self._failures = 0
        self._paused_until: datetime | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        name = f"lineage-{self._receiver.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=15)

    def deliver_due(self) -> int:
        """Sends what is due; answers how many events arrived."""
        if self._paused_until is not None and self._clock() < self._paused_until:
            return 0
        with self._alone() as alone:
            return self._deliver() if alone else 0

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.deliver_due()
            except Exception:  # it outlives a database that is away; it asks again next time
                _log.exception("lineage.delivery_failed", receiver=self._receiver.name)

    def _deliver(self) -> int:
        arrived, after, held = 0, "", set[str]()
        while rows := self._waiting_after(after):
            for row in rows:
                after = row.id
                if self._stop.is_set():
                    return arrived
                if row.run_id in held or row.not_before > self._clock():
                    held.add(row.run_id)  # what came later in its run waits for it
                    continue
                try:
                    self._receiver.send(row.event)
                except EventRejectedError as error:
                    held.add(row.run_id)
                    self._put_off(row, str(error), self._backoff(row.attempts))
                except Exception as error:  # whatever it is, it is the receiver's: all wait
                    self._pause(row, error)
                    return arrived
                else:
                    self._failures, self._paused_until = 0, None
                    self._forget(row)
                    arrived += 1
        return arrived

    def _waiting_after(self, after: str) -> Sequence[LineageEventRow]:
        row = LineageEventRow
        query = select(row).where(row.receiver == self._receiver.name, row.id > after)
        with self._database.read() as session:
            return session.scalars(query.order_by(row.id).limit(_BATCH)).all()

    def _pause(self, row: LineageEventRow, error: Exception) -> None:
        pause = self._backoff(self._failures)
        self._failures += 1
        self._paused_until = self._clock() + pause
        self._put_off(row, f"{type(error).__name__}: {error}", timedelta(0))

    def _put_off(self, row: LineageEventRow, reason: str, pause: timedelta) -> None:
        _log.warning("lineage.event_waits", receiver=self._receiver.name, entry=row.id, reason=reason[:500])
        values = {"last_error": reason[:500], "not_before": self._clock() + pause}
        with self._database.write() as session:
            session.execute(
                update(LineageEventRow)
                .where(LineageEventRow.id == row.id)
                .values(attempts=LineageEventRow.attempts + 1, **values)
            )

    def _forget(self, row: LineageEventRow) -> None:
        with self._database.write() as session:
            session.execute(delete(LineageEventRow).where(LineageEventRow.id == row.id))

    def _backoff(self, failures: int) -> timedelta:
        return min(_MAX_BACKOFF, timedelta(seconds=self._first_pause * 2 ** min(failures, 12)))

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Two that deliver at once would mix up the order; on SQLite there is but one process."""
        if self._database.is_sqlite:
            yield True
            return
        key = {"key": zlib.crc32(f"lineage-events:{self._receiver.name}".encode())}
        with self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            alone = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar())
            try:
                yield alone
            finally:
                if alone:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)


def waiting_events(session: Session) -> dict[str, int]:
    """How many events have not arrived, by receiver."""
    query = select(LineageEventRow.receiver, func.count()).group_by(LineageEventRow.receiver)
    return {row[0]: row[1] for row in session.execute(query)}

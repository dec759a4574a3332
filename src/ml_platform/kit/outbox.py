"""The outbox: what must happen because a transaction committed, written in that same transaction.

A relay delivers each entry to the handler of its topic, at least once and in the order of sending; one
that fails is tried again later and holds up nothing behind it. Handlers are idempotent by the entry's id. Nothing is sent for a transaction that rolled back, and
nothing is lost when the process dies between the commit and the delivery.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Index, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from ml_platform.kit.clock import Clock, utc_now
from ml_platform.kit.db import Base, Database
from ml_platform.kit.ids import new_id

_log = structlog.get_logger(__name__)
_MAX_BACKOFF = timedelta(minutes=5)
_BATCH = 100

Handler = Callable[[str, dict[str, Any]], None]
"""Takes an entry's id and its payload; raises to be called again later."""


class OutboxRow(Base):
    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_pending", "delivered_at", "not_before", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str]
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    not_before: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None]


def enqueue(session: Session, topic: str, payload: Mapping[str, Any], *, now: datetime) -> str:
    """Adds an entry to the transaction of `session`; its id is the idempotency key of its effect."""
    entry_id = new_id("obx")
    session.add(
        OutboxRow(id=entry_id, topic=topic, payload=dict(payload), created_at=now, not_before=now, attempts=0)
    )
    return entry_id


class OutboxRelay:
    """Delivers entries in a thread of its own: at once when nudged, else every `interval` seconds."""

    def __init__(self, database: Database, *, clock: Clock = utc_now, interval: float = 0.5) -> None:
        self._database = database
        self._clock = clock
        self._interval = interval
        self._handlers: dict[str, Handler] = {}
        self._nudge = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self, topic: str, handler: Handler) -> None:
        """Sets the handler of a topic; an entry without one waits until there is one."""
        self._handlers[topic] = handler

    def nudge(self) -> None:
        """Says that something was committed."""
        self._nudge.set()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._nudge.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def deliver_due(self) -> int:
        """Delivers what is due now; answers how many entries were delivered."""
        delivered = 0
        for entry in self._due():
            delivered += self._deliver(entry)
        return delivered

    def _run(self) -> None:
        while not self._stop.is_set():
            self._nudge.wait(self._interval)
            self._nudge.clear()
            try:
                while not self._stop.is_set() and self.deliver_due():
                    pass
            except Exception:  # the relay outlives a database that is away; it asks again next time
                _log.exception("outbox.relay_failed")
                self._stop.wait(self._interval)

    def _due(self) -> list[OutboxRow]:
        with self._database.read() as session:
            query = (
                select(OutboxRow)
                .where(OutboxRow.delivered_at.is_(None), OutboxRow.not_before <= self._clock())
                .where(OutboxRow.topic.in_(list(self._handlers)))
                .order_by(OutboxRow.id)
                .limit(_BATCH)
            )
            return list(session.scalars(query))

    def _deliver(self, entry: OutboxRow) -> int:
        now = self._clock()
        try:
            self._handlers[entry.topic](entry.id, entry.payload)
        except Exception as error:
            _log.warning("outbox.delivery_failed", entry=entry.id, topic=entry.topic, exc_info=True)
            delay = min(_MAX_BACKOFF, timedelta(seconds=0.5 * 2 ** min(entry.attempts, 12)))
            values = {"last_error": type(error).__name__, "not_before": now + delay}
        else:
            values = {"delivered_at": now}
        with self._database.write() as session:
            session.execute(
                update(OutboxRow)
                .where(OutboxRow.id == entry.id)
                .values(attempts=OutboxRow.attempts + 1, **values)
            )
        return 1 if "delivered_at" in values else 0

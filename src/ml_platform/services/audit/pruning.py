"""Removes events from the database when their retention is over and they stand in write-once storage.

The order makes a kill at any moment harmless: what is to go is read back from the archive and checked, a signed anchor is
written to the archive, then one transaction notes the anchor, copies what others still read, deletes, and records
the event. The triggers of the database let nothing go but behind an anchor that lies in the past by the retention.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Select, delete, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from ml_platform.contracts.auditarchive import anchor_name, sealed, segment_name
from ml_platform.contracts.auditchain import GENESIS, Anchor, link
from ml_platform.kit.clock import Clock, rfc3339, utc_now
from ml_platform.kit.errors import AppError
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.audit.anchors import Position, beginning, chained, newest_anchor
from ml_platform.services.audit.archive import AuditArchiver
from ml_platform.services.audit.chain import AuditChain, digest_of
from ml_platform.services.audit.interfaces import WriteOnceStore
from ml_platform.services.audit.segments import ArchiveConflictError, read_segment
from ml_platform.services.audit.tables import (
    AuditAnchorRow,
    AuditEventRow,
    AuditKeptRow,
    AuditSegmentRow,
)

_SEGMENTS_AT_ONCE = 10
"""A transaction of so many segments is short: nobody who writes waits for long."""

_MARGIN = timedelta(hours=1)
"""The database looks at its own clock before it lets events go."""

_COLUMNS = tuple(column.name for column in AuditEventRow.__table__.columns)
_log = structlog.get_logger(__name__)


class AuditPruner:
    """Works only where the settings ask for it.

    Args:
        keep: actions whose events stay in the database whole, since other parts read them for ever.
    """

    def __init__(
        self,
        factory: WorkFactory,
        chain: AuditChain,
        archiver: AuditArchiver,
        store: WriteOnceStore,
        *,
        retention_days: int,
        keep: Collection[str],
        clock: Clock = utc_now,
    ) -> None:
        self._factory = factory
        self._chain = chain
        self._archiver = archiver
        self._store = store
        self._retention_days = retention_days
        self._keep = sorted(keep)
        self._clock = clock
        self._closed = False

    def run(self) -> int:
        """Removes all that may go; how many events that were."""
        total = 0
        try:
            while not self._closed and not self._archiver.conflict:
                removed = self._prune()
                if not removed:
                    break
                total += removed
            self._archiver.found_by_pruning = None
        except ArchiveConflictError as error:
            self._archiver.found_by_pruning = str(error)
            _log.error("audit.prune.conflict", reason=str(error), archive=self._store.location)
        except IntegrityError:
            _log.info("audit.pruned_by_another")
        except (AppError, DBAPIError, OSError) as error:
            _log.warning("audit.prune.failed", reason=str(error), archive=self._store.location)
        return total

    def close(self) -> None:
        self._closed = True

    def _prune(self) -> int:
        """The oldest segments, as far as all their events are older than the retention."""
        before = self._clock() - timedelta(days=self._retention_days) - _MARGIN
        with self._factory.database.read() as session:
            start, segments = beginning(session), self._due(session, before)
        if not segments:
            return 0
        position = start
        for segment in segments:
            position = self._stands(segment, position)
        with self._factory.database.read() as session:
            anchor = self._anchor(session, start, position, before)
        anchor, seal = self._put(anchor)
        self._remove(start, anchor, seal)
        _log.info("audit.pruned", first=start.sequence + 1, last=anchor.sequence, kept=anchor.kept)
        return anchor.sequence - start.sequence

    def _due(self, session: Session, before: datetime) -> list[AuditSegmentRow]:
        start = beginning(session)
        rows = session.scalars(
            select(AuditSegmentRow)
            .where(AuditSegmentRow.location == self._store.location, AuditSegmentRow.first > start.sequence)
            .order_by(AuditSegmentRow.first)
            .limit(_SEGMENTS_AT_ONCE)
        )
        due: list[AuditSegmentRow] = []
        for row in rows:
            if row.newest >= before or row.first != (due[-1].last if due else start.sequence) + 1:
                break
            due.append(row)
        return due

    def _stands(self, row: AuditSegmentRow, after: Position) -> Position:
        """The segment as the archive has it now: whole, ours, and the log's."""
        content = self._store.read(segment_name(row.first))
        found = read_segment(self._chain, row.first, content, after.hash)
        if found[-1] != (row.last, row.hash):
            raise ArchiveConflictError(f"event {row.last} is another in the archive than the database notes")
        with self._factory.database.read() as session:
            query = select(AuditEventRow).where(AuditEventRow.sequence.between(row.first, row.last))
            events = session.scalars(query.order_by(AuditEventRow.sequence)).all()
        self._same(events, found, after)
        return Position(*found[-1])

    def _same(self, events: Sequence[AuditEventRow], found: list[tuple[int, str]], after: Position) -> None:
        """What is removed, and what stays of it, is what the archive holds."""
        previous = after.hash
        for event in events:
            if link(previous, digest_of(event)) != event.hash:
                raise ArchiveConflictError(f"event {event.sequence} of the log is not as it was written")
            previous = event.hash
        if [(event.sequence, event.hash) for event in events] != found:
            raise ArchiveConflictError(f"the log behind event {after.sequence} is another than the archive's")

    def _anchor(self, session: Session, start: Position, end: Position, before: datetime) -> Anchor:
        last = newest_anchor(session)
        kept = session.scalars(self._kept(start, end.sequence)).all()
        return Anchor(
            sequence=end.sequence,
            hash=end.hash,
            before=rfc3339(before),
            retention_days=self._retention_days,
            pruned_at=rfc3339(self._clock()),
            kept=(last.kept if last is not None else 0) + len(kept),
            kept_digest=chained(
                [digest_of(event) for event in kept], last.kept_digest if last is not None else GENESIS
            ),
        )

    def _put(self, anchor: Anchor) -> tuple[Anchor, str]:
        """To the archive first; one that was put there and not noted, since we were killed, is as good."""
        seal, name = self._chain.sign(anchor), anchor_name(anchor.sequence)
        keep_until = self._clock() + timedelta(days=self._retention_days)
        if self._store.put(name, sealed(anchor, seal), keep_until):
            return anchor, seal
        try:
            entry = json.loads(self._store.read(name) or b"")
            stands, seal = Anchor.of(entry), str(entry["seal"])
        except (ValueError, KeyError, TypeError):
            raise ArchiveConflictError(f"{name} in the archive cannot be read") from None
        same = (stands.hash, stands.kept, stands.kept_digest) == (
            anchor.hash,
            anchor.kept,
            anchor.kept_digest,
        )
        if not same or not self._chain.signed(stands, seal):
            raise ArchiveConflictError(f"{name} in the archive stands for other events")
        return stands, seal

    def _remove(self, start: Position, anchor: Anchor, seal: str) -> None:
        with self._factory.begin(Actor.system("audit")) as work:
            session = work.session
            for event in session.scalars(self._kept(start, anchor.sequence)).all():
                session.add(AuditKeptRow(**{name: getattr(event, name) for name in _COLUMNS}))
            session.add(
                AuditAnchorRow(
                    sequence=anchor.sequence,
                    hash=anchor.hash,
                    before=datetime.fromisoformat(anchor.before),
                    retention_days=anchor.retention_days,
                    pruned_at=datetime.fromisoformat(anchor.pruned_at),
                    kept=anchor.kept,
                    kept_digest=anchor.kept_digest,
                    location=self._store.location,
                    seal=seal,
                )
            )
            session.flush()  # the triggers look for the anchor
            session.execute(
                delete(AuditEventRow)
                .where(AuditEventRow.sequence <= anchor.sequence)
                .execution_options(synchronize_session=False)
            )
            work.record(
                "audit.prune",
                "audit_log",
                f"{start.sequence + 1}-{anchor.sequence}",
                after={"pruned": anchor.sequence, "hash": anchor.hash, "before": anchor.before},
                retention_days=anchor.retention_days,
                archive=self._store.location,
            )

    def _kept(self, start: Position, last: int) -> Select[AuditEventRow]:
        return (
            select(AuditEventRow)
            .where(
                AuditEventRow.sequence.between(start.sequence + 1, last), AuditEventRow.action.in_(self._keep)
            )
            .order_by(AuditEventRow.sequence)
        )

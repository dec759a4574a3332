"""Copies the audit log to write-once storage, segment by segment, beside everything else and in nobody's way.

What stands there is the measure: a segment is uploaded, then noted in the database. Killed in between, the next turn finds
it there and takes it over when it holds what the log holds; anything else is an alarm, and stays one.
"""

import hashlib
import threading
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError

from ml_platform.contracts.audit import AuditArchive, AuditArchiveState
from ml_platform.contracts.auditarchive import Statement, anchor_name, sealed, segment_name, statement_name
from ml_platform.kit.clock import Clock, rfc3339, utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.errors import AppError
from ml_platform.services.audit.anchors import Position, anchor_of, beginning, newest_anchor
from ml_platform.services.audit.chain import AuditChain
from ml_platform.services.audit.checkpoints import CheckpointFile
from ml_platform.services.audit.interfaces import WriteOnceStore
from ml_platform.services.audit.segments import ArchiveConflictError, Segment, SegmentBuilder, read_segment
from ml_platform.services.audit.tables import AuditEventRow, AuditHeadRow, AuditSegmentRow

_SPEAKS = timedelta(days=1)
"""How often the archive says that it is up to date when nothing happens."""

_log = structlog.get_logger(__name__)


class AuditArchiver:
    """One of each process of the control plane; several may share a database and an archive.

    Args:
        retention: how long the storage is to keep each file.
        late: events that wait for longer are worth a word.
        prunes: whether events leave the database when they are old.
    """

    def __init__(
        self,
        database: Database,
        chain: AuditChain,
        checkpoints: CheckpointFile,
        store: WriteOnceStore,
        *,
        retention: timedelta,
        late: timedelta,
        prunes: bool = False,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._chain = chain
        self._builder = SegmentBuilder(chain, checkpoints.tail())
        self._store = store
        self._retention = retention
        self._late = late
        self._prunes = prunes
        self._clock = clock
        self._turn = threading.Lock()
        self._closed = False
        self._proven: Position | None = None
        self._spoke: datetime | None = None
        self._failures = 0
        self._trouble: tuple[AuditArchiveState, str] | None = None
        self.found_by_pruning: str | None = None

    def run(self) -> int:
        """Copies what is new; how many events that were. What goes wrong is kept for `status`, and tried again."""
        if not self._turn.acquire(blocking=False):
            return 0
        try:
            copied = self._copy()
            self._trouble = None
        except ArchiveConflictError as error:
            self._fails(AuditArchiveState.CONFLICT, str(error))
            _log.error("audit.archive.conflict", reason=str(error), archive=self._store.location)
            return 0
        except (AppError, OSError) as error:
            self._fails(AuditArchiveState.FAILING, str(error))
            _log.warning("audit.archive.failed", reason=str(error), archive=self._store.location)
            return 0
        finally:
            self._turn.release()
        return copied

    def close(self) -> None:
        """From now on `run` starts nothing new: a stop does not wait for a store that is away."""
        self._closed = True

    def backlog(self) -> tuple[int, float]:
        """How many events are not there yet, and for how many seconds the oldest of them has waited."""
        with self._database.read() as session:
            position = self._noted() or beginning(session)
            head = session.scalar(select(AuditHeadRow.sequence)) or 0
            oldest = session.get(AuditEventRow, position.sequence + 1)
            waited = (self._clock() - oldest.at).total_seconds() if oldest is not None else 0.0
            return max(head - position.sequence, 0), max(waited, 0.0)

    @property
    def failures(self) -> int:
        return self._failures

    @property
    def conflict(self) -> bool:
        """Whether the last turn found something that is not as it was."""
        return self._trouble is not None and self._trouble[0] is AuditArchiveState.CONFLICT

    @property
    def alarmed(self) -> bool:
        """As `conflict`, or pruning found it."""
        return self.conflict or self.found_by_pruning is not None

    def status(self) -> AuditArchive:
        """How far it has come, and what is wrong."""
        events, seconds = self.backlog()
        with self._database.read() as session:
            row = session.scalars(self._newest()).first()
            anchor = newest_anchor(session)
        state, detail = self._trouble or (AuditArchiveState.OK, None)
        if self.found_by_pruning is not None and not self.conflict:
            state, detail = AuditArchiveState.CONFLICT, self.found_by_pruning
        if state is AuditArchiveState.OK and seconds > self._late.total_seconds():
            state, detail = AuditArchiveState.LATE, f"events wait for {seconds:.0f} s"
        return AuditArchive(
            state=state,
            location=self._store.location,
            mode=self._store.mode,
            retention_days=self._retention.days,
            prune=self._prunes,
            archived=row.last if row is not None else 0,
            archived_at=row.archived_at if row is not None else None,
            pruned=anchor.sequence if anchor is not None else 0,
            backlog_events=events,
            backlog_seconds=round(seconds, 1),
            failures=self._failures,
            detail=detail,
        )

    def _fails(self, state: AuditArchiveState, reason: str) -> None:
        self._failures += 1
        self._trouble = (state, reason)

    def _copy(self) -> int:
        position = self._position()
        before = position.sequence
        while not self._closed:
            segment = self._next(position)
            if segment is None:
                self._nothing_behind(position)
                self._speak(position, moved=position.sequence > before)
                break
            position = self._put(segment)
        return position.sequence - before

    def _position(self) -> Position:
        """Where the archive ends, as the database notes it, this process remembers it and the archive shows it."""
        noted, remembered = self._noted(), self._proven
        if remembered is None:
            if noted is not None:
                self._prove()
        elif noted is None or noted.sequence < remembered.sequence:
            raise ArchiveConflictError(f"the database was put back to before event {remembered.sequence}")
        elif noted.sequence == remembered.sequence and noted != remembered:
            raise ArchiveConflictError(f"event {noted.sequence} was another when it was archived")
        if noted is None:
            return self._begin()
        self._proven = noted
        return noted

    def _begin(self) -> Position:
        """An archive that is empty yet says for what is not there any more that an anchor stands for it."""
        with self._database.read() as session:
            row = newest_anchor(session)
            position = beginning(session)
        if row is not None:
            keep_until = self._clock() + self._retention
            self._store.put(anchor_name(row.sequence), sealed(anchor_of(row), row.seal), keep_until)
        return position

    def _prove(self) -> None:
        """Once a process: the newest segment stands in the archive, and ends as the database says."""
        with self._database.read() as session:
            row = session.scalars(self._newest()).one()
        content = self._store.read(segment_name(row.first))
        found = read_segment(self._chain, row.first, content, row.previous)
        if found[-1] != (row.last, row.hash):
            raise ArchiveConflictError(f"event {row.last} is another in the archive than the database notes")

    def _next(self, after: Position) -> Segment | None:
        with self._database.read() as session:
            return self._builder.build(session, after)

    def _put(self, segment: Segment) -> Position:
        keep_until = self._clock() + self._retention
        if not self._store.put(segment.name, segment.content, keep_until):
            stands = self._store.read(segment.name)
            if stands is not None and stands != segment.content:
                with self._database.read() as session:
                    segment = self._builder.adopt(session, segment.after, stands)
        self._note(segment, keep_until)
        self._proven = segment.last
        return segment.last

    def _note(self, segment: Segment, keep_until: datetime) -> None:
        row = AuditSegmentRow(
            location=self._store.location,
            first=segment.first,
            last=segment.last.sequence,
            previous=segment.after.hash,
            hash=segment.last.hash,
            newest=segment.newest,
            sha256=hashlib.sha256(segment.content).hexdigest(),
            size=len(segment.content),
            archived_at=self._clock(),
            retain_until=keep_until,
        )
        try:
            with self._database.write() as session:
                session.add(row)
        except IntegrityError:
            _log.info("audit.archive.noted_by_another", first=segment.first)

    def _nothing_behind(self, position: Position) -> None:
        """An archive that goes on behind the log's end has seen events that the database forgot."""
        name = segment_name(position.sequence + 1)
        if self._store.read(name) is not None and self._next(position) is None:
            raise ArchiveConflictError(f"the archive goes on with {name}, and the log ends before it")

    def _speak(self, position: Position, *, moved: bool) -> None:
        """A signed checkpoint of the archive: behind new segments, and once a day."""
        now = self._clock()
        if not position.sequence or not (moved or self._spoke is None or now - self._spoke >= _SPEAKS):
            return
        told = Statement(position.sequence, position.hash, rfc3339(now))
        self._store.put(statement_name(told), sealed(told, self._chain.sign(told)), now + self._retention)
        self._spoke = now

    def _noted(self) -> Position | None:
        with self._database.read() as session:
            row = session.scalars(self._newest()).first()
            return Position(row.last, row.hash) if row is not None else None

    def _newest(self) -> Select[AuditSegmentRow]:
        return (
            select(AuditSegmentRow)
            .where(AuditSegmentRow.location == self._store.location)
            .order_by(AuditSegmentRow.first.desc())
            .limit(1)
        )


class ArchiveDesk:
    """Answers for the archive, also where the settings ask for none."""

    def __init__(self, archiver: AuditArchiver | None, *, retention_days: int) -> None:
        self._archiver = archiver
        self._retention_days = retention_days

    def status(self) -> AuditArchive:
        if self._archiver is not None:
            return self._archiver.status()
        return AuditArchive(
            state=AuditArchiveState.OFF,
            location=None,
            mode=None,
            retention_days=self._retention_days,
            prune=False,
            archived=0,
            archived_at=None,
            pruned=0,
            backlog_events=0,
            backlog_seconds=0.0,
            failures=0,
            detail=None,
        )

"""Segments of the audit log: what goes to write-once storage, in the form of an export."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.auditarchive import SCOPE, pack, segment_name, unpack
from ml_platform.contracts.auditchain import FORMAT, ExportReader, Manifest, link
from ml_platform.kit.clock import rfc3339
from ml_platform.services.audit.anchors import Position
from ml_platform.services.audit.chain import AuditChain, digest_of, fields_of
from ml_platform.services.audit.checkpoints import CheckpointTail
from ml_platform.services.audit.export import line_of
from ml_platform.services.audit.tables import AuditAnchorRow, AuditEventRow, AuditHeadRow

MOST_EVENTS = 2_000
_MOST_CHARACTERS = 8 * 1024 * 1024


class ArchiveConflictError(Exception):
    """The log, or what stands in write-once storage, is another than it was."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Events in order behind `after`, packed; `newest` is the latest moment in them."""

    after: Position
    last: Position
    newest: datetime
    content: bytes

    @property
    def first(self) -> int:
        return self.after.sequence + 1

    @property
    def name(self) -> str:
        return segment_name(self.first)


class SegmentBuilder:
    """Packs what is in the database, and nothing that is not as it was signed."""

    def __init__(self, chain: AuditChain, checkpoints: CheckpointTail) -> None:
        self._chain = chain
        self._checkpoints = checkpoints

    def build(self, session: Session, after: Position) -> Segment | None:
        """The next events, or None when there are none.

        Raises:
            ArchiveConflictError: the log does not go on from there, or is broken.
        """
        head = session.scalars(select(AuditHeadRow)).first()
        if head is None or head.sequence < after.sequence:
            raise ArchiveConflictError(f"the log ends before event {after.sequence}, which is archived")
        if not self._chain.is_sealed(head.sequence, head.hash, head.seal):
            raise ArchiveConflictError("the head of the log is not as this installation signed it")
        self._stands(session, after)
        body, last, newest, manifest = [], after, None, self._manifest(after)
        for row in self._rows(session, after, head.sequence):
            if row.sequence != last.sequence + 1 or link(last.hash, digest_of(row)) != row.hash:
                raise ArchiveConflictError(f"event {last.sequence + 1} of the log is not as it was written")
            last = Position(row.sequence, row.hash)
            newest = row.at if newest is None else max(newest, row.at)
            body.append(line_of("event", **fields_of(row), hash=row.hash))
            manifest.shown += 1
        if newest is None:
            if head.sequence > after.sequence:
                raise ArchiveConflictError(f"event {after.sequence + 1} of the log is gone")
            return None
        if last.sequence == head.sequence and last.hash != head.hash:
            raise ArchiveConflictError(f"event {head.sequence} is another than the head of the log says")
        manifest.sequence, manifest.last, manifest.exported_at = last.sequence, last.hash, rfc3339(newest)
        return Segment(after, last, newest, self._packed(body, manifest, after))

    def adopt(self, session: Session, after: Position, content: bytes) -> Segment:
        """A segment that stands already, when it holds what the log holds.

        Raises:
            ArchiveConflictError: it holds something else.
        """
        found, last = read_segment(self._chain, after.sequence + 1, content, after.hash), after
        known = {
            row.sequence: row
            for row in session.scalars(
                select(AuditEventRow).where(AuditEventRow.sequence.between(found[0][0], found[-1][0]))
            )
        }
        for sequence, seen in found:
            row = known.get(sequence)
            if row is None or row.hash != seen:
                raise ArchiveConflictError(f"event {sequence} in the archive is not in the log, or another")
            last = Position(sequence, seen)
        return Segment(after, last, max(row.at for row in known.values()), content)

    def _stands(self, session: Session, at: Position) -> None:
        if at.sequence == 0:
            return
        row = session.get(AuditEventRow, at.sequence)
        anchor = session.get(AuditAnchorRow, at.sequence) if row is None else None
        if at.hash not in {row.hash if row else None, anchor.hash if anchor else None}:
            raise ArchiveConflictError(
                f"event {at.sequence} of the log is another than the archived one, or gone"
            )

    def _rows(self, session: Session, after: Position, head: int) -> Iterator[AuditEventRow]:
        """As many as a segment holds."""
        query = (
            select(AuditEventRow)
            .where(AuditEventRow.sequence > after.sequence, AuditEventRow.sequence <= head)
            .order_by(AuditEventRow.sequence)
            .limit(MOST_EVENTS)
        )
        size = 0
        rows = session.scalars(query.execution_options(yield_per=200))
        try:
            for row in rows:
                yield row
                size += sum(len(str(part)) for part in (row.before, row.after, row.context))
                if size > _MOST_CHARACTERS:
                    return
        finally:
            rows.close()

    def _manifest(self, after: Position) -> Manifest:
        return Manifest(after.sequence + 1, SCOPE, "", sequence=after.sequence, last=after.hash)

    def _packed(self, body: list[str], manifest: Manifest, after: Position) -> bytes:
        """The lines in the order of an export; each checkpoint stands behind its event."""
        points = {
            point.sequence: point for point in self._checkpoints.between(after.sequence, manifest.sequence)
        }
        lines = []
        for sequence, line in enumerate(body, start=manifest.first):
            lines.append(line)
            if (point := points.get(sequence)) is not None:
                manifest.add_checkpoint(point.sequence, point.hash, point.seal)
                lines.append(line_of("checkpoint", sequence=point.sequence, hash=point.hash, seal=point.seal))
        header = line_of(
            "header",
            format=FORMAT,
            public_key=self._chain.public_key,
            scope=manifest.scope,
            first=manifest.first,
            previous=after.hash,
            exported_at=manifest.exported_at,
        )
        return pack([header, *lines, line_of("footer", seal=self._chain.sign(manifest))])


def read_segment(
    chain: AuditChain, first: int, content: bytes | None, previous: str
) -> list[tuple[int, str]]:
    """The numbers and hashes of the events of a segment, at least one.

    Raises:
        ArchiveConflictError: it is gone, not this installation's, not whole, or does not follow there.
    """
    name = segment_name(first)
    if content is None:
        raise ArchiveConflictError(f"{name} is gone from the archive")
    reader = ExportReader(chain.public_key)
    try:
        found = list(reader.walk(unpack(content)))
    except ValueError as error:
        raise ArchiveConflictError(f"{name} in the archive cannot be read: {error}") from None
    here = (reader.scope, reader.first, reader.previous) == (SCOPE, first, previous)
    if not found or not here or not reader.result().verified:
        raise ArchiveConflictError(f"{name} in the archive is not what was written")
    return found

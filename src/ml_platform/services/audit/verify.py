"""Walks the chain and says what was done to it."""

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from ml_platform.contracts.audit import AuditFinding, AuditVerification
from ml_platform.contracts.auditchain import link
from ml_platform.kit.db import Database
from ml_platform.services.audit.anchors import Position, beginning, check_anchor, newest_anchor, one_moment
from ml_platform.services.audit.chain import AuditChain, digest_of
from ml_platform.services.audit.checkpoints import Checkpoint, CheckpointFile
from ml_platform.services.audit.tables import AuditEventRow, AuditHeadRow

_MOST_FINDINGS = 100
_BATCH = 1_000
_GUARDED = ("audit_events", "audit_anchors", "audit_kept_events")
_NAMES = ", ".join(f"'{table}'" for table in _GUARDED)
_TRIGGERS = {
    "sqlite": (
        f"SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ({_NAMES})",  # noqa: S608 - constants
        {f"{table}_no_{verb}" for table in _GUARDED for verb in ("update", "delete")} | {"audit_anchors_age"},
    ),
    "postgresql": (
        "SELECT tgname FROM pg_trigger WHERE tgenabled <> 'D'"  # noqa: S608, ISC004 - constants
        f" AND tgrelid::regclass::text IN ({_NAMES})",
        {f"{table}_{rule}" for table in _GUARDED for rule in ("append_only", "no_truncate")}
        | {"audit_anchors_age"},
    ),
}
"""By dialect: the triggers that are on, and those that must be."""


class AuditVerifier:
    """Finds edits, deletions, insertions, reordering, truncation, and a database put back to an earlier state."""

    def __init__(self, database: Database, chain: AuditChain, checkpoints: CheckpointFile) -> None:
        self._database = database
        self._chain = chain
        self._checkpoints = checkpoints

    def verify(self) -> AuditVerification:
        """Reads every event once, in order, with flat memory."""
        checkpoints = {c.sequence: c for c in self._checkpoints.read()}
        findings: list[AuditFinding] = []
        with self._database.read() as session:
            one_moment(session)
            anchor = newest_anchor(session)
            if anchor is not None:
                findings += check_anchor(session, self._chain, anchor)
            start = beginning(session)
            last, count, digest = self._walk(session, start, checkpoints, findings)
            self._check_head(session, last, digest, findings)
            self._check_triggers(session, last, findings)
        newest = max(checkpoints, default=0)
        if newest > last:
            findings.append(
                AuditFinding(
                    sequence=last,
                    kind="truncated",
                    detail=f"a checkpoint saw event {newest}, the log ends at {last}",
                )
            )
        return AuditVerification(
            verified=not findings,
            events=count,
            head=digest,
            checkpoints=len(checkpoints),
            pruned=start.sequence,
            findings=findings[:_MOST_FINDINGS],
        )

    def _walk(
        self,
        session: Session,
        start: Position,
        checkpoints: dict[int, Checkpoint],
        findings: list[AuditFinding],
    ) -> tuple[int, int, str]:
        expected, previous, count = start.sequence + 1, start.hash, 0
        query = select(AuditEventRow).order_by(AuditEventRow.sequence)
        for row in session.scalars(query.execution_options(yield_per=_BATCH)):
            count += 1
            if row.sequence != expected:
                missing = (
                    f"{expected}" if row.sequence == expected + 1 else f"{expected} to {row.sequence - 1}"
                )
                findings.append(
                    AuditFinding(sequence=expected, kind="missing", detail=f"event {missing} is not there")
                )
            if link(previous, digest_of(row)) != row.hash:
                findings.append(
                    AuditFinding(
                        sequence=row.sequence,
                        kind="edited",
                        detail=f"event {row.event_id} does not match its hash: it, or the event before it,"
                        " was changed, put in, or moved",
                    )
                )
            self._check_checkpoint(row, checkpoints, findings)
            previous, expected = row.hash, row.sequence + 1
        return expected - 1, count, previous

    def _check_checkpoint(
        self, row: AuditEventRow, checkpoints: dict[int, Checkpoint], findings: list[AuditFinding]
    ) -> None:
        checkpoint = checkpoints.get(row.sequence)
        if checkpoint is None:
            return
        sealed = self._chain.is_sealed(checkpoint.sequence, checkpoint.hash, checkpoint.seal)
        if not sealed or checkpoint.hash != row.hash:
            findings.append(
                AuditFinding(
                    sequence=row.sequence,
                    kind="checkpoint_mismatch",
                    detail="the checkpoint outside the database saw another event here"
                    if sealed
                    else "the checkpoint's own seal is broken",
                )
            )

    def _check_triggers(self, session: Session, last: int, findings: list[AuditFinding]) -> None:
        """Whether the database still refuses to change the log."""
        query, expected = _TRIGGERS[session.get_bind().dialect.name]
        found = set(session.execute(text(query)).scalars())
        findings.extend(
            AuditFinding(
                sequence=last,
                kind="unprotected",
                detail=f"the trigger {name} is off: whoever can write the database could change the log",
            )
            for name in sorted(expected - found)
        )

    def _check_head(self, session: Session, last: int, digest: str, findings: list[AuditFinding]) -> None:
        head = session.scalars(select(AuditHeadRow)).first()
        if head is None:
            if last:
                findings.append(AuditFinding(sequence=last, kind="missing", detail="the head is not there"))
            return
        if not self._chain.is_sealed(head.sequence, head.hash, head.seal):
            findings.append(
                AuditFinding(sequence=head.sequence, kind="edited", detail="the head's seal is broken")
            )
        if head.sequence > last:
            findings.append(
                AuditFinding(
                    sequence=last,
                    kind="truncated",
                    detail=f"the head says {head.sequence}, the log ends at {last}",
                )
            )
        elif head.sequence < last or head.hash != digest:
            findings.append(
                AuditFinding(sequence=last, kind="inserted", detail="the log goes on behind its head")
            )

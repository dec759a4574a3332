"""Walks the chain and says what was done to it."""

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from ml_platform.contracts.audit import AuditFinding, AuditVerification
from ml_platform.contracts.auditchain import GENESIS, link
from ml_platform.kit.db import Database
from ml_platform.services.audit.chain import AuditChain, digest_of
from ml_platform.services.audit.checkpoints import Checkpoint, CheckpointFile
from ml_platform.services.audit.tables import AuditEventRow, AuditHeadRow

_MOST_FINDINGS = 100
_BATCH = 1_000
_TRIGGERS = {
    "sqlite": (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_events'",
        {"audit_events_no_update", "audit_events_no_delete"},
    ),
    "postgresql": (
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'audit_events'::regclass AND tgenabled <> 'D'",
        {"audit_events_append_only", "audit_events_no_truncate"},
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
            last, count, digest = self._walk(session, checkpoints, findings)
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
            findings=findings[:_MOST_FINDINGS],
        )

    def _walk(
        self, session: Session, checkpoints: dict[int, Checkpoint], findings: list[AuditFinding]
    ) -> tuple[int, int, str]:
        expected, previous, count = 1, GENESIS, 0
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

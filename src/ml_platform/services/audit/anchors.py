"""Anchors: what stands for events that were removed after their retention."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.audit import AuditFinding
from ml_platform.contracts.auditchain import GENESIS, Anchor, link
from ml_platform.kit.clock import rfc3339
from ml_platform.services.audit.chain import AuditChain, digest_of
from ml_platform.services.audit.tables import AuditAnchorRow, AuditKeptRow


@dataclass(frozen=True, slots=True)
class Position:
    """An event, by its number and hash."""

    sequence: int
    hash: str


def newest_anchor(session: Session) -> AuditAnchorRow | None:
    """The one that the rest of the log begins behind."""
    return session.scalars(select(AuditAnchorRow).order_by(AuditAnchorRow.sequence.desc()).limit(1)).first()


def beginning(session: Session) -> Position:
    """Behind which event the log in the database begins: the last that was removed, else none."""
    anchor = newest_anchor(session)
    return Position(anchor.sequence, anchor.hash) if anchor is not None else Position(0, GENESIS)


def one_moment(session: Session) -> None:
    """Has all that is read in a transaction be of one moment, which SQLite gives anyway; before the first query."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def anchor_of(row: AuditAnchorRow) -> Anchor:
    """An anchor as it is signed."""
    return Anchor(
        sequence=row.sequence,
        hash=row.hash,
        before=rfc3339(row.before),
        retention_days=row.retention_days,
        pruned_at=rfc3339(row.pruned_at),
        kept=row.kept,
        kept_digest=row.kept_digest,
    )


def chained(digests: Iterable[str], previous: str = GENESIS) -> str:
    """One digest of all events that stay."""
    for digest in digests:
        previous = link(previous, digest)
    return previous


def check_anchor(session: Session, chain: AuditChain, row: AuditAnchorRow) -> list[AuditFinding]:
    """Whether this installation signed it, and the events that it left are all there as they were."""
    findings = []
    if not chain.signed(anchor_of(row), row.seal):
        detail = "what stands for the removed events is not as this installation signed it"
        findings.append(AuditFinding(sequence=row.sequence, kind="forged", detail=detail))
    kept = [
        digest_of(event) for event in session.scalars(select(AuditKeptRow).order_by(AuditKeptRow.sequence))
    ]
    if (len(kept), chained(kept)) != (row.kept, row.kept_digest):
        detail = (
            f"of the removed events {row.kept} stayed for others to read; {len(kept)} are there, or others"
        )
        findings.append(AuditFinding(sequence=row.sequence, kind="edited", detail=detail))
    return findings

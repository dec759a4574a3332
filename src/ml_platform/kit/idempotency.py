"""Which requests with an `Idempotency-Key` were carried out, and what they were answered."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from ml_platform.kit.db import Base, Database
from ml_platform.kit.errors import ConflictError

LEASE = timedelta(minutes=15)
KEPT = timedelta(days=2)


class IdempotencyRow(Base):
    """`started` → `committed` (in the transaction of the effect) → `answered`."""

    __tablename__ = "idempotency_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    state: Mapped[str] = mapped_column(default="started")
    created_at: Mapped[datetime] = mapped_column(index=True)
    answer: Mapped[dict[str, Any] | None]


def begin(database: Database, row_id: str, fingerprint: str, now: datetime) -> IdempotencyRow | None:
    """Claims a key. None: go ahead; a row: somebody used this key before, and this is what became of it."""
    while True:
        try:
            return _claim(database, row_id, fingerprint, now)
        except IntegrityError:  # somebody claimed it at the same moment: look again at what is there
            continue


def _claim(database: Database, row_id: str, fingerprint: str, now: datetime) -> IdempotencyRow | None:
    with database.write() as session:
        session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < now - KEPT))
        known = session.scalars(
            select(IdempotencyRow).where(IdempotencyRow.id == row_id).with_for_update()
        ).first()
        if known is None:
            session.add(
                IdempotencyRow(
                    id=row_id, fingerprint=fingerprint, state="started", created_at=now, answer=None
                )
            )
            return None
        if known.state == "started" and known.created_at < now - LEASE:
            known.created_at = now  # whoever held it died before its effect
            known.fingerprint = fingerprint
            return None
        session.expunge(known)
        return known


def mark_committed(session: Session, row_id: str) -> None:
    """Says, in the transaction of the effect, that the effect happened.

    Raises:
        ConflictError: another request with this key was quicker; the transaction must not commit.
    """
    claimed = session.scalars(
        update(IdempotencyRow)
        .where(IdempotencyRow.id == row_id, IdempotencyRow.state == "started")
        .values(state="committed")
        .returning(IdempotencyRow.id)
    ).all()
    if not claimed:
        raise ConflictError("another request with this Idempotency-Key was carried out meanwhile")


def keep_answer(database: Database, row_id: str, answer: dict[str, Any]) -> None:
    """Keeps what the first caller was answered, for those who ask again."""
    with database.write() as session:
        session.execute(
            update(IdempotencyRow).where(IdempotencyRow.id == row_id).values(state="answered", answer=answer)
        )


def forget(database: Database, row_id: str) -> None:
    """Frees a key whose request was refused without any effect."""
    with database.write() as session:
        session.execute(
            delete(IdempotencyRow).where(IdempotencyRow.id == row_id, IdempotencyRow.state == "started")
        )


def free_abandoned(database: Database) -> None:
    """Frees what was under way when the only process died; one of several must wait for the lease."""
    with database.write() as session:
        session.execute(delete(IdempotencyRow).where(IdempotencyRow.state == "started"))

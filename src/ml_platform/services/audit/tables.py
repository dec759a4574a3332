"""The chain of audit events and its head."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base, JsonText


class AuditEventRow(Base):
    """One event. `hash` binds it to every event before it; triggers refuse UPDATE and DELETE."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_team", "team_id", "sequence"),
        Index("ix_audit_events_resource", "resource_id", "sequence"),
        Index("ix_audit_events_action", "action", "sequence"),
    )

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_id: Mapped[str] = mapped_column(unique=True)
    at: Mapped[datetime]
    actor_id: Mapped[str]
    actor_name: Mapped[str]
    actor_kind: Mapped[str]
    key_id: Mapped[str | None]
    source: Mapped[str | None]
    request_id: Mapped[str]
    team_id: Mapped[str]
    action: Mapped[str]
    resource_kind: Mapped[str]
    resource_id: Mapped[str]
    before: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    after: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    context: Mapped[dict[str, Any]] = mapped_column(JsonText)
    hash: Mapped[str]


class AuditHeadRow(Base):
    """Where the chain ends: one row, locked by whoever appends."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int]
    hash: Mapped[str]
    seal: Mapped[str]

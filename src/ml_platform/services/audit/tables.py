"""The chain of audit events and its head."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base, JsonText


class _Event:
    """The columns of an event."""

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


class AuditEventRow(_Event, Base):
    """One event. `hash` binds it to every event before it; triggers refuse UPDATE, and DELETE but behind an anchor."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_team", "team_id", "sequence"),
        Index("ix_audit_events_resource", "resource_id", "sequence"),
        Index("ix_audit_events_action", "action", "sequence"),
    )


class AuditKeptRow(_Event, Base):
    """An event that outlives its retention here, since what was live at a moment is read from it."""

    __tablename__ = "audit_kept_events"
    __table_args__ = (Index("ix_audit_kept_events_resource", "resource_id", "sequence"),)


class AuditHeadRow(Base):
    """Where the chain ends: one row, locked by whoever appends."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int]
    hash: Mapped[str]
    seal: Mapped[str]


class AuditSegmentRow(Base):
    """A segment that stands in write-once storage: where, which events, and under which digest."""

    __tablename__ = "audit_segments"

    location: Mapped[str] = mapped_column(primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last: Mapped[int]
    previous: Mapped[str]
    hash: Mapped[str]
    newest: Mapped[datetime]
    sha256: Mapped[str]
    size: Mapped[int]
    archived_at: Mapped[datetime]
    retain_until: Mapped[datetime]


class AuditAnchorRow(Base):
    """Stands for the events up to `sequence`, which were removed after their retention. Triggers keep it."""

    __tablename__ = "audit_anchors"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hash: Mapped[str]
    before: Mapped[datetime]
    retention_days: Mapped[int]
    pruned_at: Mapped[datetime]
    kept: Mapped[int]
    kept_digest: Mapped[str]
    location: Mapped[str]
    seal: Mapped[str]

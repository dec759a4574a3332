"""Alerts, one row for each trouble and its life."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base

_UNRESOLVED = text("status <> 'resolved'")


class AlertRow(Base):
    """`dedup_key` says which trouble it is: of each there is at most one alert that is not resolved."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "uq_alerts_unresolved",
            "team_id",
            "dedup_key",
            unique=True,
            sqlite_where=_UNRESOLVED,
            postgresql_where=_UNRESOLVED,
        ),
        Index("ix_alerts_team", "team_id", "id"),
        Index("ix_alerts_resource", "team_id", "resource_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    team_name: Mapped[str]
    dedup_key: Mapped[str]
    severity: Mapped[str]
    status: Mapped[str]
    title: Mapped[str]
    detail: Mapped[str]
    resource_kind: Mapped[str]
    resource_id: Mapped[str]
    context: Mapped[dict[str, Any]]
    occurrences: Mapped[int]
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    acknowledged_by: Mapped[str | None]
    acknowledged_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None]
    resolved_at: Mapped[datetime | None]
    note: Mapped[str | None]
    notification: Mapped[str | None]

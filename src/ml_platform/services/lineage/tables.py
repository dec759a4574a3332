"""What lineage writes in the transaction of a change: edges that follow from no other row, and events to send."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base, JsonText


class LineageEdgeRow(Base):
    """`target` was made of `source`. The names are what both were called then: either may be deleted."""

    __tablename__ = "lineage_edges"
    __table_args__ = (
        UniqueConstraint(
            *("team_id", "source_kind", "source_id", "target_kind", "target_id", "relation"),
            name="uq_lineage_edges_edge",  # what the convention makes of it is too long for PostgreSQL
        ),
        Index("ix_lineage_edges_target", "team_id", "target_kind", "target_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    source_kind: Mapped[str]
    source_id: Mapped[str]
    source_name: Mapped[str]
    target_kind: Mapped[str]
    target_id: Mapped[str]
    target_name: Mapped[str]
    relation: Mapped[str]
    recorded_at: Mapped[datetime]


class LineageEventRow(Base):
    """An event that waits for a receiver, written in the transaction of what it tells; it goes when it arrived.

    It has a table of its own since a receiver that is away for weeks must not be in the way of anything else.
    """

    __tablename__ = "lineage_events"
    __table_args__ = (Index("ix_lineage_events_receiver", "receiver", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    receiver: Mapped[str]
    run_id: Mapped[str]
    event: Mapped[dict[str, Any]] = mapped_column(JsonText)
    created_at: Mapped[datetime]
    not_before: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None]

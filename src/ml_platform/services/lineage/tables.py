"""Edges that follow from no other row: they are written in the transaction of the change."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


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

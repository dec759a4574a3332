"""Feature views, their materialisations, and training sets."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class FeatureViewRow(Base):
    __tablename__ = "feature_views"
    __table_args__ = (UniqueConstraint("team_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    name: Mapped[str]
    dataset: Mapped[str]
    dataset_version: Mapped[int]
    entities: Mapped[dict[str, Any]]
    timestamp_field: Mapped[str]
    features: Mapped[dict[str, Any]]
    ttl_seconds: Mapped[int | None]
    description: Mapped[str | None]
    materialized_at: Mapped[datetime | None]
    online_entities: Mapped[int | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class MaterializationRow(Base):
    __tablename__ = "materializations"

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), index=True)
    feature_view: Mapped[str]
    dataset_version: Mapped[int]
    status: Mapped[str] = mapped_column(default="submitted")
    entities: Mapped[int | None]
    reason: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class TrainingSetRow(Base):
    __tablename__ = "training_sets"

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), index=True)
    entities: Mapped[str]
    features: Mapped[list[str]]
    label: Mapped[str | None]
    rows: Mapped[int]
    columns: Mapped[list[str]]
    uri: Mapped[str]
    digest: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[str]

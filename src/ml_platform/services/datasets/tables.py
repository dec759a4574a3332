"""Datasets and their versions. A version without a row was never finished and does not exist."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class DatasetRow(Base):
    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("team_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    name: Mapped[str]
    description: Mapped[str | None]
    rules: Mapped[dict[str, Any] | None]  # the schema that the next version must keep
    latest_version: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class DatasetVersionRow(Base):
    __tablename__ = "dataset_versions"
    __table_args__ = (UniqueConstraint("dataset_id", "version"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    version: Mapped[int]
    rows: Mapped[int]
    columns: Mapped[int]
    columns_schema: Mapped[dict[str, Any]]
    profile: Mapped[dict[str, Any]]
    digest: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[str]

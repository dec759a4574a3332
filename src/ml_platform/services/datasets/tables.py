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
    personal_data: Mapped[dict[str, Any] | None]  # an `Examination`
    digest: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class PersonalDataMarkRow(Base):
    """What a person says of a column and a kind; earlier words are in the audit log.

    `share` is what was found in `version`, the one that was looked at: where more is found later, it is asked again.
    """

    __tablename__ = "personal_data_marks"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    column_name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    verdict: Mapped[str]
    reason: Mapped[str]
    version: Mapped[int]
    share: Mapped[float | None]
    marked_by: Mapped[str]
    marked_at: Mapped[datetime]

"""Registered models, their versions and aliases."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class RegisteredModelRow(Base):
    __tablename__ = "registered_models"
    __table_args__ = (UniqueConstraint("team_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    name: Mapped[str]
    description: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class ModelVersionRow(Base):
    """A version never changes but for its status and its card; its number is that of MLflow's registry.

    `artifact_signature` vouches for the files (a Sigstore bundle), `signature` is the columns of the model.
    `registration_key` says what was registered, so that doing it again finds this row.
    """

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("team_id", "model_name", "version"),
        UniqueConstraint("team_id", "model_name", "registration_key"),
        UniqueConstraint("team_id", "model_id"),
        Index("ix_model_versions_experiment", "team_id", "experiment_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    model_name: Mapped[str]
    version: Mapped[int]
    model_id: Mapped[str]
    registration_key: Mapped[str]
    mlflow_run_id: Mapped[str | None]
    mlflow_source: Mapped[str] = mapped_column(index=True)
    experiment_id: Mapped[str | None]
    job_id: Mapped[str | None] = mapped_column(index=True)
    source_uri: Mapped[str]
    digest: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    artifact_signature: Mapped[dict[str, Any] | None]
    signature: Mapped[dict[str, Any] | None]
    metrics: Mapped[dict[str, Any]]
    gate: Mapped[dict[str, Any] | None]
    task: Mapped[str | None]
    label: Mapped[str | None]
    reference_uri: Mapped[str | None]
    feature_view: Mapped[str | None]
    model_card: Mapped[dict[str, Any]]
    card_revision: Mapped[int] = mapped_column(default=1)
    card_written_by: Mapped[str | None]
    card_written_at: Mapped[datetime | None]
    description: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="registered")
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class ModelAliasRow(Base):
    __tablename__ = "model_aliases"

    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    model_name: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]

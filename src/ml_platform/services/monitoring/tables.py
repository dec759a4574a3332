"""Monitors, their checks and baselines, the retrainings that followed, and ground truth."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class MonitorRow(Base):
    """How a deployment is watched. `next_check_at` is claimed by whoever moves it on."""

    __tablename__ = "monitors"
    __table_args__ = (Index("ix_monitors_due", "enabled", "next_check_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    team_name: Mapped[str]
    deployment_id: Mapped[str] = mapped_column(unique=True)
    deployment_name: Mapped[str]
    environment: Mapped[str]
    enabled: Mapped[bool]
    window_hours: Mapped[float]
    min_rows: Mapped[int]
    psi_warn: Mapped[float]
    psi_act: Mapped[float]
    schedule_minutes: Mapped[float]
    retrain_enabled: Mapped[bool]
    retrain_cooldown_hours: Mapped[float]
    retrain_max_per_week: Mapped[int]
    next_check_at: Mapped[datetime]
    last_check_id: Mapped[str | None]
    last_verdict: Mapped[str | None]
    last_quality: Mapped[float | None]
    last_checked_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class DriftCheckRow(Base):
    """One check; `id` is also its workflow's id. `report` has the measures of every column."""

    __tablename__ = "drift_checks"
    __table_args__ = (Index("ix_drift_checks_deployment", "team_id", "deployment_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    deployment_id: Mapped[str]
    status: Mapped[str]
    trigger: Mapped[str]
    verdict: Mapped[str | None]
    reasons: Mapped[list[str]]
    reason: Mapped[str | None]
    model_name: Mapped[str | None]
    model_version: Mapped[int | None]
    window_start: Mapped[datetime | None]
    window_end: Mapped[datetime | None]
    rows: Mapped[int | None]
    quality_score: Mapped[float | None]
    drifted_features: Mapped[list[str]]
    report: Mapped[dict[str, Any] | None]
    notes: Mapped[list[str]]
    alert_id: Mapped[str | None]
    retraining: Mapped[dict[str, Any] | None]
    requested_by: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class DriftBaselineRow(Base):
    """The profile of a served bundle's reference; computed once, since neither ever changes.

    `prediction_column` is the column of the prediction log that the profile's prediction stands for.
    """

    __tablename__ = "drift_baselines"

    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    model_name: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[int] = mapped_column(primary_key=True)
    bundle_digest: Mapped[str] = mapped_column(primary_key=True)
    profile: Mapped[dict[str, Any] | None]
    prediction_name: Mapped[str | None]
    prediction_column: Mapped[str | None]
    notes: Mapped[list[str]]
    created_at: Mapped[datetime]


class GroundTruthRow(Base):
    """An upload of labels; `digest` follows from what was uploaded, so the same records are one upload."""

    __tablename__ = "ground_truth_uploads"
    __table_args__ = (
        UniqueConstraint("deployment_id", "digest"),
        Index("ix_ground_truth_uploads_deployment", "team_id", "deployment_id", "id"),
        Index("ix_ground_truth_uploads_time", "deployment_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    deployment_id: Mapped[str]
    digest: Mapped[str]
    records: Mapped[int]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class RetrainingRow(Base):
    """A retraining; `id` is also its workflow's id. One check starts at most one."""

    __tablename__ = "retrainings"
    __table_args__ = (
        UniqueConstraint("check_id"),
        Index("ix_retrainings_deployment", "team_id", "deployment_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    team_name: Mapped[str]
    deployment_id: Mapped[str]
    check_id: Mapped[str | None]
    status: Mapped[str]
    reason: Mapped[str | None]
    source_job_id: Mapped[str]
    job_id: Mapped[str | None]
    model_id: Mapped[str | None]
    rollout_id: Mapped[str | None]
    requested_by: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

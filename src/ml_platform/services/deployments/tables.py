"""Deployments, revisions, rollouts with their stages and canary steps, and the snapshot's version."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class DeploymentRow(Base):
    """A stable endpoint. Its row is locked before `active_rollout_id` or `ab_test_id` is set or cleared.

    They are the guards: one rollout at a time, and none but its own while an A/B test is under way.
    """

    __tablename__ = "deployments"
    __table_args__ = (
        UniqueConstraint("team_id", "environment", "name"),
        Index("ix_deployments_team", "team_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str]
    team_name: Mapped[str]
    environment: Mapped[str]
    name: Mapped[str]
    status: Mapped[str]
    replicas: Mapped[int]
    auto_scale: Mapped[bool]
    max_replicas: Mapped[int | None]
    active_rollout_id: Mapped[str | None] = mapped_column(unique=True)
    last_rollout_id: Mapped[str | None]
    ab_test_id: Mapped[str | None] = mapped_column(unique=True)
    ab_test_by_name: Mapped[str | None]
    sticky: Mapped[dict[str, Any] | None]
    created_by: Mapped[str]
    created_by_name: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class RevisionRow(Base):
    """A model version as deployed; immutable but for `status` and `weight` (percent of the traffic).

    `baseline` is what it was compared with when it took over: the old revision's share of the last step.
    """

    __tablename__ = "revisions"

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str]
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"), index=True)
    rollout_id: Mapped[str] = mapped_column(unique=True)
    model_name: Mapped[str]
    model_version: Mapped[int]
    model_digest: Mapped[str]
    bundle_uri: Mapped[str]
    bundle_digest: Mapped[str]
    runtime: Mapped[str]
    feature_view: Mapped[str | None]
    feature_store: Mapped[dict[str, Any] | None]
    config: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(index=True)
    weight: Mapped[float]
    shadow_share: Mapped[float | None]
    smoke_until: Mapped[datetime | None]
    baseline: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]


class RolloutRow(Base):
    """One way of a model version to an endpoint; `id` is also its workflow's id."""

    __tablename__ = "rollouts"
    __table_args__ = (Index("ix_rollouts_deployment", "deployment_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str]
    team_name: Mapped[str]
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    revision_id: Mapped[str] = mapped_column(unique=True)
    model_name: Mapped[str]
    model_version: Mapped[int]
    environment: Mapped[str]
    config: Mapped[dict[str, Any]]
    status: Mapped[str]
    reason: Mapped[str | None]
    requested_by: Mapped[str]
    requested_by_name: Mapped[str]
    requested_key: Mapped[str | None]
    justification: Mapped[str | None]
    artifact_digest: Mapped[str | None]
    approval_id: Mapped[str | None]
    paused_by_name: Mapped[str | None]
    paused_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class RolloutStageRow(Base):
    __tablename__ = "rollout_stages"
    __table_args__ = (UniqueConstraint("rollout_id", "position"), UniqueConstraint("rollout_id", "name"))

    id: Mapped[str] = mapped_column(primary_key=True)
    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id"))
    position: Mapped[int]
    name: Mapped[str]
    status: Mapped[str]
    evidence: Mapped[dict[str, Any]]
    reason: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class CanaryStepRow(Base):
    __tablename__ = "rollout_canary_steps"
    __table_args__ = (UniqueConstraint("rollout_id", "step"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id"))
    step: Mapped[int]
    percent: Mapped[int]
    status: Mapped[str]
    evidence: Mapped[dict[str, Any]]
    reason: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class BundleRow(Base):
    """The digest that a bundle was built with; `key` says of what it was built, and how."""

    __tablename__ = "bundles"

    team_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    uri: Mapped[str]
    digest: Mapped[str]
    built_at: Mapped[datetime]


class SnapshotVersionRow(Base):
    """The version of the inference plane's desired state: one row, raised with every change of it."""

    __tablename__ = "inference_snapshot"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int]
    changed_at: Mapped[datetime]

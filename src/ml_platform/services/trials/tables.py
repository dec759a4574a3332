"""Shadows, and A/B tests with their arms."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class ShadowRow(Base):
    """Who had which version answer beside an endpoint; whether it does is its rollout's and revision's state."""

    __tablename__ = "shadows"
    __table_args__ = (Index("ix_shadows_deployment", "deployment_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str]
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id"), unique=True)
    revision_id: Mapped[str] = mapped_column(unique=True)
    model_name: Mapped[str]
    model_version: Mapped[int]
    share: Mapped[float]
    started_by_name: Mapped[str]
    stopped_by_name: Mapped[str | None]
    stopped_at: Mapped[datetime | None]
    promoted_rollout_id: Mapped[str | None]
    created_at: Mapped[datetime]


class ABTestRow(Base):
    """A test; `id` is also its workflow's id. `report` is what the newest look saw, at last the decision's."""

    __tablename__ = "ab_tests"
    __table_args__ = (Index("ix_ab_tests_deployment", "deployment_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str]
    team_name: Mapped[str]
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    name: Mapped[str]
    plan: Mapped[dict[str, Any]]
    status: Mapped[str]
    reason: Mapped[str | None]
    winner: Mapped[str | None]
    report: Mapped[dict[str, Any] | None]
    started_by: Mapped[str]
    started_by_name: Mapped[str]
    finished_by_name: Mapped[str | None]
    snapshot_version: Mapped[int | None]
    measured_from: Mapped[datetime | None]
    promoted_rollout_id: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ABTestArmRow(Base):
    """An arm; `rollout_id` is that of the rollout which brought its revision for this test alone."""

    __tablename__ = "ab_test_arms"
    __table_args__ = (UniqueConstraint("ab_test_id", "position"), UniqueConstraint("ab_test_id", "name"))

    id: Mapped[str] = mapped_column(primary_key=True)
    ab_test_id: Mapped[str] = mapped_column(ForeignKey("ab_tests.id"))
    position: Mapped[int]
    name: Mapped[str]
    weight: Mapped[float]
    control: Mapped[bool]
    model_name: Mapped[str]
    model_version: Mapped[int]
    revision_id: Mapped[str | None]
    rollout_id: Mapped[str | None]

"""Answered risks, requests for approval, and votes."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class ModelRiskRow(Base):
    """The questionnaire of a model as answered last; earlier answers are in the audit log."""

    __tablename__ = "model_risks"
    __table_args__ = (UniqueConstraint("team_id", "model_name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str]
    model_name: Mapped[str]
    assessments: Mapped[dict[str, Any]]
    score: Mapped[int]
    level: Mapped[str]
    answered_by: Mapped[str]
    answered_by_name: Mapped[str]
    answered_at: Mapped[datetime]
    review_due_at: Mapped[datetime]


class ModelOwnerRow(Base):
    """Who answers for a model, once somebody else than its creator was named."""

    __tablename__ = "model_owners"

    team_id: Mapped[str] = mapped_column(primary_key=True)
    model_name: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str]
    owner_name: Mapped[str]
    since: Mapped[datetime]


class ModelReviewRow(Base):
    """A periodic review; never changed. `revalidated`: what served reached its gate on rows that were named."""

    __tablename__ = "model_reviews"
    __table_args__ = (Index("ix_model_reviews_model", "team_id", "model_name", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str]
    model_name: Mapped[str]
    verdict: Mapped[str]
    findings: Mapped[str]
    serving: Mapped[list[str]]
    risk_level: Mapped[str]
    risk_score: Mapped[int]
    revalidation: Mapped[dict[str, Any] | None]
    revalidated: Mapped[bool]
    reviewed_by: Mapped[str]
    reviewed_by_name: Mapped[str]
    reviewed_at: Mapped[datetime]


class ApprovalRow(Base):
    """One request, bound to a digest. At most one for each subject.

    `reminded` counts how often those who are missing were told again. Where the glass was broken, somebody
    else reviews it until `review_due_at`.
    """

    __tablename__ = "approvals"
    __table_args__ = (Index("ix_approvals_team", "team_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str]
    subject_id: Mapped[str] = mapped_column(unique=True)
    model_name: Mapped[str]
    model_version: Mapped[int]
    environment: Mapped[str]
    digest: Mapped[str]
    risk_level: Mapped[str]
    risk_score: Mapped[int]
    automatic: Mapped[bool]
    status: Mapped[str]
    requested_by: Mapped[str]
    requested_by_name: Mapped[str]
    justification: Mapped[str | None]
    evidence: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    reminded: Mapped[int] = mapped_column(default=0)
    glass_broken_by: Mapped[str | None]
    glass_broken_by_name: Mapped[str | None]
    review_due_at: Mapped[datetime | None] = mapped_column(index=True)
    reviewed_at: Mapped[datetime | None]
    reviewed_by_name: Mapped[str | None]
    review_verdict: Mapped[str | None]
    review_reason: Mapped[str | None]


class ApprovalVoteRow(Base):
    __tablename__ = "approval_votes"
    __table_args__ = (UniqueConstraint("approval_id", "voter_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    approval_id: Mapped[str] = mapped_column(ForeignKey("approvals.id"), index=True)
    voter_id: Mapped[str]
    voter_name: Mapped[str]
    verdict: Mapped[str]
    reason: Mapped[str]
    roles: Mapped[list[str]]
    created_at: Mapped[datetime]

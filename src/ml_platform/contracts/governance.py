"""Risk of a model, and the approvals that its deployments need."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from ml_platform.contracts.base import Name, RequestModel, ResponseModel
from ml_platform.contracts.identity import Role


class RiskLevel(StrEnum):
    """The sum of the five assessments: under 15 low, under 30 medium, else high."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Assessment(RequestModel):
    """One answer of the risk questionnaire, by a person."""

    score: int = Field(ge=0, le=10, description="0 none, 10 severe", examples=[3])
    reason: Name = Field(
        max_length=200, description="Why this score", examples=["Wrong offers cost a discount"]
    )


class RiskAssess(RequestModel):
    """The five assessments; all of them are answered together and replace the ones before."""

    business_impact: Assessment
    customer_exposure: Assessment
    data_sensitivity: Assessment
    regulatory_scope: Assessment
    explainability: Assessment


class AnsweredAssessment(ResponseModel):
    score: int
    reason: str
    answered: int | None = Field(default=None, description="What a person answered, where evidence raised it")
    because: list[str] = Field(default_factory=list, description="The evidence that raised it")


class ApprovalRequirement(ResponseModel):
    """Who must agree. Every mandatory seat and `quorum` seats in all are filled by different people."""

    seats: dict[str, list[Role]] = Field(description="Each seat and the roles that may take it")
    mandatory: list[str]
    quorum: int
    within_hours: float


class ModelRisk(ResponseModel):
    model_name: str
    score: int = Field(description="0 to 50")
    level: RiskLevel
    assessments: dict[str, AnsweredAssessment]
    answered_by: str
    answered_at: datetime
    review_due_at: datetime
    approval: ApprovalRequirement = Field(description="What a deployment to production needs")


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    LAPSED = "lapsed"
    VOID = "void"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"
    ABSTAIN = "abstain"


class VoteCreate(RequestModel):
    reason: Name = Field(
        max_length=200, description="Kept in the audit log", examples=["Evidence is complete"]
    )


class ReviewVerdict(StrEnum):
    """What a review of a deployment behind a broken glass found."""

    JUSTIFIED = "justified"
    UNJUSTIFIED = "unjustified"


class ReviewCreate(RequestModel):
    verdict: ReviewVerdict
    reason: Name = Field(
        max_length=200, description="Kept in the audit log", examples=["Fraud was under way"]
    )


class GlassBroken(ResponseModel):
    """Who let a deployment through without the approval it needed, and what became of it."""

    by: str
    review_due_at: datetime = Field(description="Until then somebody else reviews it")
    reviewed_at: datetime | None = None
    reviewed_by: str | None = None
    verdict: ReviewVerdict | None = None
    reason: str | None = Field(default=None, description="The reviewer's")


class Vote(ResponseModel):
    voter: str
    verdict: Verdict
    reason: str
    roles: list[Role] = Field(description="The roles that the voter held when voting")
    created_at: datetime


class Approval(ResponseModel):
    """A request for approval, bound to the digest of what is approved."""

    approval_id: str
    status: ApprovalStatus
    automatic: bool = Field(description="Granted by the rule itself: low risk, and every check passed")
    subject_id: str = Field(description="The rollout that waits for it")
    model_name: str
    model_version: int
    environment: str
    digest: str = Field(description="SHA-256 over the artifact, the configuration and the risk")
    risk_level: RiskLevel
    risk_score: int
    requirement: ApprovalRequirement
    missing: list[str] = Field(description="Seats without which it cannot be approved yet")
    requested_by: str
    justification: str | None
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    reason: str | None
    reminders: int = Field(default=0, description="How often those who are missing were told again")
    glass_broken: GlassBroken | None = Field(
        default=None, description="Set when it went out without the approval it needed"
    )
    votes: list[Vote]


class ApprovalDetail(Approval):
    """Everything that an approver reads, on one page."""

    evidence: dict[str, Any]

"""The register of models: whose each is, how risky, what serves, and when it was and will be reviewed."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from ml_platform.contracts.base import JsonObject, Name, RequestModel, ResponseModel, Text
from ml_platform.contracts.governance import RiskLevel


class ModelReviewVerdict(StrEnum):
    """What a periodic review found."""

    KEEP = "keep"
    CONDITIONS = "conditions"
    RETIRE = "retire"


class ModelReviewCreate(RequestModel):
    verdict: ModelReviewVerdict = Field(
        description="`conditions`: it stays, and the findings say under which; `retire`: no version of it goes"
        " into production any more, until a later review says otherwise"
    )
    findings: Text = Field(min_length=1, examples=["Complaints looked through, none about wrong offers"])
    dataset: Name | None = Field(
        default=None,
        max_length=300,
        pattern=r"^[\x21-\x7e]+$",
        description="Labelled rows, as `name` or `name@version`: what serves is judged on them. A high-risk model"
        " is revalidated so every month",
        examples=["telco@2"],
    )


class Revalidation(ResponseModel):
    """How a version did on rows that were named at a review."""

    model_id: str
    dataset: str
    rows: int
    metrics: dict[str, float]
    passed: bool | None = Field(description="Whether it still reaches its gate; null for one without")
    reason: str


class ModelReview(ResponseModel):
    """A review, kept for ever."""

    review_id: str
    model_name: str
    verdict: ModelReviewVerdict
    findings: str
    serving: list[str] = Field(description="What served in production then, as `name/version`")
    risk_level: RiskLevel
    risk_score: int
    revalidation: Revalidation | None
    reviewed_by: str
    reviewed_at: datetime


class GovernedModel(ResponseModel):
    """One line of the register."""

    model_name: str
    owner: str = Field(description="Who answers for it; at first who registered it")
    risk_level: RiskLevel | None = Field(description="Null while the risk is not answered")
    risk_score: int | None
    latest_version: int
    serving: list[str] = Field(description="Versions with traffic in production, as `name/version`")
    last_review: ModelReview | None
    review_due_at: datetime | None = Field(description="Null while nothing of it serves in production")
    revalidation_due_at: datetime | None = Field(description="Of a high-risk model in production")
    overdue: bool
    retired: bool = Field(description="The last review says that it goes")


class OwnerSet(RequestModel):
    user: Name = Field(description="Name of a member of the team", examples=["ana"])


class CardSet(RequestModel):
    card: JsonObject = Field(
        description="Replaces the card as a whole",
        examples=[{"intended_use": "Offers to customers who may leave", "limitations": "Not for businesses"}],
    )


class ModelCard(ResponseModel):
    """A version's card: what its authors wrote, and what the platform knows."""

    model_id: str
    name: str
    version: int
    revision: int = Field(description="1 is the card of the registration")
    written_by: str
    written_at: datetime
    card: JsonObject
    missing: list[str] = Field(description="Sections that a model of its risk needs and that are empty")
    markdown: str = Field(description="The whole card, with the facts that the platform adds")

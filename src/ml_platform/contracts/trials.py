"""Trials of model versions on live traffic: shadows, which answer beside, and A/B tests, which share it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StringConstraints, model_validator

from ml_platform.contracts.base import Name, RequestModel, ResponseModel, Slug
from ml_platform.contracts.deployments import CanaryPlan

ModelReference = Annotated[
    str,
    StringConstraints(max_length=300, pattern=r"^[A-Za-z0-9._-]{1,200}([/@][A-Za-z0-9._-]{1,80})?$"),
]
"""`name`, `name/version`, `name@alias` or `name_v2`."""
RevisionReference = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9_]+$")]


class ShadowRequest(RequestModel):
    """A version that gets copies of an endpoint's requests. Its answers are logged, and nobody is given them."""

    model_id: ModelReference = Field(examples=["churn/4"])
    share: float = Field(default=1.0, gt=0, le=1, description="Of the requests that are answered")
    justification: Name | None = Field(default=None, description="Shown to the approvers")


class ShadowStatus(StrEnum):
    """`starting`: on its way through the stages, approval included."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"
    PROMOTED = "promoted"


class Shadow(ResponseModel):
    shadow_id: str
    deployment_id: str
    rollout_id: str = Field(description="The rollout that brought it; its stages say what was checked")
    revision_id: str
    model_name: str
    model_version: int
    share: float
    status: ShadowStatus
    reason: str | None = Field(description="Why it could not start")
    started_by: str
    created_at: datetime
    stopped_by: str | None
    stopped_at: datetime | None
    promoted_rollout_id: str | None


class ShadowSide(ResponseModel):
    """One side of a comparison, over the requests that both have answered."""

    model_version: int | None = Field(description="Of several that served: null")
    answers: int
    latency_ms_p50: float | None
    latency_ms_p95: float | None


class SharedQuality(ResponseModel):
    """Both sides in the light of the labels that arrived for the requests that both answered."""

    status: Literal["measured", "not_enough_data", "not_comparable"]
    metric: str | None = Field(description="accuracy (more is better) or rmse (less is better)")
    labels: int
    shadow: float | None
    serving: float | None


class ShadowReport(ResponseModel):
    """A shadow beside what served, on the same requests, joined by request id and instance.

    Latency is the model's own time for the shadow, and that of the whole request in the server for what served.
    """

    shadow_id: str
    status: Literal["measured", "not_enough_data"]
    reason: str | None
    since: datetime
    until: datetime
    min_rows: int
    compared: int = Field(description="Answers of both sides to the same instance")
    agreement_rate: float | None
    agreement_means: str = Field(description="When two answers agree")
    mean_difference: float | None = Field(description="Shadow less what served; null where not numbers")
    mean_absolute_difference: float | None
    largest_difference: float | None
    psi: float | None = Field(description="Distance of the two distributions of answers")
    js_distance: float | None
    failed: int = Field(description="Instances that the shadow failed at, of those that what served answered")
    failure_rate: float | None
    dropped: int | None = Field(
        description="Requests of which it got no copy since it did not keep up, or lacks their columns; of the last"
        " day at most; null while the inference server does not answer"
    )
    shadow: ShadowSide
    serving: ShadowSide
    quality: SharedQuality


class Metric(StrEnum):
    """What a test compares.

    `mean_answer` is of answers that are numbers, `conversion` the share of labels that are `positive`, `outcome`
    the mean of labels that are numbers.
    """

    ERROR_RATE = "error_rate"
    MEAN_ANSWER = "mean_answer"
    CONVERSION = "conversion"
    OUTCOME = "outcome"

    @property
    def is_rate(self) -> bool:
        return self in (Metric.ERROR_RATE, Metric.CONVERSION)


class GuardedMetric(StrEnum):
    ERROR_RATE = "error_rate"
    LATENCY_P95_MS = "latency_p95_ms"
    MEAN_ANSWER = "mean_answer"
    CONVERSION = "conversion"
    OUTCOME = "outcome"


class StickyAssignment(RequestModel):
    """What keeps a caller on one arm: equal values of a header, or of an entity key of the request."""

    by: Literal["header", "entity"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = Field(
        examples=["customer_id"]
    )


class TrialArm(RequestModel):
    """A version, or a revision that is loaded; the one that serves now is the control."""

    name: Slug = Field(examples=["control"])
    weight: float = Field(gt=0, le=100, description="Relative to the other arms")
    model_id: ModelReference | None = None
    revision_id: RevisionReference | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.model_id is None) == (self.revision_id is None):
            msg = "give either model_id or revision_id"
            raise ValueError(msg)
        return self


class Guardrail(RequestModel):
    """A limit for every arm; one that is broken stops the test, and the traffic goes back at once."""

    metric: GuardedMetric
    limit: float = Field(ge=-1e12, le=1e12)
    relation: Literal["at_most", "at_least"] = "at_most"


class ABTestRequest(RequestModel):
    """A test that may be looked at at any time.

    `minimum_detectable_effect` is the smallest difference that matters, in the metric's own unit: 0.01 of a
    rate is one of a hundred. The test is quickest for it, and says 'no difference' when none so large is left.
    """

    name: Name = Field(examples=["Trees of depth 8"])
    arms: list[TrialArm] = Field(min_length=2, max_length=5)
    metric: Metric
    positive: StrictBool | float | Name = Field(
        default=True, description="The label that counts as a conversion; true and 1 are the same"
    )
    direction: Literal["increase", "decrease"]
    minimum_detectable_effect: float = Field(gt=0, le=1e12)
    alpha: float = Field(
        default=0.05, ge=1e-6, le=0.2, description="The chance of a wrong winner, over all looks"
    )
    sticky: StickyAssignment | None = Field(default=None, description="Default: each request by itself")
    guardrails: list[Guardrail] = Field(
        default_factory=lambda: [Guardrail(metric=GuardedMetric.ERROR_RATE, limit=0.05)], max_length=10
    )
    min_samples: int = Field(
        default=500,
        ge=100,
        le=10**9,
        description="Fewest units (callers, or requests) of an arm for a verdict",
    )
    min_seconds: float = Field(default=0, ge=0, le=90 * 86400, description="No verdict before")
    max_seconds: float = Field(default=14 * 86400, ge=1, le=90 * 86400)
    promote_winner: bool = Field(
        default=False, description="Start a rollout of a winner, through all gates, when the test is over"
    )
    justification: Name | None = Field(default=None, description="Shown to the approvers")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({arm.name for arm in self.arms}) != len(self.arms):
            msg = "arms: two have the same name"
            raise ValueError(msg)
        if self.metric.is_rate and self.minimum_detectable_effect > 1:
            msg = f"minimum_detectable_effect: {self.metric} is a rate, so at most 1"
            raise ValueError(msg)
        if self.min_seconds > self.max_seconds:
            msg = "min_seconds must not be longer than max_seconds"
            raise ValueError(msg)
        return self


class ABTestStatus(StrEnum):
    """`preparing`: arms go through the stages, approval included; `expired`: over without a verdict."""

    PREPARING = "preparing"
    RUNNING = "running"
    WINNER = "winner"
    NO_DIFFERENCE = "no_difference"
    STOPPED_BY_GUARDRAIL = "stopped_by_guardrail"
    SAMPLE_RATIO_MISMATCH = "sample_ratio_mismatch"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        return self not in (ABTestStatus.PREPARING, ABTestStatus.RUNNING)


class ABTestArm(ResponseModel):
    name: str
    weight: float = Field(description="Percent of the traffic")
    control: bool
    model_name: str
    model_version: int
    revision_id: str | None = Field(description="Null until it is loaded")
    rollout_id: str | None = Field(description="The rollout that brought it; null when it was there before")


class ABTest(ResponseModel):
    ab_test_id: str
    deployment_id: str
    name: str
    status: ABTestStatus
    reason: str | None = Field(description="Why it ended")
    winner: str | None = Field(description="The arm that won")
    metric: Metric
    arms: list[ABTestArm]
    started_by: str
    created_at: datetime
    measured_from: datetime | None = Field(description="Since when every inference worker splits the traffic")
    finished_at: datetime | None
    finished_by: str | None
    promoted_rollout_id: str | None


class ArmResult(ResponseModel):
    name: str
    units: int = Field(description="Callers that were kept on this arm, else requests")
    requests: int
    errors: int
    measured_units: int = Field(description="Those of which the metric is known")
    value: float | None = Field(description="Of the metric")
    latency_ms_p95: float | None


class ArmComparison(ResponseModel):
    """A challenger less the control; interval and p-value hold at every look, whoever stops when."""

    arm: str
    difference: float
    low: float
    high: float
    p_value: float
    level: float = Field(description="Of the interval: 1 - alpha, with alpha shared by the challengers")


class SampleRatioCheck(ResponseModel):
    chi_square: float
    p_value: float = Field(description="Of the chi-square test, for this one look")
    any_look_p_value: float


class GuardrailResult(ResponseModel):
    arm: str
    metric: GuardedMetric
    value: float | None = Field(description="Null while it is not known")
    limit: float
    relation: Literal["at_most", "at_least"]
    broken: bool


class ABTestReport(ResponseModel):
    """What a look saw; that of the last one is kept for ever."""

    looked_at: datetime
    elapsed_seconds: float
    decision: str = Field(description="What follows from it, in words")
    arms: list[ArmResult]
    comparisons: list[ArmComparison]
    sample_ratio: SampleRatioCheck | None
    guardrails: list[GuardrailResult]
    crossed_units: int = Field(description="Units that were seen on more than one arm")


class ABTestDetail(ABTest):
    plan: ABTestRequest
    report: ABTestReport | None


class TrialPromotion(RequestModel):
    """A rollout of what was tried, through the gates of any other."""

    justification: Name | None = Field(default=None, description="Shown to the approvers")
    canary: CanaryPlan | None = Field(default=None, description="Default: 5, 25, 50, 100 percent")

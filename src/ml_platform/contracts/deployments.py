"""Deployments, their revisions, and the rollouts that move them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ml_platform.contracts.base import JsonList, JsonObject, Moment, Name, RequestModel, ResponseModel, Slug
from ml_platform.contracts.governance import ApprovalRequirement, RiskLevel


class Environment(StrEnum):
    DEV = "dev"
    STAGING = "staging"
    PRODUCTION = "production"


class CanaryPlan(RequestModel):
    """How a new revision takes over traffic in production from one that serves already."""

    steps: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        default=[5, 25, 50, 100], min_length=1, max_length=20, description="Percent of traffic, rising to 100"
    )
    step_seconds: float = Field(default=600, ge=0, le=7 * 86400, description="Shortest time at a step")
    min_requests: int = Field(default=500, ge=1, le=10**9, description="Fewest requests at a step")
    hold_seconds: float = Field(
        default=3600, ge=1, le=7 * 86400, description="Longest time at a step without a decision; then back"
    )
    max_error_rate: float = Field(default=0.05, gt=0, le=1)
    max_latency_ratio: float = Field(
        default=2.0,
        ge=1,
        le=100,
        description="p95, and median, against the old revision's in the same window",
    )
    latency_floor_ms: float = Field(
        default=10.0,
        ge=0,
        le=60_000,
        description="A p95 below this is never called slow, nor a median below a tenth of it",
    )
    min_availability: float = Field(default=0.99, ge=0, le=1)
    max_answer_shift: float | None = Field(
        default=0.25,
        gt=0,
        le=100,
        description="PSI of the answers against the old revision's in the same window, beyond what chance gives,"
        " from 30 entities or inputs each; null: not judged",
    )
    max_quality_drop: float | None = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Accuracy lost against the old revision, beyond chance, or the part by which RMSE grew; from"
        " 100 labels each; null: not judged",
    )

    @model_validator(mode="after")
    def _rising(self) -> "CanaryPlan":
        if self.steps != sorted(set(self.steps)) or self.steps[-1] != 100:
            msg = "steps must rise and end at 100"
            raise ValueError(msg)
        return self


class ReplicaResources(RequestModel):
    """What one copy may use. It stands in the KServe manifest, and prices are per copy."""

    cpu: float = Field(default=1.0, ge=0.1, le=256, description="Cores")
    memory_mb: int = Field(default=1024, ge=64, le=4_000_000, description="MiB")
    gpus: int = Field(default=0, ge=0, le=64, description="Whole GPUs (`nvidia.com/gpu` in the manifest)")


class FeatureServing(RequestModel):
    """What the endpoint answers while its online feature store is slow or down."""

    on_store_failure: Literal["fail", "default", "last_known"] = Field(
        default="fail",
        description="'fail': 503; 'default': the defaults below; 'last_known': the entity's values as they were"
        " last read. Answers of the last two carry the header `mlops-features`",
    )
    deadline_ms: float = Field(
        default=50, ge=1, le=10_000, description="How long a request waits for its features"
    )
    defaults: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict,
        max_length=10_000,
        description="For 'default': a value of its type for every column that is looked up",
        examples=[{"tenure": 12, "monthly_charges": 65.0}],
    )
    last_known_max_age_seconds: float = Field(
        default=3600, gt=0, le=30 * 86400, description="For 'last_known': older values are not taken"
    )


class Budget(RequestModel):
    """What a model may take on the runtime that serves it; null: measured and not judged."""

    p95_ms: float | None = Field(
        default=None, gt=0, le=600_000, description="Of calls with one row, asked one after the other"
    )
    memory_mb: int | None = Field(default=None, ge=1, le=4_000_000, description="MiB of the model itself")


class DeployRequest(RequestModel):
    environment: Environment = Field(examples=["staging"])
    name: Slug | None = Field(default=None, description="Of the endpoint; default: the model's name")
    replicas: int = Field(default=1, ge=1, le=1000)
    auto_scale: bool = False
    max_replicas: int | None = Field(default=None, ge=1, le=1000)
    scaling_policy: Literal["auto", "manual"] | None = Field(
        default=None, description="'auto' is the same as auto_scale"
    )
    justification: Name | None = Field(default=None, description="Shown to the approvers")
    canary: CanaryPlan | None = Field(default=None, description="Default: 5, 25, 50, 100 percent")
    resources: ReplicaResources = Field(default_factory=ReplicaResources)
    features: FeatureServing | None = Field(
        default=None, description="While the feature store is slow or down; default: requests fail with 503"
    )
    budget: Budget = Field(default_factory=Budget)

    @model_validator(mode="after")
    def _scaling(self) -> "DeployRequest":
        if self.scaling_policy is not None:
            self.auto_scale = self.scaling_policy == "auto"
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            msg = "max_replicas must not be smaller than replicas"
            raise ValueError(msg)
        return self


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class StageDeployRequest(RequestModel):
    """`POST /models/deploy`: the same by stage, as model registries speak."""

    model_name: Slug
    model_version: int = Field(ge=1, le=2**31 - 1)
    target_stage: Annotated[Environment, BeforeValidator(_lower)]
    replicas: int = Field(default=1, ge=1, le=1000)
    justification: Name | None = None


class DeploymentAccepted(ResponseModel):
    deployment_id: str
    rollout_id: str
    endpoint: str
    status: Literal["deploying"] = "deploying"


class StageDeployAnswer(ResponseModel):
    status: Literal["success", "pending_approval", "rejected"]
    deployment_id: str | None = None
    rollout_id: str | None = None
    endpoint: str | None = None
    message: str | None = Field(default=None, description="What is missing, and who can give it")
    approval: ApprovalRequirement | None = None


class DeploymentStatus(StrEnum):
    """`deploying`, `pending_approval` and `canary` while a rollout is under way."""

    DEPLOYING = "deploying"
    PENDING_APPROVAL = "pending_approval"
    CANARY = "canary"
    ACTIVE = "active"
    FAILED = "failed"
    RETIRED = "retired"


class RevisionStatus(StrEnum):
    """`candidate`: being rolled out; `standby`: warm without traffic, to go back to.

    `shadow`: gets copies of requests, and answers nobody; `trial`: a challenger of an A/B test.
    """

    CANDIDATE = "candidate"
    SERVING = "serving"
    STANDBY = "standby"
    SHADOW = "shadow"
    TRIAL = "trial"
    RETIRED = "retired"


class Revision(ResponseModel):
    revision_id: str
    model_name: str
    model_version: int
    status: RevisionStatus
    weight: float = Field(description="Percent of the endpoint's traffic")
    bundle_digest: str
    runtime: str
    created_at: datetime


class RolloutPurpose(StrEnum):
    """`traffic`: to take over; the others pass the same stages, and stand beside what serves."""

    TRAFFIC = "traffic"
    SHADOW = "shadow"
    TRIAL = "trial"


class RolloutStatus(StrEnum):
    RUNNING = "running"
    PENDING_APPROVAL = "pending_approval"
    CANARY = "canary"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"

    @property
    def finished(self) -> bool:
        return self not in (RolloutStatus.RUNNING, RolloutStatus.PENDING_APPROVAL, RolloutStatus.CANARY)


class Deployment(ResponseModel):
    deployment_id: str
    name: str
    environment: Environment
    status: DeploymentStatus
    endpoint: str
    replicas: int
    auto_scale: bool
    max_replicas: int | None
    serving_model_id: str | None = Field(
        default=None,
        description="The version that answers, as `name/version`; in a canary the one that it had before",
    )
    rollout_model_id: str | None = Field(
        default=None, description="The version that a rollout under way brings"
    )
    rollout_status: RolloutStatus | None = Field(default=None, description="Of the rollout under way")
    rollout_paused: bool = Field(default=False, description="Its canary is held where it is")
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="What the version that answers was deployed with: `canary`, `resources`, `features`, `budget`",
    )
    revisions: list[Revision] = Field(description="Those that are loaded, newest first")
    active_rollout_id: str | None
    last_rollout_id: str | None
    ab_test_id: str | None = Field(default=None, description="The A/B test that splits its traffic")
    created_by: str
    created_at: datetime
    updated_at: datetime


class StageName(StrEnum):
    VALIDATE = "validate"
    SECURITY = "security"
    TEST = "test"
    APPROVAL = "approval"
    BUILD = "build"
    DEPLOY = "deploy"
    SMOKE_TEST = "smoke_test"
    AUDIT = "audit"
    NOTIFY = "notify"


class StageStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class RolloutStage(ResponseModel):
    name: StageName
    status: StageStatus
    evidence: dict[str, Any]
    reason: str | None = Field(description="Why it stopped here")
    started_at: datetime | None
    finished_at: datetime | None


class CanaryStep(ResponseModel):
    step: int
    percent: int
    status: StageStatus
    evidence: dict[str, Any]
    reason: str | None
    started_at: datetime | None
    finished_at: datetime | None


class Rollout(ResponseModel):
    rollout_id: str
    deployment_id: str
    model_name: str
    model_version: int
    environment: Environment
    purpose: RolloutPurpose = RolloutPurpose.TRAFFIC
    status: RolloutStatus
    reason: str | None
    requested_by: str
    justification: str | None
    approval_id: str | None
    revision_id: str | None
    paused_by: str | None = Field(default=None, description="Who holds its canary where it is")
    paused_at: datetime | None = None
    created_at: datetime
    finished_at: datetime | None


class RolloutDetail(Rollout):
    config: dict[str, Any]
    stages: list[RolloutStage]
    canary: list[CanaryStep]


class KServeManifest(ResponseModel):
    """The `InferenceService` that serves a revision in a cluster: `kubectl apply -f` takes `manifest` as it is."""

    deployment_id: str
    rollout_id: str
    revision_id: str | None
    sha256: str = Field(
        description="Of the manifest's canonical JSON; the audit log seals it with the rollout"
    )
    manifest: dict[str, Any]


class PlannedGate(ResponseModel):
    stage: StageName
    outcome: Literal["passes", "stops", "waits", "runs"] = Field(
        description="'runs': it can only be known by running it"
    )
    detail: str


class PlannedCost(ResponseModel):
    """By the installation's price list; a month has 730 hours. Without prices all amounts are null."""

    currency: str | None = None
    hourly: float | None = Field(default=None, description="Of the copies that always run")
    monthly: float | None = None
    at_most_hourly: float | None = Field(
        default=None, description="Of the most copies that there may be; null: there is no limit"
    )
    at_most_monthly: float | None = None
    replaces_hourly: float | None = Field(default=None, description="Of what serves there now")
    replaces_monthly: float | None = None
    difference_hourly: float | None = None
    difference_monthly: float | None = None
    per_million_predictions: float | None = None
    predictions_hourly: float | None = Field(
        default=None, description="By what the endpoint was asked within the last hour; null: not known"
    )
    predictions_monthly: float | None = None
    detail: str = Field(description="What was counted, and what has no price")


class DeploymentPlan(ResponseModel):
    """What would happen, without doing it."""

    model_name: str
    model_version: int
    environment: Environment
    allowed: bool
    stopped_by: StageName | None = Field(description="The first gate that would stop it")
    gates: list[PlannedGate]
    risk_level: RiskLevel | None
    risk_score: int | None
    approval: ApprovalRequirement | None = Field(description="Who must approve; null when nobody needs to")
    canary: bool
    cost: PlannedCost


class QuotaUse(ResponseModel):
    name: str = Field(description="deployments, replicas, cpu (cores) or memory_mb (MiB)")
    limit: float | None = Field(description="Null: there is none")
    used: float = Field(description="Auto-scaled copies count as many as there may be")


class DeploymentQuota(ResponseModel):
    """What the deployments of a team may take together, and what they take, rollouts under way included."""

    team: str
    limits: list[QuotaUse]


class RevisionTraffic(ResponseModel):
    revision_id: str
    model_name: str
    model_version: int
    weight: float
    requests: int
    predictions: int
    errors: int
    client_errors: int
    error_rate: float
    requests_per_second: float
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    latency_ms_p99: float | None


class DeploymentMetrics(ResponseModel):
    """Traffic in a trailing window. No requests is no statement about health: latencies are then null."""

    deployment_id: str
    window_seconds: float
    covered_seconds: float = Field(description="How much of the window the inference server remembers")
    requests: int
    error_rate: float | None
    requests_per_second: float
    revisions: list[RevisionTraffic]


class ApprovedBy(ResponseModel):
    approval_id: str
    risk_level: RiskLevel
    automatic: bool
    approvers: list[str]
    glass_broken_by: str | None
    reason: str | None


class LiveRevision(ResponseModel):
    """A revision that took traffic, and who answers for it."""

    revision_id: str
    model_name: str
    model_version: int
    weight: float = Field(description="Percent of the endpoint's traffic")
    bundle_digest: str
    rollout_id: str
    requested_by: str
    approval: ApprovedBy | None = Field(description="Null where none was needed")


class DeploymentAsOf(ResponseModel):
    """What was live at a moment, according to the audit log."""

    deployment_id: str
    name: str
    environment: Environment
    at: datetime
    since: datetime | None = Field(description="When the traffic had been set so; null: nothing was live yet")
    changed_by: str | None
    action: str | None
    audit_sequence: int | None = Field(description="The event of the audit log that says so")
    revisions: list[LiveRevision]


class DeploymentRestore(RequestModel):
    """Goes back to what was live at a moment, through the same gates as any deployment."""

    at: Moment = Field(examples=["2026-03-01T12:00:00Z"])
    justification: Name | None = Field(default=None, description="Shown to the approvers")


class PredictionRequest(RequestModel):
    """One request to the endpoint, which the platform makes for whoever has no key of their own at hand."""

    instances: JsonList = Field(
        min_length=1,
        max_length=100,
        description="Rows, objects by column name, or entity keys",
        examples=[[{"customer_id": "C0000001"}]],
    )
    parameters: JsonObject | None = Field(default=None, description="Params of the model's signature")
    explain: bool = Field(default=False, description="Also why; a second request, to the same revision")


class PredictionAnswer(ResponseModel):
    """What the endpoint answered, and which revision did."""

    predictions: list[Any]
    explanations: list[dict[str, Any]] | None = Field(
        default=None,
        description="For each instance `base_value` and `values` by column, or `classes` of them",
    )
    not_explained: str | None = Field(
        default=None, description="Why there is no explanation where one was asked for"
    )
    revision_id: str
    model_name: str
    model_version: int
    request_id: str | None = Field(description="By it the prediction is found in the log and in the lineage")
    milliseconds: float = Field(description="From the control plane to the inference server and back")

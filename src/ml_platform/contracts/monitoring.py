"""Monitors of deployments, their drift checks and retrainings; alerts."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, model_validator

from ml_platform.contracts.base import Name, RequestModel, ResponseModel


class DriftVerdict(StrEnum):
    """`not_enough_data` is not `none`: too few rows, or nothing to compare them with."""

    NONE = "none"
    WARNING = "warning"
    DRIFT = "drift"
    NOT_ENOUGH_DATA = "not_enough_data"


class RetrainSettings(RequestModel):
    """Whether drift starts a retraining, and how often it may."""

    enabled: bool = False
    cooldown_hours: float = Field(
        default=24, ge=0, le=24 * 365, description="Least time between the starts of two retrainings"
    )
    max_per_week: int = Field(default=3, ge=1, le=1000, description="Most retrainings within seven days")


class MonitorUpdate(RequestModel):
    """The settings of a deployment's monitor; what is left out gets its default."""

    enabled: bool = Field(default=True, description="Whether it is checked on schedule")
    window_hours: float = Field(default=24, gt=0, le=24 * 90, description="How far back a check looks")
    min_rows: int = Field(
        default=1_000, ge=100, le=10**9, description="Fewer predictions in the window are not enough data"
    )
    psi_warn: float = Field(default=0.1, gt=0, le=10, description="PSI from which on a feature is a warning")
    psi_act: float = Field(default=0.25, gt=0, le=10, description="PSI beyond which a feature has drifted")
    schedule_minutes: float = Field(default=15, ge=0.1, le=7 * 24 * 60, description="Time between checks")
    retrain: RetrainSettings = Field(default_factory=RetrainSettings)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.psi_warn > self.psi_act:
            msg = "psi_warn must not be above psi_act"
            raise ValueError(msg)
        return self


class Monitor(ResponseModel):
    deployment_id: str
    enabled: bool
    window_hours: float
    min_rows: int
    psi_warn: float
    psi_act: float
    schedule_minutes: float
    retrain: RetrainSettings
    last_verdict: DriftVerdict | None = Field(description="Of the newest check that was measured")
    last_checked_at: datetime | None
    next_check_at: datetime | None = Field(description="Null while it is not checked on schedule")
    created_at: datetime
    updated_at: datetime


class DriftCheckStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        return self in (DriftCheckStatus.SUCCEEDED, DriftCheckStatus.FAILED)


class RetrainingDecision(ResponseModel):
    """What a drift verdict led to."""

    started: bool
    retraining_id: str | None = None
    reason: str = Field(description="Why it was or was not started")


class DriftCheckSummary(ResponseModel):
    """A check without the measures of each column."""

    check_id: str
    deployment_id: str
    status: DriftCheckStatus
    trigger: str = Field(description="schedule or request")
    verdict: DriftVerdict | None = Field(description="Null until it is measured")
    reasons: list[str]
    reason: str | None = Field(description="Why it failed")
    model_name: str | None
    model_version: int | None
    window_start: datetime | None
    window_end: datetime | None
    rows: int | None
    data_quality_score: float | None = Field(description="0 to 1; null without rows")
    drifted_features: list[str]
    alert_id: str | None
    retraining: RetrainingDecision | None
    requested_by: str
    created_at: datetime
    finished_at: datetime | None


class Distribution(ResponseModel):
    """The bins that were compared, in words, and the share of the rows in each; each side sums to 1."""

    bins: list[str]
    reference: list[float]
    current: list[float]


class FeatureDrift(ResponseModel):
    """A feature, or the prediction, against its reference; null where the data do not suffice."""

    name: str
    verdict: DriftVerdict
    reasons: list[str]
    psi: float | None = None
    js_distance: float | None = None
    kl_divergence: float | None = None
    kl_p_value: float | None = Field(default=None, description="Adjusted for the number of features")
    test: str | None = Field(default=None, description="kolmogorov_smirnov or chi_square")
    statistic: float | None = None
    p_value: float | None = None
    effect_size: float | None = None
    missing_share: float | None = None
    distribution: Distribution | None = Field(default=None, description="Null in reports of earlier versions")


class ColumnQuality(ResponseModel):
    name: str
    score: float
    missing: int
    type_errors: int
    out_of_range: int
    unseen_categories: int
    present: bool


class DriftCheck(DriftCheckSummary):
    """A check with its report."""

    features: list[FeatureDrift]
    quality: list[ColumnQuality]
    reference_rows: int | None
    notes: list[str] = Field(description="What the report does not cover, and why")


class DriftCheckAccepted(ResponseModel):
    check_id: str
    deployment_id: str
    status: DriftCheckStatus


class RetrainingStatus(StrEnum):
    """`rejected`: trained, and its model did not pass the gate of registration."""

    SUBMITTED = "submitted"
    TRAINING = "training"
    DEPLOYING = "deploying"
    DEPLOYMENT_REQUESTED = "deployment_requested"
    REJECTED = "rejected"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        return self not in (
            RetrainingStatus.SUBMITTED,
            RetrainingStatus.TRAINING,
            RetrainingStatus.DEPLOYING,
        )


class Retraining(ResponseModel):
    """From a drifted window to the request of a rollout, which then passes the gates of any other."""

    retraining_id: str
    deployment_id: str
    check_id: str | None
    status: RetrainingStatus
    reason: str | None
    source_job_id: str = Field(description="The job that is done again")
    job_id: str | None
    model_id: str | None
    rollout_id: str | None
    requested_by: str
    created_at: datetime
    finished_at: datetime | None


class AlertSeverity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertStatus(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class AlertNote(RequestModel):
    note: Name | None = Field(default=None, description="Kept with the alert and in the audit log")


class Alert(ResponseModel):
    """Something that a person should know. The same trouble is one alert until it is resolved."""

    alert_id: str
    severity: AlertSeverity
    status: AlertStatus
    title: str
    detail: str
    resource_kind: str
    resource_id: str
    team: str
    occurrences: int = Field(description="How often it was found since it was opened")
    context: dict[str, Any]
    created_at: datetime
    last_seen_at: datetime
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    resolved_by: str | None
    resolved_at: datetime | None
    note: str | None
    notification: str | None = Field(description="What became of telling people; null while it is under way")

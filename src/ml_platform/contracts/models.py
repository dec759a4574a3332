"""Registered models, their versions, and the gate that a version passed."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from ml_platform.contracts.base import JsonObject, Name, RequestModel, ResponseModel, Slug, Text

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
CHAMPION = "champion"


class GateMetric(StrEnum):
    """What a gate can be set on: metrics that the platform computes itself on the holdout."""

    ACCURACY = "accuracy"
    F1 = "f1"
    PRECISION = "precision"
    RECALL = "recall"
    ROC_AUC = "roc_auc"
    LOG_LOSS = "log_loss"
    RMSE = "rmse"
    MAE = "mae"
    R2 = "r2"

    @property
    def lower_is_better(self) -> bool:
        return self in {GateMetric.LOG_LOSS, GateMetric.RMSE, GateMetric.MAE}


class Gate(RequestModel):
    """What a candidate must reach on its holdout before it becomes a version."""

    metric: GateMetric
    threshold: float = Field(description="At least this; for log_loss, rmse and mae at most this")
    compare_with_champion: bool = Field(
        default=True, description="Also no worse than the champion on the same rows"
    )
    tolerance: float = Field(default=0.0, ge=0, description="How much worse than the champion is still fine")


class GateResult(ResponseModel):
    """What the gate found: the evidence that is kept with the version."""

    passed: bool
    reasons: list[str] = Field(description="Why it did or did not pass, in sentences")
    metric: str | None = None
    threshold: float | None = None
    value: float | None = Field(default=None, description="The candidate's own value")
    champion_model_id: str | None = None
    champion_value: float | None = Field(default=None, description="The champion's value on the same rows")
    rows: int | None = Field(default=None, description="Rows of the holdout")
    holdout_sha256: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    checked_at: datetime | None = None


class RegisterAs(RequestModel):
    """How a job's model is registered when the job has succeeded."""

    name: Slug = Field(examples=["churn"])
    label: ColumnName | None = Field(default=None, description="The label's column in holdout.parquet")
    gate: Gate | None = None
    feature_view: Name | None = Field(default=None, description="Features looked up online when predicting")
    description: Text | None = None
    model_card: JsonObject = Field(
        default_factory=dict, description="Default: that of the newest version before"
    )

    @model_validator(mode="after")
    def _gate_needs_label(self) -> Self:
        if self.gate is not None and self.label is None:
            msg = "a gate needs `label`, the name of the label's column in holdout.parquet"
            raise ValueError(msg)
        return self


class ModelVersionCreate(RequestModel):
    """A model that a run logged, registered by hand: no gate, and the evidence says so."""

    run_id: str = Field(pattern=r"^[0-9a-f]{32}$", description="MLflow's run")
    artifact_path: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="The logged model's name, or its folder in the run's artifacts; default: the newest model",
    )
    label: ColumnName | None = None
    feature_view: Name | None = None
    description: Text | None = None
    model_card: JsonObject = Field(
        default_factory=dict, description="Default: that of the newest version before"
    )


class ModelVersion(ResponseModel):
    model_id: str = Field(description="Names this version wherever a model is asked for")
    name: str
    version: int
    aliases: list[str]
    status: str
    task: str | None
    label: str | None
    metrics: dict[str, float]
    gate: GateResult | None
    signature: dict[str, Any] | None
    digest: str = Field(description="SHA-256 over the files of the model, as they were when registered")
    size_bytes: int
    source_uri: str
    reference_uri: str | None = Field(description="Parquet: the holdout with features and label")
    feature_view: str | None
    model_card: dict[str, Any]
    description: str | None
    run_id: str | None
    job_id: str | None
    experiment_id: str | None
    created_by: str
    created_at: datetime


class ModelSignature(ResponseModel):
    """The signature of a version's files; `model_signing verify key` checks it with the signing key."""

    model_id: str
    signed_name: str = Field(description="What the statement is about: name/version")
    bundle: dict[str, Any] | None = Field(
        description="A Sigstore bundle in the form of OpenSSF model signing 1.0; null: it was never signed"
    )


class ModelSigningKey(ResponseModel):
    public_key: str = Field(description="P-256, PEM")
    sha256: str = Field(description="Of the PEM; signatures name the key by it")


class Model(ResponseModel):
    name: str
    description: str | None
    aliases: dict[str, int]
    latest_version: int
    created_by: str
    created_at: datetime
    version: ModelVersion | None = Field(
        default=None, description="The version that was asked for; for a plain name, the newest"
    )


class AliasSet(RequestModel):
    version: int = Field(ge=1, le=2**31 - 1)


class EvaluationCreate(RequestModel):
    """Judges a version on the rows of a dataset or of a training set."""

    dataset: Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[\x21-\x7e]+$")] = (
        Field(examples=["telco@2"], description="`name`, `name@version`, or `training_set:<id>`")
    )
    label: ColumnName | None = Field(default=None, description="Default: the version's own")


class Evaluation(ResponseModel):
    """Metrics on rows that the caller chose; one that cannot be computed is absent."""

    model_id: str
    dataset: str | None = Field(description="The rows, with their version; null: the holdout of the gate")
    rows: int | None
    metrics: dict[str, float]

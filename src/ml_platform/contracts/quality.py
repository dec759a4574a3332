"""Ground truth that arrives after the predictions, and how good they were in its light."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    model_validator,
)

from ml_platform.contracts.base import Moment, Name, RequestModel, ResponseModel

MOST_RECORDS = 10_000

_Integer = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
Label = StrictBool | _Integer | StrictFloat | Name
RequestId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")]


class GroundTruthRecord(RequestModel):
    """What happened, and which prediction foresaw it: by its request, or by its entity and the time.

    With `entity`, it belongs to the last prediction for that entity that was made before `time`.
    """

    label: Label = Field(description="A class for classifiers, a number for regressions")
    request_id: RequestId | None = Field(default=None, description="The answer's x-request-id")
    instance: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        default=None, description="Position within the request; not needed for requests of one instance"
    )
    entity: Annotated[dict[Name, _Integer | Name], Field(min_length=1, max_length=8)] | None = Field(
        default=None, description="Entity keys as in the request, such as {customer_id: ...}"
    )
    time: Moment | None = Field(default=None, description="When it happened; needed with `entity`")

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.request_id is None) == (self.entity is None):
            msg = "give either request_id, or entity and time"
            raise ValueError(msg)
        if self.entity is not None and self.time is None:
            msg = "time: missing; with an entity it says which of its predictions is meant"
            raise ValueError(msg)
        if self.entity is not None and self.instance is not None:
            msg = "instance: goes with request_id alone"
            raise ValueError(msg)
        return self


class GroundTruthUpload(RequestModel):
    """Records that are stored together or not at all. The same records again change nothing."""

    records: list[GroundTruthRecord] = Field(min_length=1, max_length=MOST_RECORDS)


class GroundTruth(ResponseModel):
    """Records that were stored."""

    upload_id: str
    deployment_id: str
    records: int
    repeated: bool = Field(default=False, description="Whether they had been stored before")
    created_by: str
    created_at: datetime


class QualityStatus(StrEnum):
    """`not_enough_data` says nothing of the quality, good or bad."""

    MEASURED = "measured"
    NOT_ENOUGH_DATA = "not_enough_data"
    NOT_COMPARABLE = "not_comparable"


class RevisionQuality(ResponseModel):
    """The predictions of one revision that have a label.

    A binary classifier that answers probabilities has `accuracy` and `f1` at 0.5, `auc`, `log_loss`,
    `positive_rate` and `mean_prediction`; one that answers classes has `accuracy` and `f1` (`macro_f1` with more
    than two); a regression has `rmse`, `mae` and `mean_error`.
    """

    revision_id: str
    model_name: str
    model_version: str
    status: QualityStatus
    reason: str | None = None
    predictions: int
    labelled: int = Field(description="Predictions that a label was found for")
    unusable: int = Field(description="Of these, label or prediction is none that can be compared")
    metrics: dict[str, float | None] = Field(description="Null where it is not defined, as AUC of one class")


class DeploymentQuality(ResponseModel):
    """By revision, over the predictions of a trailing window."""

    deployment_id: str
    window_start: datetime
    window_end: datetime
    min_rows: int
    labels: int = Field(description="Records that arrived within the window")
    matched: int = Field(description="Of these, records that a prediction of the window was found for")
    ambiguous: int = Field(description="Of these, records of a request with several instances that name none")
    revisions: list[RevisionQuality]

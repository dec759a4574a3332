"""Datasets, their versions, schemas and profiles; feature views, training sets and materialisations."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from ml_platform.contracts.base import JsonObject, Name, RequestModel, ResponseModel, Slug, Text
from ml_platform.contracts.personaldata import PersonalDataFinding, PersonalDataKind, PersonalDataVerdict

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
DatasetReference = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(@[1-9][0-9]{0,8})?$")
]
"""`name` (its newest version) or `name@version`."""


class UploadFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"


class DatasetCreate(RequestModel):
    name: Slug = Field(examples=["telco-churn"])
    description: Text | None = None


class Dataset(ResponseModel):
    dataset_id: str
    name: str
    description: str | None
    latest_version: int = Field(description="0 while there is none")
    created_at: datetime
    created_by: str


class DatasetVersion(ResponseModel):
    dataset_id: str
    dataset: str
    version: int
    rows: int
    columns: int
    schema_: dict[str, Any] = Field(alias="schema", description="Names, types and checks of the columns")
    profile: dict[str, Any] = Field(
        description="Counts, ranges, quantiles, top values and histograms; of columns that say who somebody is, counts"
    )
    personal_data: list[PersonalDataFinding] = Field(default_factory=list)
    digest: str = Field(description="SHA-256 of the upload")
    created_at: datetime
    created_by: str


class PersonalDataMark(RequestModel):
    """What a person says of a column: on the record, for this version and those after it."""

    column: ColumnName = Field(examples=["notes"])
    kind: PersonalDataKind
    verdict: PersonalDataVerdict
    reason: Name = Field(description="Kept in the audit log", examples=["Order numbers, not phone numbers"])
    version: int | None = Field(default=None, ge=1, le=10**9, description="Default: the newest")


class Violation(ResponseModel):
    column: str
    check: str
    count: int
    examples: list[Any]


class ValidationReport(ResponseModel):
    valid: bool
    rows: int
    violations: list[Violation]


class SchemaUpdate(RequestModel):
    schema_: JsonObject = Field(alias="schema", description="As a version's `schema`, edited")


class Rows(ResponseModel):
    columns: list[str]
    rows: list[list[Any]]


class EntityDefinition(RequestModel):
    name: Identifier = Field(examples=["customer_id"])
    type: str = Field(default="STRING", pattern="^(STRING|INT32|INT64|BYTES|UNIX_TIMESTAMP)$")


class FeatureDefinition(RequestModel):
    name: Identifier
    type: str | None = Field(
        default=None, pattern=r"^[A-Z0-9_]{2,40}$", description="Default: the column's own"
    )


class FeatureViewCreate(RequestModel):
    name: Identifier = Field(examples=["customer_profile"])
    dataset: DatasetReference = Field(examples=["telco-churn@1"])
    entities: list[EntityDefinition] = Field(min_length=1, max_length=5)
    timestamp_field: Identifier = Field(examples=["event_timestamp"])
    features: list[FeatureDefinition] | None = Field(
        default=None, min_length=1, max_length=2_000, description="Default: every other column but `exclude`"
    )
    exclude: list[ColumnName] = Field(default_factory=list, max_length=2_000)
    ttl_seconds: int | None = Field(default=None, ge=1, le=36_500 * 86_400)
    description: Name | None = None


class Feature(ResponseModel):
    name: str
    type: str
    personal_data: list[PersonalDataKind] = Field(
        default_factory=list, description="What its source column was found to hold"
    )


class FeatureView(ResponseModel):
    name: str
    dataset: str
    dataset_version: int
    entities: list[Feature]
    timestamp_field: str
    features: list[Feature]
    ttl_seconds: int | None
    description: str | None
    materialized_at: datetime | None
    online_entities: int | None
    created_at: datetime
    created_by: str


class MaterializationCreate(RequestModel):
    dataset_version: int | None = Field(
        default=None, ge=1, le=10**9, description="Moves the view to this version of its dataset first"
    )


class Materialization(ResponseModel):
    materialization_id: str
    feature_view: str
    status: str = Field(description="submitted, running, succeeded or failed")
    entities: int | None
    reason: str | None
    created_at: datetime
    finished_at: datetime | None


class OnlineRequest(RequestModel):
    keys: list[dict[str, str | int]] = Field(min_length=1, max_length=100)
    features: list[Identifier] | None = Field(default=None, max_length=2_000)


class OnlineFeatures(ResponseModel):
    columns: dict[str, list[Any]]


class FeaturePush(RequestModel):
    """Rows by column: every entity, every feature, and the view's time column, in text with or without a zone."""

    columns: dict[Annotated[str, StringConstraints(max_length=200)], list[Any]] = Field(
        min_length=1, max_length=2_010
    )


class FeaturePushed(ResponseModel):
    feature_view: str
    entities: int


class TrainingSetCreate(RequestModel):
    entities: DatasetReference = Field(
        description="Dataset with the entities' keys, the times as of which features are wanted, and the label"
    )
    timestamp_field: Identifier = "event_timestamp"
    label: ColumnName | None = None
    features: list[Annotated[str, StringConstraints(max_length=130)]] = Field(
        min_length=1, max_length=2_000, description="Feature views, or `view:feature`"
    )


class TrainingSet(ResponseModel):
    training_set_id: str
    entities: str
    features: list[str]
    label: str | None
    rows: int
    columns: list[str]
    digest: str
    created_at: datetime
    created_by: str

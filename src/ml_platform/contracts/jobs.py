"""Training jobs: what is sent, and what comes back."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag

from ml_platform.contracts.base import JsonObject, RequestModel, ResponseModel
from ml_platform.contracts.models import GateResult, RegisterAs

_PATH = re.compile(r"[A-Za-z0-9_.+@-][A-Za-z0-9_ .+@-]*(/[A-Za-z0-9_.+@-][A-Za-z0-9_ .+@-]*)*")


def _plain_path(text: str) -> str:
    if not _PATH.fullmatch(text) or {"..", "."} & set(text.split("/")):
        msg = "must be a plain relative path inside the source, such as 'src/train.py'"
        raise ValueError(msg)
    return text


SourcePath = Annotated[str, StringConstraints(min_length=1, max_length=300), AfterValidator(_plain_path)]
InputName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$")]
InputReference = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[\x21-\x7e]+$")]
Argument = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]


def _form_of_source(value: Any) -> str | None:
    return "[id]" if isinstance(value, str) else "[files]" if isinstance(value, dict) else None


SourceGiven = Annotated[
    Annotated[str, StringConstraints(max_length=64), Tag("[id]")]
    | Annotated[dict[SourcePath, str], Tag("[files]")],
    Discriminator(
        _form_of_source,
        custom_error_type="source_form",
        custom_error_message="must be the id of an uploaded source, or its files as {path: text}",
    ),
]


class JobStatus(StrEnum):
    SUBMITTED = "submitted"
    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def ended(self) -> bool:
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.TIMED_OUT}


class Source(ResponseModel):
    source_id: str
    sha256: str
    size_bytes: int
    created_at: datetime


class TrainRequest(RequestModel):
    """A script to run once, in an environment of its own."""

    script: SourcePath = Field(default="train.py", description="The Python file to run, inside the source")
    source: SourceGiven | None = Field(
        default=None,
        description="The id of an uploaded source, or its files as {path: text}; default: the source that"
        " this experiment used last",
    )
    requirements: SourcePath | None = Field(
        default=None, description="A file inside the source; default: requirements.txt, when there is one"
    )
    args: list[Argument] = Field(default_factory=list, max_length=100)
    config: JsonObject = Field(
        default_factory=dict, description="The script finds it as JSON in MLOPS_CONFIG"
    )
    inputs: dict[InputName, InputReference] = Field(
        default_factory=dict,
        max_length=50,
        examples=[{"train": "dataset:telco@1"}],
        description="`dataset:<name>@<version>` or `training_set:<id>`; the script finds `<name>.parquet`"
        " in MLOPS_INPUTS",
    )
    instance_type: Annotated[str, StringConstraints(max_length=63)] | None = Field(
        default=None, examples=["cpu.small"]
    )
    num_gpus: int = Field(default=0, ge=0, le=1024)
    timeout_seconds: int | None = Field(default=None, ge=1, le=7 * 86400)
    memory_bytes: int | None = Field(default=None, ge=2**26, le=2**44)
    register_as: RegisterAs | None = None


class JobSubmitted(ResponseModel):
    job_id: str
    status: JobStatus
    experiment_id: str


class JobInput(ResponseModel):
    reference: str
    uri: str
    digest: str


class Job(ResponseModel):
    job_id: str
    status: JobStatus
    model_id: str | None = Field(description="The version that it registered")
    metrics: dict[str, float | None]
    reason: str | None = Field(description="Why it ended as it did, or why no version was registered")
    hint: str | None = Field(description="What to do about it")
    code: str | None = Field(description="A stable code of the reason")
    gate: GateResult | None
    experiment_id: str
    experiment_name: str
    run_id: str | None = Field(description="Its MLflow run")
    script: str
    source_id: str
    inputs: dict[str, JobInput]
    config: dict[str, Any]
    register_as: RegisterAs | None
    retry_of: str | None
    created_by: str
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    exit_code: int | None
    cpu_seconds: float | None
    max_memory_bytes: int | None


class JobLog(ResponseModel):
    """A piece of a log. Ask again with `offset=next_offset`; after `eof` there is nothing more."""

    text: str
    next_offset: int
    eof: bool

"""What training needs of others: an engine that runs jobs, a key for each, its inputs, its MLflow run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from ml_platform.services.access import Work


@dataclass(frozen=True, slots=True)
class ResolvedInput:
    """A table that a job reads: one Parquet file, and the digest by which it can be recognised."""

    reference: str
    uri: str
    path: Path
    digest: str


class InputSource(Protocol):
    """Where inputs come from: datasets and training sets."""

    def resolve(self, work: Work, reference: str) -> ResolvedInput:
        """Raises NotFoundError or BadInputError for a reference that means nothing here."""
        ...


@dataclass(frozen=True, slots=True)
class SourceListing:
    files: tuple[str, ...]
    """Relative paths, at most as many as are worth remembering; `complete` when that is all of them."""
    complete: bool


class SourceArchives(Protocol):
    """Reads archives that somebody sent, and writes those of inline sources."""

    def check(self, archive: Path) -> SourceListing:
        """Raises BadInputError unless it is a tar.gz of plain files within bounds."""
        ...

    def pack(self, files: Mapping[str, str], target: Path) -> None:
        """Writes a tar.gz of text files; the same files give the same bytes."""
        ...


@dataclass(frozen=True, slots=True)
class JobLaunch:
    """Everything that a job's processes are made from."""

    job_id: str
    source: Path
    source_sha256: str
    script: str
    requirements_file: str | None
    args: tuple[str, ...]
    env: Mapping[str, str]
    config: Mapping[str, Any]
    inputs: Mapping[str, Path]
    timeout_seconds: float
    memory_bytes: int
    max_processes: int
    log_bytes: int


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job's processes ended."""

    state: Literal["succeeded", "failed", "cancelled", "timed_out"]
    reason: str | None
    exit_code: int | None
    cpu_seconds: float
    max_memory_bytes: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class EngineState:
    """`lost`: nobody looks after the job any more; it may be launched again unless its script had started."""

    status: Literal["unknown", "prepared", "running", "finished", "lost"]
    script_started: bool = False
    end: JobEnd | None = None


@dataclass(frozen=True, slots=True)
class LogPiece:
    text: str
    next_offset: int
    eof: bool


@dataclass(frozen=True, slots=True)
class JobOutputs:
    """What the script left: `metrics` from its metrics.json, `problem` when that could not be read."""

    directory: Path
    metrics: Mapping[str, float]
    problem: str | None


class JobEngine(Protocol):
    """Runs scripts in environments and processes of their own. Every call may be repeated."""

    def prepare(self, job: JobLaunch) -> None:
        """Lays the job out; BadInputError when it cannot be taken as it is."""
        ...

    def requirements_digest(self, job_id: str) -> str | None:
        """SHA-256 of what its environment is made of, in canonical form; None when it asks for nothing."""
        ...

    def launch(self, job_id: str) -> None:
        """Starts it unless it was started."""
        ...

    def state(self, job_id: str) -> EngineState: ...

    def cancel(self, job_id: str) -> None:
        """Asks it to stop; an unknown job is no error."""
        ...

    def read_log(self, job_id: str, offset: int, limit: int) -> LogPiece | None:
        """A piece of its log; None when the job was never laid out."""
        ...

    def outputs(self, job_id: str) -> JobOutputs: ...


class JobKeys(Protocol):
    """Keys by which a job's script speaks to the platform."""

    def issue(self, work: Work, job_id: str, *, seconds: float) -> str:
        """A token for the job in its team, narrowed and expiring; revokes what the job had before."""
        ...

    def revoke(self, work: Work, job_id: str) -> None:
        """Revokes what the job has; none is no error."""
        ...


class JobRuns(Protocol):
    """MLflow runs of jobs, in a team's workspace."""

    def ensure_run(self, team: str, experiment_id: str, *, job_id: str, name: str, user: str) -> str:
        """The id of the job's run; made at the first call."""
        ...

    def finish_run(self, team: str, run_id: str, *, status: str, metrics: Mapping[str, float]) -> None:
        """Logs metrics that the run lacks and ends it, unless it has ended."""
        ...

    def run_metrics(self, team: str, run_id: str) -> Mapping[str, float]: ...


class Wake(Protocol):
    """Has waiting workflows look again; a hint that may get lost."""

    def __call__(self, workflow_ids: Iterable[str]) -> None: ...

"""What a job is, where its files stand, and how it ended: shared by the engine and the runner.

<job>/spec.json       the job, written once
<job>/config.json     its configuration, for the script
<job>/source/         the user's folder; the script runs in it
<job>/inputs/         <name>.parquet for each declared input
<job>/outputs/        what the script wants to be kept
<job>/home/           the script's HOME and TMPDIR
<job>/claim           locked by the runner for as long as it lives
<job>/phase.json      what the runner is doing
<job>/started         there from just before the script is started: it is never started again
<job>/cancel          there when somebody wants it to stop
<job>/log.txt         what the script wrote, and our own lines, which begin with "mlops: "
<job>/exit.json       how it ended; the last thing that is written
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

SPEC, CONFIG, SOURCE, INPUTS, OUTPUTS, HOME = (
    "spec.json",
    "config.json",
    "source",
    "inputs",
    "outputs",
    "home",
)
CLAIM, PHASE, STARTED, CANCEL, LOG, EXIT = (
    "claim",
    "phase.json",
    "started",
    "cancel",
    "log.txt",
    "exit.json",
)
RUNNER_LOG = "runner.log"
TMP = f"{HOME}/tmp"  # noqa: S108 - below the job, not the shared one

GIB = 1024**3

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_INPUT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class JobError(Exception):
    """The base of what this engine raises; `detail` may be shown."""

    code = "job_failed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class JobRefusedError(JobError):
    """The job cannot be taken as it is: a wrong name, a hostile archive, a script that is not there."""

    code = "job_refused"


class JobConflictError(JobError):
    """Another job stands under this id, or the job's state does not allow it."""

    code = "job_conflict"


class JobNotFoundError(JobError):
    code = "job_not_found"


@dataclass(frozen=True)
class JobSpec:
    """A script to run once, in its own environment and under limits.

    Attributes:
        source: a tar.gz of the user's folder.
        source_sha256: what the archive must hash to.
        script: the Python file to run, inside the source.
        requirements: the text of a requirements file; wins over `requirements_file`.
        requirements_file: a file inside the source.
        env: further variables of the script, such as its tracking address and token.
        inputs: Parquet files that the script finds as `<name>.parquet` in `MLOPS_INPUTS`.
        memory_bytes: resident memory of the script and all its descendants.
        max_processes: of the script and all its descendants.
        file_bytes: the largest file that it may write.
        log_bytes: how much of its output is kept.
    """

    job_id: str
    source: Path
    source_sha256: str
    script: str
    requirements: str | None = None
    requirements_file: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    timeout_seconds: float = 3600.0
    environment_timeout_seconds: float = 900.0
    memory_bytes: int = 4 * GIB
    max_processes: int = 256
    file_bytes: int = 20 * GIB
    log_bytes: int = 64 * 1024**2

    def __post_init__(self) -> None:
        check_job_id(self.job_id)
        if Path(self.script).suffix != ".py":
            raise JobRefusedError(f"the script must be a .py file inside the source, got {self.script!r}")
        for name in self.inputs:
            if not _INPUT_NAME.fullmatch(name) or ".." in name:
                raise JobRefusedError(f"input {name!r} needs a plain name of letters, digits, '_', '-', '.'")
        for name, value in self.env.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                raise JobRefusedError(f"{name!r} cannot be an environment variable")
        if any("\0" in argument for argument in self.args):
            raise JobRefusedError("an argument of the script holds a NUL character")
        for name in ("timeout_seconds", "environment_timeout_seconds", "memory_bytes", "max_processes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise JobRefusedError(f"{name} must be a positive number")

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str, allow_nan=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "JobSpec":
        raw = json.loads(text)
        raw["source"] = Path(raw["source"])
        raw["args"] = tuple(raw["args"])
        raw["inputs"] = {name: Path(path) for name, path in raw["inputs"].items()}
        return cls(**raw)


@dataclass(frozen=True)
class JobResult:
    """How a job ended; times are UTC, RFC 3339. `exit_code` is negative for a signal."""

    state: Literal["succeeded", "failed", "cancelled", "timed_out"]
    exit_code: int | None
    reason: str | None
    started_at: str
    finished_at: str
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    environment_seconds: float = 0.0
    log_truncated: bool = False

    @classmethod
    def from_json(cls, text: str) -> "JobResult":
        raw = json.loads(text)
        return cls(**{f.name: raw[f.name] for f in fields(cls) if f.name in raw})


@dataclass(frozen=True)
class JobState:
    """Where a job stands now.

    `prepared`: not launched yet. `running`: `phase` says what it does. `finished`: `result` is there.
    `lost`: its runner was killed. When `script_started` is false then, the script never ran, and
    launching it again is safe and does it.
    """

    status: Literal["prepared", "running", "finished", "lost"]
    phase: Literal["environment", "script"] | None = None
    result: JobResult | None = None
    script_started: bool = False


def check_job_id(job_id: str) -> None:
    if not _JOB_ID.fullmatch(job_id):
        raise JobRefusedError(f"{job_id!r} cannot be a job's id")


def write_atomically(path: Path, text: str) -> None:
    """Either all of it is there after a crash, of us or of the machine, or nothing."""
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(scratch).replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def requirements_of(folder: Path, spec: JobSpec) -> str:
    """The text of what the environment of a job is made of; empty when it asks for nothing."""
    if spec.requirements is not None:
        return spec.requirements
    if spec.requirements_file is None:
        return ""
    return (folder / SOURCE / spec.requirements_file).read_text(errors="replace")


def read_text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None

"""What the gateway returns: plain, typed, immutable records; times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    experiment_id: str
    name: str
    is_deleted: bool
    created_at: datetime | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run with the latest value of each metric. `status` is MLflow's: RUNNING, FINISHED, FAILED, ..."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    user: str | None
    started_at: datetime | None
    ended_at: datetime | None
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page; `next_cursor` is None on the last."""

    runs: tuple[RunRecord, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class LoggedModelRecord:
    model_id: str
    name: str
    run_id: str | None
    experiment_id: str
    status: str
    created_at: datetime | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RegisteredModelRecord:
    name: str
    description: str
    created_at: datetime | None
    aliases: Mapping[str, int]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelVersionRecord:
    name: str
    version: int
    run_id: str | None
    model_id: str | None
    source: str
    status: str
    description: str
    created_at: datetime | None
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """`path` is relative to the root of the run or logged model; `size` is None for a folder."""

    path: str
    is_directory: bool
    size: int | None

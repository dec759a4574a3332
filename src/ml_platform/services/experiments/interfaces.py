"""What experiments need of a tracking server. Every call names the team, and sees nothing of another's."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TrackedExperiment:
    experiment_id: str
    name: str
    created_at: datetime | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run with the latest value of each metric, which may be NaN."""

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


class Tracking(Protocol):
    """Experiments and runs of a team, by its name. Errors are the platform's own (`kit.errors`)."""

    def workspace_of(self, team: str) -> str:
        """The name under which the team's own clients find its workspace."""
        ...

    def create_experiment(self, team: str, name: str, description: str | None) -> TrackedExperiment:
        """ConflictError when the name is taken."""
        ...

    def get_experiment(self, team: str, experiment_id: str) -> TrackedExperiment | None: ...

    def find_experiment(self, team: str, name: str) -> TrackedExperiment | None: ...

    def list_experiments(
        self, team: str, *, limit: int, cursor: str | None
    ) -> tuple[list[TrackedExperiment], str | None]:
        """Newest first, with the cursor of the next page."""
        ...

    def get_run(self, team: str, run_id: str) -> TrackedRun:
        """NotFoundError when there is none."""
        ...

    def list_runs(
        self,
        team: str,
        experiment_id: str,
        *,
        by_metric: str | None,
        descending: bool,
        limit: int,
        cursor: str | None,
    ) -> tuple[list[TrackedRun], str | None]:
        """By start (newest first) or by a metric, with the cursor of the next page."""
        ...

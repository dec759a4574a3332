"""What one can do with experiments: they are MLflow's, in the workspace of the actor's team."""

from ml_platform.contracts.base import Page
from ml_platform.contracts.experiments import Experiment, Run
from ml_platform.kit.errors import NotFoundError
from ml_platform.kit.strictjson import finite
from ml_platform.services.access import Work
from ml_platform.services.experiments.interfaces import TrackedExperiment, TrackedRun, Tracking

NOTE_TAG = "mlflow.note.content"
"""Where MLflow's own screens keep a description."""
JOB_TAG = "mlops.job_id"


class ExperimentService:
    """Experiments of one team."""

    def __init__(self, work: Work, tracking: Tracking) -> None:
        self._work = work
        self._tracking = tracking
        self._team = work.actor.team_name

    def create_experiment(self, name: str, description: str | None) -> Experiment:
        """Raises ConflictError when the team has one of this name."""
        made = self._tracking.create_experiment(self._team, name, description)
        self._work.record("experiment.create", "experiment", made.experiment_id, after={"name": name})
        return self._experiment(made)

    def get_experiment(self, id_or_name: str) -> Experiment:
        """By id, else by name."""
        found = self._tracking.get_experiment(self._team, id_or_name) or self._tracking.find_experiment(
            self._team, id_or_name
        )
        if found is None:
            raise NotFoundError.of("experiment", id_or_name)
        return self._experiment(found)

    def list_experiments(self, *, name: str | None, limit: int, cursor: str | None) -> Page[Experiment]:
        if name is not None:
            found = self._tracking.find_experiment(self._team, name)
            return Page(items=[self._experiment(found)] if found else [])
        items, following = self._tracking.list_experiments(self._team, limit=limit, cursor=cursor)
        return Page(items=[self._experiment(item) for item in items], next_cursor=following)

    def list_runs(
        self, id_or_name: str, *, by_metric: str | None, descending: bool, limit: int, cursor: str | None
    ) -> Page[Run]:
        experiment = self.get_experiment(id_or_name)
        runs, following = self._tracking.list_runs(
            self._team,
            experiment.experiment_id,
            by_metric=by_metric,
            descending=descending,
            limit=limit,
            cursor=cursor,
        )
        return Page(items=[_run(run) for run in runs], next_cursor=following)

    def get_run(self, run_id: str) -> Run:
        return _run(self._tracking.get_run(self._team, run_id))

    def _experiment(self, tracked: TrackedExperiment) -> Experiment:
        return Experiment(
            experiment_id=tracked.experiment_id,
            name=tracked.name,
            description=tracked.tags.get(NOTE_TAG),
            created_at=tracked.created_at,
            workspace=self._tracking.workspace_of(self._team),
        )


def _run(tracked: TrackedRun) -> Run:
    return Run(
        run_id=tracked.run_id,
        experiment_id=tracked.experiment_id,
        name=tracked.name,
        status=tracked.status,
        user=tracked.user,
        job_id=tracked.tags.get(JOB_TAG),
        started_at=tracked.started_at,
        ended_at=tracked.ended_at,
        metrics=finite(dict(tracked.metrics)),
        params=dict(tracked.params),
        tags=dict(tracked.tags),
    )

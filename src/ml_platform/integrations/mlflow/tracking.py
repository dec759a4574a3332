"""What the platform's services ask of tracking, in their terms: teams by name, the platform's own errors."""

# mypy: untyped-calls-exclude="mlflow"

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ml_platform.integrations.mlflow.conversions import experiment_record
from ml_platform.integrations.mlflow.errors import (
    TrackingConflictError,
    TrackingError,
    TrackingInvalidError,
    TrackingNotFoundError,
    translated,
)
from ml_platform.integrations.mlflow.gateway import MlflowGateway
from ml_platform.integrations.mlflow.records import ExperimentRecord, RunRecord
from ml_platform.integrations.mlflow.stores import MlflowStores
from ml_platform.integrations.mlflow.workspaces import workspace_of
from ml_platform.kit.errors import BadInputError, ConflictError, NotFoundError, UnavailableError
from ml_platform.kit.paging import encode_cursor, number_cursor
from ml_platform.services.experiments import JOB_TAG, NOTE_TAG, TrackedExperiment, TrackedRun
from ml_platform.services.registry import LoggedModel

REGISTRATION_TAG = "mlops.registration"
_VERSIONS_A_PAGE = 100


class TeamTracking:
    """Implements `Tracking`, `ModelStore` and `JobRuns` of the services over one gateway."""

    def __init__(self, gateway: MlflowGateway, stores: MlflowStores) -> None:
        self._gateway = gateway
        self._stores = stores

    def workspace_of(self, team: str) -> str:
        return workspace_of(team)

    # -- experiments and runs

    def create_experiment(self, team: str, name: str, description: str | None) -> TrackedExperiment:
        tags = {NOTE_TAG: description} if description else {}
        with _platform_errors("experiment", name):
            return _experiment(self._gateway.create_experiment(workspace_of(team), name, tags))

    def get_experiment(self, team: str, experiment_id: str) -> TrackedExperiment | None:
        if not (experiment_id.isascii() and experiment_id.isdigit() and len(experiment_id) < 19):
            return None
        with _platform_errors("experiment", experiment_id):
            try:
                found = self._gateway.get_experiment(workspace_of(team), experiment_id)
            except TrackingNotFoundError:
                return None
        return None if found.is_deleted else _experiment(found)

    def find_experiment(self, team: str, name: str) -> TrackedExperiment | None:
        with _platform_errors("experiment", name):
            found = self._gateway.find_experiment(workspace_of(team), name)
        return None if found is None or found.is_deleted else _experiment(found)

    def list_experiments(
        self, team: str, *, limit: int, cursor: str | None
    ) -> tuple[list[TrackedExperiment], str | None]:
        from mlflow.entities import ViewType
        from mlflow.utils.search_utils import SearchUtils

        workspace, offset = workspace_of(team), number_cursor(cursor) if cursor else 0
        if offset < 0:
            raise BadInputError.of("cursor", "is not a cursor that this API gave")
        self._gateway.ensure_workspace(workspace)
        token = SearchUtils.create_page_token(offset) if offset else None
        with _platform_errors("experiment", ""), self._stores.reading(workspace), translated():
            page = self._stores.tracking.search_experiments(
                ViewType.ACTIVE_ONLY, limit, None, ["creation_time DESC", "experiment_id DESC"], token
            )
        following = encode_cursor(offset + limit) if page.token else None
        return [_experiment(experiment_record(one)) for one in page], following

    def get_run(self, team: str, run_id: str) -> TrackedRun:
        with _platform_errors("run", run_id):
            return _run(self._gateway.get_run(workspace_of(team), run_id))

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
        with _platform_errors("experiment", experiment_id, field="cursor"):
            page = self._gateway.list_runs(
                workspace_of(team),
                experiment_id,
                by_metric=by_metric,
                descending=descending,
                limit=limit,
                cursor=cursor,
            )
        return [_run(run) for run in page.runs], page.next_cursor

    # -- runs of jobs

    def ensure_run(self, team: str, experiment_id: str, *, job_id: str, name: str, user: str) -> str:
        """The run that carries the job's id in a tag that clients cannot write."""
        workspace = workspace_of(team)
        with _platform_errors("experiment", experiment_id):
            found = self._gateway.search_runs(
                workspace, [experiment_id], filter_string=f"tags.`{JOB_TAG}` = '{job_id}'", limit=1
            )
            if found.runs:
                return found.runs[0].run_id
            made = self._gateway.create_run(
                workspace, experiment_id, name=name, user=user, tags={JOB_TAG: job_id, "mlflow.user": user}
            )
        return made.run_id

    def finish_run(self, team: str, run_id: str, *, status: str, metrics: Mapping[str, float]) -> None:
        workspace = workspace_of(team)
        with _platform_errors("run", run_id):
            run = self._gateway.get_run(workspace, run_id)
            lacking = {name: value for name, value in metrics.items() if name not in run.metrics}
            if lacking:
                self._gateway.log_batch(workspace, run_id, metrics=lacking)
            if run.status == "RUNNING":
                self._gateway.end_run(workspace, run_id, status)

    def run_metrics(self, team: str, run_id: str) -> Mapping[str, float]:
        with _platform_errors("run", run_id):
            metrics = self._gateway.get_run(workspace_of(team), run_id).metrics
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    # -- models

    def find_logged_model(self, team: str, run_id: str, artifact_path: str | None) -> LoggedModel | None:
        with _platform_errors("run", run_id):
            found = self._gateway.find_logged_models(workspace_of(team), run_id)
        wanted = PurePosixPath(artifact_path or "").name
        for model in found:
            if artifact_path is None or model.name in (artifact_path, wanted):
                return LoggedModel(model.model_id, model.name, model.run_id, model.experiment_id)
        return None

    def download_model(self, team: str, source: str, destination: Path) -> Path:
        with _platform_errors("model", source):
            return self._gateway.download_model(workspace_of(team), source, destination)

    def ensure_version(self, team: str, name: str, source: str, *, key: str, description: str | None) -> int:
        workspace = workspace_of(team)
        with _platform_errors("model", name):
            try:
                self._gateway.create_registered_model(workspace, name)
            except TrackingConflictError:
                known = self._version_with(workspace, name, key)
                if known is not None:
                    return known
            made = self._gateway.create_model_version(
                workspace, name, source, description=description, tags={REGISTRATION_TAG: key}
            )
        return made.version

    def set_alias(self, team: str, name: str, alias: str, version: int) -> None:
        with _platform_errors("model", f"{name}/{version}"):
            self._gateway.set_alias(workspace_of(team), name, alias, version)

    def delete_alias(self, team: str, name: str, alias: str) -> None:
        with _platform_errors("model", name):
            self._gateway.delete_alias(workspace_of(team), name, alias)

    def _version_with(self, workspace: str, name: str, key: str) -> int | None:
        cursor: str | None = None
        while True:
            versions, cursor = self._gateway.list_model_versions(
                workspace, name, limit=_VERSIONS_A_PAGE, cursor=cursor
            )
            for version in versions:
                if version.tags.get(REGISTRATION_TAG) == key:
                    return version.version
            if cursor is None:
                return None


def _experiment(record: ExperimentRecord) -> TrackedExperiment:
    return TrackedExperiment(record.experiment_id, record.name, record.created_at, record.tags)


def _run(record: RunRecord) -> TrackedRun:
    return TrackedRun(
        run_id=record.run_id,
        experiment_id=record.experiment_id,
        name=record.name,
        status=record.status,
        user=record.user,
        started_at=record.started_at,
        ended_at=record.ended_at,
        metrics=record.metrics,
        params=record.params,
        tags=record.tags,
    )


@contextmanager
def _platform_errors(kind: str, name: str, *, field: str = "name") -> Iterator[None]:
    try:
        yield
    except TrackingNotFoundError as error:
        raise NotFoundError.of(kind, name) from error
    except TrackingConflictError as error:
        raise ConflictError(f"{kind} {name!r} exists already, or is in a state that forbids this") from error
    except TrackingInvalidError as error:
        raise BadInputError.of(field, str(error)[:500]) from error
    except TrackingError as error:
        raise UnavailableError("the tracking store did not answer", retry_after=5) from error

"""The platform's own access to tracking and registry: in process, typed, one workspace in every call.

It shares its stores with the mounted application and is not subject to what clients may not write.
Every method raises `TrackingError` (or one of its kinds) where MLflow refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml_platform.integrations.mlflow.artifacts import ArtifactReader
from ml_platform.integrations.mlflow.conversions import (
    experiment_record,
    logged_model_record,
    milliseconds,
    run_record,
)
from ml_platform.integrations.mlflow.errors import translated
from ml_platform.integrations.mlflow.records import (
    ArtifactRecord,
    ExperimentRecord,
    LoggedModelRecord,
    RunPage,
    RunRecord,
)
from ml_platform.integrations.mlflow.registry import RegistryGateway
from ml_platform.integrations.mlflow.stores import MlflowStores


class MlflowGateway(RegistryGateway):
    """Experiments, runs and artifacts; the registry is inherited.

    `team` is the workspace; it is made on first use.
    """

    def __init__(self, stores: MlflowStores) -> None:
        super().__init__(stores)
        self._artifacts = ArtifactReader(stores.settings.artifacts_root)

    def ensure_workspace(self, team: str) -> str:
        """Make the team's workspace when it is missing; return the id of its `Default` experiment."""
        return self._stores.ensure_workspace(team)

    def create_experiment(
        self, team: str, name: str, tags: Mapping[str, str] | None = None
    ) -> ExperimentRecord:
        from mlflow.entities import ExperimentTag

        entities = [ExperimentTag(key, value) for key, value in (tags or {}).items()]
        with self._writing(team), translated():
            experiment_id = self._stores.tracking.create_experiment(name, tags=entities)
            return experiment_record(self._stores.tracking.get_experiment(experiment_id))

    def get_experiment(self, team: str, experiment_id: str) -> ExperimentRecord:
        with self._reading(team), translated():
            return experiment_record(self._stores.tracking.get_experiment(experiment_id))

    def find_experiment(self, team: str, name: str) -> ExperimentRecord | None:
        with self._reading(team), translated():
            found = self._stores.tracking.get_experiment_by_name(name)
        return None if found is None else experiment_record(found)

    def create_run(
        self,
        team: str,
        experiment_id: str,
        *,
        name: str | None = None,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        started_at: datetime | None = None,
    ) -> RunRecord:
        start = milliseconds(started_at or datetime.now(UTC))
        with self._writing(team), translated():
            run = self._stores.tracking.create_run(experiment_id, user or "", start, _run_tags(tags), name)
        return run_record(run)

    def end_run(
        self, team: str, run_id: str, status: str = "FINISHED", ended_at: datetime | None = None
    ) -> None:
        """Set the run's final status: FINISHED, FAILED or KILLED."""
        from mlflow.entities import RunStatus

        end = milliseconds(ended_at or datetime.now(UTC))
        with self._writing(team), translated():
            self._stores.tracking.update_run_info(run_id, RunStatus.from_string(status), end, None)

    def get_run(self, team: str, run_id: str) -> RunRecord:
        with self._reading(team), translated():
            return run_record(self._stores.tracking.get_run(run_id))

    def list_runs(
        self,
        team: str,
        experiment_id: str,
        *,
        by_metric: str | None = None,
        descending: bool = True,
        limit: int = 100,
        cursor: str | None = None,
    ) -> RunPage:
        """Page through active runs: newest first, or by the latest value of one metric."""
        from ml_platform.integrations.mlflow import run_queries

        self._stores.ensure_workspace(team)
        engine = self._stores.tracking.engine
        return run_queries.list_runs(
            engine,
            team,
            experiment_id,
            by_metric=by_metric,
            descending=descending,
            limit=limit,
            cursor=cursor,
        )

    def search_runs(
        self,
        team: str,
        experiment_ids: Sequence[str],
        *,
        filter_string: str = "",
        order_by: Sequence[str] = (),
        limit: int = 100,
        cursor: str | None = None,
    ) -> RunPage:
        """Search active runs in MLflow's own filter language; prefer `list_runs` for plain lists."""
        from mlflow.entities import ViewType

        with self._reading(team), translated():
            page = self._stores.tracking.search_runs(
                list(experiment_ids), filter_string, ViewType.ACTIVE_ONLY, limit, list(order_by), cursor
            )
        return RunPage(tuple(run_record(run) for run in page), page.token or None)

    def log_batch(
        self,
        team: str,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
    ) -> None:
        from mlflow.entities import Metric, Param

        now = milliseconds(datetime.now(UTC)) or 0
        values = [Metric(key, value, now, step) for key, value in (metrics or {}).items()]
        settings = [Param(key, value) for key, value in (params or {}).items()]
        with self._writing(team), translated():
            self._stores.tracking.log_batch(run_id, values, settings, _run_tags(tags))

    def set_tags(self, team: str, run_id: str, tags: Mapping[str, str]) -> None:
        self.log_batch(team, run_id, tags=tags)

    def find_logged_models(self, team: str, run_id: str) -> list[LoggedModelRecord]:
        """Return the models that a run logged and finished, newest first."""
        tracking = self._stores.tracking
        with self._reading(team), translated():
            experiment_id = tracking.get_run(run_id).info.experiment_id
            found = tracking.search_logged_models(
                [experiment_id], filter_string=f"source_run_id = '{run_id}'"
            )
        records = [logged_model_record(model) for model in found]
        return [record for record in records if record.status == "READY"]

    def get_logged_model(self, team: str, model_id: str) -> LoggedModelRecord:
        with self._reading(team), translated():
            return logged_model_record(self._stores.tracking.get_logged_model(model_id))

    def list_run_artifacts(self, team: str, run_id: str, path: str = "") -> list[ArtifactRecord]:
        return self._artifacts.list(team, self._run_uri(team, run_id), path)

    def download_run_artifacts(self, team: str, run_id: str, path: str, destination: Path) -> Path:
        """Copy one file or folder of a run (all of it when `path` is empty); return where it lies."""
        return self._artifacts.download(team, self._run_uri(team, run_id), path, destination)

    def list_model_artifacts(self, team: str, model_id: str, path: str = "") -> list[ArtifactRecord]:
        return self._artifacts.list(team, self._model_uri(team, model_id), path)

    def download_model(self, team: str, model_id: str, destination: Path) -> Path:
        """Copy a logged model's folder (with its `MLmodel` file); return where it lies."""
        return self._artifacts.download(team, self._model_uri(team, model_id), "", destination)

    def download_model_version(self, team: str, name: str, version: int, destination: Path) -> Path:
        """Copy the folder of a registered version, wherever in the workspace it was registered from."""
        with self._reading(team), translated():
            uri = str(self._stores.registry.get_model_version_download_uri(name, str(version)))
        return self._artifacts.download(team, uri, "", destination)

    def _run_uri(self, team: str, run_id: str) -> str:
        with self._reading(team), translated():
            return str(self._stores.tracking.get_run(run_id).info.artifact_uri)

    def _model_uri(self, team: str, model_id: str) -> str:
        with self._reading(team), translated():
            return str(self._stores.tracking.get_logged_model(model_id).artifact_location)


def _run_tags(tags: Mapping[str, str] | None) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in (tags or {}).items()]

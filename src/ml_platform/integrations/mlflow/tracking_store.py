"""MLflow's tracking store with short write paths and closed workspace gaps.

MLflow writes one metric with three sessions and about ten statements, which on one interpreter is what
limits a server. The four calls that training scripts make all the time are done here in one transaction
of plain SQL over MLflow's own table definitions. Whatever is not the ordinary case (a conflict, an
inactive run, a missing experiment) is handed to MLflow's own method, so its errors stay its own.

Imported only after `stores.prepare_environment`, since importing MLflow's server reads the environment.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunInputs, RunTag
from mlflow.entities.lifecycle_stage import LifecycleStage
from mlflow.entities.run_status import RunStatus
from mlflow.entities.source_type import SourceType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.tracking.dbmodels.models import (
    SqlAssessments,
    SqlExperiment,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, _get_run_name_from_tags
from mlflow.utils.name_utils import _generate_random_name
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import (
    _validate_batch_log_data,
    _validate_batch_log_limits,
    _validate_metric,
    _validate_param,
    _validate_param_keys_unique,
    _validate_run_id,
    _validate_tag,
)
from sqlalchemy import Connection, Table, bindparam, insert, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

_RUNS, _EXPERIMENTS = SqlRun.__table__, SqlExperiment.__table__

_ACTIVE_RUN = (
    select(_RUNS.c.run_uuid)
    .join(_EXPERIMENTS, _EXPERIMENTS.c.experiment_id == _RUNS.c.experiment_id)
    .where(
        _RUNS.c.run_uuid == bindparam("run_id"),
        _RUNS.c.lifecycle_stage == LifecycleStage.ACTIVE,
        _EXPERIMENTS.c.workspace == bindparam("workspace"),
    )
)
_ACTIVE_EXPERIMENT = select(_EXPERIMENTS.c.artifact_location).where(
    _EXPERIMENTS.c.experiment_id == bindparam("experiment_id"),
    _EXPERIMENTS.c.lifecycle_stage == LifecycleStage.ACTIVE,
    _EXPERIMENTS.c.workspace == bindparam("workspace"),
)
_INSERT_PARAM = insert(SqlParam.__table__)


class _Conflict(Exception):  # noqa: N818 - control flow between a short path and MLflow's own, never seen outside
    """The ordinary case does not hold: roll back and let MLflow's own method decide."""


class PlatformTrackingStore(WorkspaceAwareSqlAlchemyStore):
    """Workspace-aware SQL store; every method keeps the contract of the method it overrides."""

    def __init__(self, db_uri: str, default_artifact_root: str) -> None:
        super().__init__(db_uri, default_artifact_root)
        dialect = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        upsert = dialect.insert
        self._insert_metric = upsert(SqlMetric.__table__).on_conflict_do_nothing()
        self._upsert_latest = _latest_metric_upsert(upsert)
        tag = upsert(SqlTag.__table__)
        self._upsert_tag = tag.on_conflict_do_update(
            index_elements=["key", "run_uuid"], set_={"value": tag.excluded.value}
        )

    def log_metric(self, run_id: str, metric: Metric) -> None:
        _validate_metric(metric.key, metric.value, metric.timestamp, metric.step, path="")
        if metric.model_id is None and self._short(run_id, metrics=[metric]):
            return
        super().log_metric(run_id, metric)

    def log_param(self, run_id: str, param: Param) -> None:
        checked = _validate_param(param.key, param.value)
        if not self._short(run_id, params=[checked]):
            super().log_param(run_id, param)

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        _validate_run_id(run_id)
        checked_metrics, checked_params, checked_tags = _validate_batch_log_data(metrics, params, tags)
        _validate_batch_log_limits(checked_metrics, checked_params, checked_tags)
        _validate_param_keys_unique(checked_params)
        ordinary = all(metric.model_id is None for metric in checked_metrics) and all(
            tag.key != MLFLOW_RUN_NAME for tag in checked_tags
        )
        if ordinary and self._short(run_id, checked_metrics, checked_params, checked_tags):
            return
        super().log_batch(run_id, metrics, params, tags)

    def create_run(
        self,
        experiment_id: str,
        user_id: str,
        start_time: int,
        tags: Sequence[RunTag] | None,
        run_name: str | None,
    ) -> Run:
        run_tags = list(tags or [])
        name_tag = _get_run_name_from_tags(run_tags)
        location = self._active_experiment_location(experiment_id)
        distinct = len({tag.key for tag in run_tags}) == len(run_tags)
        if location is None or not distinct or (run_name and name_tag and run_name != name_tag):
            made: Run = super().create_run(experiment_id, user_id, start_time, tags, run_name)
            return made
        name = run_name or name_tag or _generate_random_name()
        if not name_tag:
            run_tags.append(RunTag(MLFLOW_RUN_NAME, name))
        run_id = uuid.uuid4().hex
        info = RunInfo(
            run_id=run_id,
            run_name=name,
            experiment_id=str(int(experiment_id)),
            user_id=user_id,
            status=RunStatus.to_string(RunStatus.RUNNING),
            start_time=start_time,
            end_time=None,
            lifecycle_stage=LifecycleStage.ACTIVE,
            artifact_uri=append_to_uri_path(location, run_id, self.ARTIFACTS_FOLDER_NAME),
        )
        with self.engine.begin() as connection:
            connection.execute(insert(_RUNS), _run_row(info))
            connection.execute(
                insert(SqlTag.__table__),
                [{"run_uuid": run_id, "key": tag.key, "value": tag.value} for tag in run_tags],
            )
        return Run(info, RunData(tags=run_tags), RunInputs(dataset_inputs=[]))

    def start_trace(self, trace_info: Any) -> Any:
        self._refuse_foreign_assessments(trace_info)
        return super().start_trace(trace_info)

    def _log_model_metrics(
        self, run_id: str, metrics: list[Metric], experiment_id: str, dataset_uuid: str | None = None
    ) -> None:
        # MLflow inserts these rows by the id that the client sends, whoever owns that model.
        for model_id in {metric.model_id for metric in metrics if metric.model_id is not None}:
            self.get_logged_model(model_id)
        super()._log_model_metrics(run_id, metrics, experiment_id, dataset_uuid)

    def _active_experiment_location(self, experiment_id: str) -> str | None:
        if not str(experiment_id).isascii() or not str(experiment_id).isdigit():
            return None
        with self.engine.connect() as connection:
            location: str | None = connection.execute(
                _ACTIVE_EXPERIMENT,
                {"experiment_id": int(experiment_id), "workspace": self._get_active_workspace()},
            ).scalar_one_or_none()
        return location

    def _short(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> bool:
        """Write all of it in one transaction; False, and nothing written, when it is no ordinary case."""
        try:
            with self.engine.begin() as connection:
                self._write(connection, run_id, metrics, params, tags)
        except (_Conflict, SQLAlchemyError):
            return False
        return True

    def _write(
        self,
        connection: Connection,
        run_id: str,
        metrics: Sequence[Metric],
        params: Sequence[Param],
        tags: Sequence[RunTag],
    ) -> None:
        workspace = self._get_active_workspace()
        if connection.execute(_ACTIVE_RUN, {"run_id": run_id, "workspace": workspace}).first() is None:
            raise _Conflict
        if params:
            rows = [{"run_uuid": run_id, "key": param.key, "value": param.value} for param in params]
            connection.execute(_INSERT_PARAM, rows)  # a key that is there already is an IntegrityError
        if metrics:
            rows = [self._metric_row(run_id, metric) for metric in metrics]
            connection.execute(self._insert_metric, rows)
            connection.execute(self._upsert_latest, _latest_by_key(rows))
        if tags:
            latest = {tag.key: _validate_tag(tag.key, tag.value) for tag in tags}
            connection.execute(
                self._upsert_tag,
                [{"run_uuid": run_id, "key": tag.key, "value": tag.value} for tag in latest.values()],
            )

    def _metric_row(self, run_id: str, metric: Metric) -> dict[str, Any]:
        is_nan, value = self.sanitize_metric_value(metric.value)
        return {
            "run_uuid": run_id,
            "key": metric.key,
            "value": value,
            "timestamp": metric.timestamp,
            "step": metric.step,
            "is_nan": is_nan,
        }

    def _refuse_foreign_assessments(self, trace_info: Any) -> None:
        # A repeated trace merges its assessments by id alone, which would overwrite another team's.
        given = [item.assessment_id for item in trace_info.assessments if item.assessment_id]
        if not given:
            return
        table = SqlAssessments.__table__
        foreign = select(table.c.assessment_id).where(
            table.c.assessment_id.in_(given), table.c.trace_id != trace_info.trace_id
        )
        with self.engine.connect() as connection:
            if connection.execute(foreign).first() is not None:
                raise MlflowException(
                    "An assessment of this trace has the id of another trace's assessment",
                    INVALID_PARAMETER_VALUE,
                )


def _latest_metric_upsert(upsert: Any) -> Any:
    # The later of two values is the greater by (step, timestamp, value), as MLflow compares them.
    table: Table = SqlLatestMetric.__table__
    statement = upsert(table)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["key", "run_uuid"],
        set_={name: new[name] for name in ("value", "timestamp", "step", "is_nan")},
        where=tuple_(new.step, new.timestamp, new.value)
        > tuple_(table.c.step, table.c.timestamp, table.c.value),
    )


def _latest_by_key(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    # One row a key, in key order: PostgreSQL refuses to touch a row twice, and order prevents deadlocks.
    latest: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = latest.get(row["key"])
        if known is None or _recency(row) > _recency(known):
            latest[row["key"]] = row
    return [latest[key] for key in sorted(latest)]


def _recency(row: dict[str, Any]) -> tuple[int, int, float]:
    return row["step"], row["timestamp"], row["value"]


def _run_row(info: RunInfo) -> dict[str, Any]:
    return {
        "run_uuid": info.run_id,
        "name": info.run_name,
        "artifact_uri": info.artifact_uri,
        "experiment_id": int(info.experiment_id),
        "source_type": SourceType.to_string(SourceType.UNKNOWN),
        "source_name": "",
        "entry_point_name": "",
        "source_version": "",
        "user_id": info.user_id,
        "status": info.status,
        "start_time": info.start_time,
        "end_time": None,
        "deleted_time": None,
        "lifecycle_stage": info.lifecycle_stage,
    }

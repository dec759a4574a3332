"""Lists of runs, straight from MLflow's tables.

MLflow's own search joins and sorts every run of an experiment; a page here reads as many rows as it
shows, and the next page continues after the last row instead of counting from the first.

Imported only after `stores.prepare_environment`.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLatestMetric, SqlParam, SqlRun, SqlTag
from sqlalchemy import Connection, Engine, Select, select, tuple_

from ml_platform.integrations.mlflow.conversions import moment
from ml_platform.integrations.mlflow.errors import TrackingInvalidError
from ml_platform.integrations.mlflow.records import RunPage, RunRecord

_RUNS, _EXPERIMENTS = SqlRun.__table__, SqlExperiment.__table__
_METRICS, _PARAMS, _TAGS = SqlLatestMetric.__table__, SqlParam.__table__, SqlTag.__table__


def list_runs(
    engine: Engine,
    workspace: str,
    experiment_id: str,
    *,
    by_metric: str | None,
    descending: bool,
    limit: int,
    cursor: str | None,
) -> RunPage:
    """Return active runs by start (newest first) or by the latest value of one metric.

    Runs without the metric, or with NaN for it, are not in a list that is ordered by it.
    """
    key = _RUNS.c.start_time if by_metric is None else _METRICS.c.value
    query = (
        select(_RUNS, key.label("sort_key"))
        .join(_EXPERIMENTS, _EXPERIMENTS.c.experiment_id == _RUNS.c.experiment_id)
        .where(
            _EXPERIMENTS.c.workspace == workspace,
            _RUNS.c.experiment_id == _whole(experiment_id),
            _RUNS.c.lifecycle_stage == "active",
        )
    )
    if by_metric is not None:
        query = query.join(_METRICS, _METRICS.c.run_uuid == _RUNS.c.run_uuid).where(
            _METRICS.c.key == by_metric, _METRICS.c.is_nan.is_(False)
        )
    query = _page(query, key, descending=descending, limit=limit, cursor=cursor)
    with engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
        shown = rows[:limit]
        runs = _with_data(connection, shown)
    more = len(rows) > limit
    return RunPage(runs, _cursor(shown[-1]["sort_key"], shown[-1]["run_uuid"]) if more else None)


def _page(query: Select[Any], key: Any, *, descending: bool, limit: int, cursor: str | None) -> Select[Any]:
    position = tuple_(key, _RUNS.c.run_uuid)
    if cursor is not None:
        last = tuple_(*_read_cursor(cursor))
        query = query.where(position < last if descending else position > last)
    order = [column.desc() if descending else column.asc() for column in (key, _RUNS.c.run_uuid)]
    return query.order_by(*order).limit(limit + 1)


def _with_data(connection: Connection, rows: Sequence[Any]) -> tuple[RunRecord, ...]:
    ids = [row["run_uuid"] for row in rows]
    data: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, table in (("metrics", _METRICS), ("params", _PARAMS), ("tags", _TAGS)):
        values: dict[str, dict[str, Any]] = defaultdict(dict)
        for one in connection.execute(select(table).where(table.c.run_uuid.in_(ids))).mappings():
            is_nan = kind == "metrics" and one["is_nan"]
            values[one["run_uuid"]][one["key"]] = math.nan if is_nan else one["value"]
        data[kind] = values
    return tuple(
        RunRecord(
            run_id=row["run_uuid"],
            experiment_id=str(row["experiment_id"]),
            name=row["name"] or "",
            status=row["status"],
            user=row["user_id"] or None,
            started_at=moment(row["start_time"]),
            ended_at=moment(row["end_time"]),
            metrics=data["metrics"][row["run_uuid"]],
            params=data["params"][row["run_uuid"]],
            tags=data["tags"][row["run_uuid"]],
        )
        for row in rows
    )


def _whole(experiment_id: str) -> int:
    if not (experiment_id.isascii() and experiment_id.isdigit() and len(experiment_id) < 19):
        raise TrackingInvalidError(f"'{experiment_id}' is not an experiment id", "INVALID_PARAMETER_VALUE")
    return int(experiment_id)


def _cursor(key: float, run_id: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([key, run_id])).decode()


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[int | float, str])
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise TrackingInvalidError("The page cursor is not one of ours", "INVALID_PARAMETER_VALUE") from error

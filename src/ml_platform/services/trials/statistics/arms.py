"""Arms of a test out of the prediction log and the labels: sums by unit, in one pass within bounded memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from ml_platform.contracts.trials import Metric
from ml_platform.services.monitoring.statistics import join_labels
from ml_platform.services.monitoring.statistics.parquet import column_types, literal, opened
from ml_platform.services.trials.statistics.sequential import ArmSums

Positive = bool | float | str


@dataclass(frozen=True, slots=True)
class ArmRead:
    """One arm; `units` counts whoever came to it, whether the metric of them is known or not."""

    units: int
    requests: int
    errors: int
    latency_ms_p95: float | None
    sums: dict[Metric, ArmSums]


NOTHING = ArmRead(0, 0, 0, None, {})


@dataclass(frozen=True, slots=True)
class ArmsRead:
    """By revision; `crossed` counts units that came to more than one."""

    arms: dict[str, ArmRead]
    crossed: int


def read_arms(
    predictions: Sequence[Path],
    labels: Sequence[Path],
    *,
    deployment_id: str,
    revisions: Collection[str],
    since: datetime,
    until: datetime,
    metrics: Collection[Metric],
    positive: Positive,
    threads: int = 1,
    memory: str = "500MB",
) -> ArmsRead:
    """What each revision did for whoever was kept on it; without that a request is a unit."""
    if not predictions or not revisions:
        return ArmsRead({}, 0)
    with opened(predictions, threads=threads, memory=memory) as connection:
        unit = "coalesce(unit, request_id)" if "unit" in column_types(connection) else "request_id"
        first, last = (f"TIMESTAMPTZ {literal(moment.isoformat())}" for moment in (since, until))
        names = ", ".join(literal(name) for name in sorted(revisions))
        connection.execute(
            _REQUESTS.format(
                unit=unit, deployment=literal(deployment_id), since=first, until=last, revisions=names
            )
        )
        if {Metric.CONVERSION, Metric.OUTCOME} & set(metrics):
            join_labels(connection, labels, deployment_id=deployment_id, since=since, until=until)
        sums = {metric: _sums(connection, metric, positive) for metric in metrics}
        arms = {
            str(name): ArmRead(
                int(units),
                int(requests),
                int(errors),
                p95,
                {metric: found[name] for metric, found in sums.items() if name in found},
            )
            for name, units, requests, errors, p95 in connection.execute(_ARMS).fetchall()
        }
        [[crossed]] = connection.execute(_CROSSED).fetchall()
    return ArmsRead(arms, int(crossed))


_REQUESTS = """
CREATE TABLE requests AS
SELECT revision_id, {unit} AS unit, request_id, time, max(latency_ms) AS latency_ms,
    max((status >= 500)::INT) AS failed, avg(prediction) FILTER (status = 200 AND isfinite(prediction)) AS answer
FROM data
WHERE deployment_id = {deployment} AND time >= {since} AND time < {until} AND revision_id IN ({revisions})
GROUP BY ALL
"""

_ARMS = """
SELECT revision_id, count(DISTINCT unit), count(*), sum(failed), quantile_cont(latency_ms, 0.95)
FROM requests GROUP BY revision_id
"""

_CROSSED = """
SELECT count(*) FROM (SELECT unit FROM requests GROUP BY unit HAVING count(DISTINCT revision_id) > 1)
"""

_OF_UNITS = {
    Metric.ERROR_RATE: "SELECT revision_id, unit, count(*) AS x, sum(failed) AS y FROM requests GROUP BY ALL",
    Metric.MEAN_ANSWER: "SELECT revision_id, unit, count(answer) AS x, sum(answer) AS y FROM requests GROUP BY ALL",
}

_OF_LABELS = """
SELECT r.revision_id, r.unit, count({value}) AS x, sum({value}) AS y
FROM requests r JOIN pairs p
    ON p.revision_id = r.revision_id AND p.request_id = r.request_id AND p.time = r.time
GROUP BY ALL
"""

_SUMS = """
SELECT revision_id, count(*), sum(x), sum(y), sum(x * x), sum(y * y), sum(x * y)
FROM (SELECT revision_id, x::DOUBLE AS x, y::DOUBLE AS y FROM ({units}) WHERE x > 0) GROUP BY revision_id
"""


def _sums(connection: duckdb.DuckDBPyConnection, metric: Metric, positive: Positive) -> dict[str, ArmSums]:
    query = _OF_UNITS.get(metric) or _OF_LABELS.format(value=_value(metric, positive))
    rows: list[Any] = connection.execute(_SUMS.format(units=query)).fetchall()
    return {str(name): ArmSums(int(units), *map(float, parts)) for name, units, *parts in rows}


def _value(metric: Metric, positive: Positive) -> str:
    if metric is Metric.OUTCOME:
        return "CASE WHEN isfinite(p.label) THEN p.label END"
    if isinstance(positive, str):
        return f"(p.label_json = to_json({literal(positive)})::VARCHAR)::INT"
    return f"coalesce(p.label = {float(positive)!r}::DOUBLE, false)::INT"

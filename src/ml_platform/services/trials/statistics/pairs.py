"""A shadow beside what served, on the same requests: the join of both sides of the prediction log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from ml_platform.services.monitoring.statistics import Answered, AnswerKind, shift_of
from ml_platform.services.monitoring.statistics.parquet import literal, opened

_TOLERANCE = 1e-5
_MOST_ROWS = 100_000
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class PairsRead:
    """Answers of both sides to the same instances; `failed` counts those at which only the shadow failed.

    `models` are the versions that served. Latencies are (p50, p95) in milliseconds.
    """

    compared: int = 0
    failed: int = 0
    agreed: int = 0
    mean_difference: float | None = None
    mean_absolute_difference: float | None = None
    largest_difference: float | None = None
    psi: float | None = None
    js_distance: float | None = None
    models: tuple[str, ...] = ()
    shadow_latency: tuple[float | None, float | None] = (None, None)
    serving_latency: tuple[float | None, float | None] = (None, None)


def agreement_of(kind: AnswerKind | None) -> tuple[str, str]:
    """When two answers agree, in words and as a condition over the sides `s` and `l`."""
    if kind is not None and kind.probability:
        return "both on the same side of 0.5", "(s.prediction >= 0.5) = (l.prediction >= 0.5)"
    near = f"abs(s.prediction - l.prediction) <= {_TOLERANCE} * greatest(1, abs(l.prediction))"
    words = f"equal; numbers to within {_TOLERANCE:g} of the larger of 1 and the answer"
    return words, f"coalesce({near}, s.prediction_json = l.prediction_json)"


def read_pairs(
    predictions: Sequence[Path],
    *,
    deployment_id: str,
    shadow: str,
    others: Sequence[str],
    since: datetime,
    until: datetime,
    kind: AnswerKind | None,
    threads: int = 1,
    memory: str = "500MB",
) -> PairsRead:
    """Joins a shadow's rows with those of the revisions that answered; memory grows with the shadow's rows."""
    if not predictions or not others:
        return PairsRead()
    with opened(predictions, threads=threads, memory=memory) as connection:
        first, last = (f"TIMESTAMPTZ {literal(moment.isoformat())}" for moment in (since, until))
        names = ", ".join(literal(name) for name in sorted(others))
        where = f"deployment_id = {literal(deployment_id)} AND time >= {first} AND time < {last}"
        agree = agreement_of(kind)[1]
        connection.execute(
            _JOINED.format(where=where, shadow=literal(shadow), others=names, agree=agree, text=_LONGEST_TEXT)
        )
        row: Any = connection.execute(_MEASURED).fetchone()
        models = [str(name) for (name,) in connection.execute(_MODELS).fetchall()]
        shift = shift_of(_answers(connection, "s"), _answers(connection, "l"))
    compared, failed, agreed, mean, absolute, largest, *latencies = row
    return PairsRead(
        int(compared),
        int(failed),
        int(agreed or 0),
        mean,
        absolute,
        largest,
        shift.psi,
        shift.js_distance,
        tuple(models),
        (latencies[0], latencies[1]),
        (latencies[2], latencies[3]),
    )


_JOINED = """
CREATE TABLE joined AS
SELECT s.status AS status, s.latency_ms AS s_latency, l.latency_ms AS l_latency, l.model_version AS model,
    s.prediction AS s_number, l.prediction AS l_number, left(s.prediction_json, {text}) AS s_text,
    left(l.prediction_json, {text}) AS l_text, ({agree})::INT AS agreed
FROM (SELECT * FROM data WHERE {where} AND revision_id = {shadow}) s
JOIN (SELECT * FROM data WHERE {where} AND revision_id IN ({others}) AND status = 200) l
    ON s.request_id = l.request_id AND s.instance = l.instance
QUALIFY row_number() OVER (
    PARTITION BY s.request_id, s.instance, s.time ORDER BY abs(date_diff('microsecond', s.time, l.time))
) = 1
"""

_MEASURED = """
SELECT count(*) FILTER (status = 200), count(*) FILTER (status >= 500), sum(agreed) FILTER (status = 200),
    avg(s_number - l_number) FILTER (status = 200), avg(abs(s_number - l_number)) FILTER (status = 200),
    max(abs(s_number - l_number)) FILTER (status = 200),
    quantile_cont(s_latency, 0.5), quantile_cont(s_latency, 0.95),
    quantile_cont(l_latency, 0.5), quantile_cont(l_latency, 0.95)
FROM joined
"""

_MODELS = "SELECT DISTINCT model FROM joined ORDER BY model"


def _answers(connection: duckdb.DuckDBPyConnection, side: str) -> list[Answered]:
    """Each by itself: both sides were asked the same, whoever it was about."""
    rows = connection.execute(
        f"SELECT {side}_number, {side}_text FROM joined WHERE status = 200 LIMIT {_MOST_ROWS}"  # noqa: S608
    ).fetchall()
    return [Answered(*row) for row in rows]

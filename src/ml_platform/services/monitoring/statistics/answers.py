"""How far the answers of two revisions to the same endpoint's traffic lie apart.

Callers come back, and a thousand answers about ten customers are ten observations: whatever was answered to one
entity (or, where the caller names none, to one input) counts as one, divided among its answers.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
from scipy import special

from ml_platform.services.monitoring.statistics.distances import (
    Floats,
    jensen_shannon_distance,
    population_stability_index,
)
from ml_platform.services.monitoring.statistics.parquet import column_types, literal, opened, quoted

_THIRDS = (1 / 3, 2 / 3)
"""A model that learnt more is surer of itself, which moves its answers across deciles and hardly across thirds."""
_MOST_ROWS = 100_000
_FEW_VALUES = 20
_OFTEN_ENOUGH = 5.0
"""A value that fewer entities got, on both sides together, is one of the others."""
_ALARMS = 1e-5
"""How often chance alone may pass `AnswerShift.chance`: a canary is looked at hundreds of times."""
_LONGEST_TEXT = 200
_PLACES = 6
_FEATURE_PREFIX = "f_"
_OF_NOTHING = "[]nul, "
"""The letters of `null`, alone or in lists; a label stands in quotes."""


class Answered(NamedTuple):
    """A value that was answered: how often, and to how many entities, where one with several values counts in parts.

    The text counts where there is no number.
    """

    number: float | None
    text: str | None
    times: int = 1
    entities: float = 1.0


@dataclass(frozen=True, slots=True)
class AnswerShift:
    """The distance of the candidate's answers from the baseline's; None where a side has no answers.

    Answers that are numbers are compared over the baseline's thirds; labels, and whole numbers of few values, by
    how often each comes. Those that are `empty`, NaN and infinity among them, are a bin of their own. `distinct`
    are the entities behind the `rows`, and `chance` is the PSI that two samples of so many entities hardly ever
    show while nothing differs.
    """

    rows: int
    baseline_rows: int
    psi: float | None
    js_distance: float | None
    bins: int = 0
    empty: int = 0
    baseline_empty: int = 0
    distinct: int = 0
    baseline_distinct: int = 0
    chance: float = 0.0


def compare_answers(
    files: Sequence[Path],
    *,
    deployment_id: str,
    candidate: str,
    baseline: Collection[str],
    since: datetime,
    until: datetime,
    threads: int = 1,
    memory: str = "300MB",
) -> AnswerShift:
    """Reads the newest answers (at most 100,000 a side) of a window of the prediction log."""
    if not files or not baseline:
        return AnswerShift(0, 0, None, None)
    window = _window(deployment_id, since, until)
    with opened(files, threads=threads, memory=memory) as connection:
        new, old = (_answers(connection, window, revisions) for revisions in ({candidate}, baseline))
    return shift_of(new, old)


def count_empty(
    files: Sequence[Path],
    *,
    deployment_id: str,
    revisions: Collection[str],
    since: datetime,
    until: datetime,
    threads: int = 1,
    memory: str = "300MB",
) -> tuple[int, int]:
    """The newest answers (at most 100,000) of a window of the prediction log, and how many have no value."""
    if not files or not revisions:
        return 0, 0
    with opened(files, threads=threads, memory=memory) as connection:
        found = _answers(connection, _window(deployment_id, since, until), revisions)
    return _times(found), _times(row for row in found if _is_empty(row))


def shift_of(new: Sequence[Answered], old: Sequence[Answered]) -> AnswerShift:
    """The distance of two samples of answers."""
    given, before = [row for row in new if not _is_empty(row)], [row for row in old if not _is_empty(row)]
    rows, baseline_rows = _times(new), _times(old)
    empty, baseline_empty = rows - _times(given), baseline_rows - _times(before)
    if not new or not old:
        return AnswerShift(rows, baseline_rows, None, None, empty=empty, baseline_empty=baseline_empty)
    if _by_size(given, before):
        reference, current = _over_thirds(before, given)
    else:
        reference, current = _by_value(before, given)
    distinct, baseline_distinct = _entities(new), _entities(old)
    reference = np.append(reference, _rest(baseline_distinct, before))
    current = np.append(current, _rest(distinct, given))
    bins = int(np.count_nonzero(reference + current))
    return AnswerShift(
        rows=rows,
        baseline_rows=baseline_rows,
        psi=population_stability_index(reference, current),
        js_distance=jensen_shannon_distance(reference, current),
        bins=bins,
        empty=empty,
        baseline_empty=baseline_empty,
        distinct=round(distinct),
        baseline_distinct=round(baseline_distinct),
        chance=_chance(bins, distinct, baseline_distinct),
    )


def _chance(bins: int, distinct: float, baseline_distinct: float) -> float:
    """What PSI two samples of one distribution may show.

    It is (1/n + 1/m) times a chi-square variable with one degree of freedom fewer than there are bins
    (Yurdakul and Naranjo, Statistical properties of the population stability index, 2020).
    """
    return float(special.chdtri(max(bins - 1, 1), _ALARMS)) * (1 / distinct + 1 / baseline_distinct)


def _window(deployment_id: str, since: datetime, until: datetime) -> str:
    return (
        f"deployment_id = {literal(deployment_id)} AND status = 200"
        f" AND time >= TIMESTAMPTZ {literal(since.isoformat())}"
        f" AND time < TIMESTAMPTZ {literal(until.isoformat())}"
    )


def _answers(
    connection: duckdb.DuckDBPyConnection, window: str, revisions: Collection[str]
) -> list[Answered]:
    """By value; each entity's answers, or those to the same input, have the weight of one."""
    names = ", ".join(literal(name) for name in sorted(revisions))
    query = f"""
    WITH newest AS (
        SELECT {_entity(connection)} AS entity, prediction, left(prediction_json, {_LONGEST_TEXT}) AS text
        FROM data WHERE {window} AND revision_id IN ({names}) ORDER BY time DESC LIMIT {_MOST_ROWS}
    ), counted AS (
        SELECT prediction, text, count(*) AS times,
            count(*) / sum(count(*)) OVER (PARTITION BY entity) AS part
        FROM newest GROUP BY entity, prediction, text
    )
    SELECT prediction, text, sum(times)::BIGINT, sum(part)::DOUBLE FROM counted GROUP BY prediction, text
    """  # noqa: S608 - all quoted
    return [Answered(*row) for row in connection.execute(query).fetchall()]


def _entity(connection: duckdb.DuckDBPyConnection) -> str:
    """Whom an answer is about: the keys that its caller gave, else all that went into it, else itself alone."""
    columns = column_types(connection)
    inputs = [quoted(name) for name in columns if name.startswith(_FEATURE_PREFIX)]
    inputs += [name for name in ("params",) if inputs and name in columns]
    known = [f"hash({', '.join(inputs)})::VARCHAR"] if inputs else ["uuid()::VARCHAR"]
    known = ["entity_keys", *known] if "entity_keys" in columns else known
    return f"coalesce({', '.join(known)})"


def _times(rows: Iterable[Answered]) -> int:
    return sum(row.times for row in rows)


def _entities(rows: Iterable[Answered]) -> float:
    return sum(row.entities for row in rows)


def _rest(entities: float, counted: Iterable[Answered]) -> float:
    """Those that are left: parts of one add up to one but for what floating point loses."""
    return max(0.0, round(entities - _entities(counted), _PLACES))


def _is_empty(row: Answered) -> bool:
    return row.number is None and not (row.text or "").strip(_OF_NOTHING)


def _by_size(given: Sequence[Answered], before: Sequence[Answered]) -> bool:
    """Whether answers have an order that says more than their names: numbers that are no classes."""
    if any(row.number is None for row in (*given, *before)):
        return False
    values = {row.number for row in before if row.number is not None}
    return len(values) > _FEW_VALUES or (len(values) > 1 and not all(value.is_integer() for value in values))


def _over_thirds(old: Sequence[Answered], new: Sequence[Answered]) -> tuple[Floats, Floats]:
    cuts = _cuts(*_columns(old))
    return _binned(*_columns(old), cuts), _binned(*_columns(new), cuts)


def _columns(rows: Sequence[Answered]) -> tuple[Floats, Floats]:
    numbers = np.asarray([row.number for row in rows], dtype=np.float64)
    return numbers, np.asarray([row.entities for row in rows], dtype=np.float64)


def _cuts(values: Floats, weights: Floats) -> Floats:
    """Between two values each, so that answers that come often do not lie on an edge."""
    distinct, places = np.unique(values, return_inverse=True)
    shares = np.cumsum(np.bincount(places, weights=weights))[:-1] / weights.sum()
    edges = np.unique([int(np.argmin(np.abs(shares - third))) for third in _THIRDS])
    return np.asarray((distinct[edges] + distinct[edges + 1]) / 2)


def _binned(values: Floats, weights: Floats, cuts: Floats) -> Floats:
    places: npt.NDArray[np.int64] = np.searchsorted(cuts, values, side="right")
    return np.asarray(np.bincount(places, weights=weights, minlength=len(cuts) + 1), dtype=np.float64)


def _by_value(old: Sequence[Answered], new: Sequence[Answered]) -> tuple[Floats, Floats]:
    """Values that come often on either side each, and all others together."""
    before, after = _counted(old), _counted(new)
    shares = {
        value: before[value] / max(_entities(old), 1) + after[value] / max(_entities(new), 1)
        for value in sorted({*before, *after})
        if before[value] + after[value] >= _OFTEN_ENOUGH
    }
    named = sorted(shares, key=lambda value: -shares[value])[:_FEW_VALUES]
    return _listed(old, before, named), _listed(new, after, named)


def _counted(rows: Iterable[Answered]) -> defaultdict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        found[repr(row.number) if row.number is not None else str(row.text)] += row.entities
    return found


def _listed(rows: Iterable[Answered], counted: Mapping[str, float], named: Sequence[str]) -> Floats:
    listed = [counted.get(value, 0.0) for value in named]
    return np.asarray([*listed, max(0.0, round(_entities(rows) - sum(listed), _PLACES))], dtype=np.float64)

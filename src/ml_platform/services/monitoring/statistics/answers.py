"""How far the answers of two revisions to the same endpoint's traffic lie apart."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_platform.services.monitoring.statistics.distances import (
    Counts,
    jensen_shannon_distance,
    population_stability_index,
)
from ml_platform.services.monitoring.statistics.parquet import literal, opened

_BINS = 10
_MOST_ROWS = 100_000
_FEW_VALUES = 20
_LONGEST_TEXT = 200
_OF_NOTHING = "[]nul, "
"""The letters of `null`, alone or in lists; a label stands in quotes."""


@dataclass(frozen=True, slots=True)
class AnswerShift:
    """The distance of the candidate's answers from the baseline's; None where a side has no answers.

    Answers that are numbers are compared over the baseline's deciles; labels, and numbers of few values, by
    how often each comes. Those that are `empty`, NaN and infinity among them, are a bin of their own.
    """

    rows: int
    baseline_rows: int
    psi: float | None
    js_distance: float | None
    bins: int = 0
    empty: int = 0
    baseline_empty: int = 0


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
    where = (
        f"deployment_id = {literal(deployment_id)} AND status = 200"
        f" AND time >= TIMESTAMPTZ {literal(since.isoformat())}"
        f" AND time < TIMESTAMPTZ {literal(until.isoformat())}"
    )

    def answers(revisions: Collection[str]) -> list[tuple[float | None, str | None]]:
        names = ", ".join(literal(name) for name in sorted(revisions))
        query = (
            f"SELECT prediction, left(prediction_json, {_LONGEST_TEXT}) FROM data"  # noqa: S608 - all quoted
            f" WHERE {where} AND revision_id IN ({names}) ORDER BY time DESC LIMIT {_MOST_ROWS}"
        )
        return connection.execute(query).fetchall()

    with opened(files, threads=threads, memory=memory) as connection:
        new, old = answers({candidate}), answers(baseline)
    return shift_of(new, old)


def shift_of(
    new: Sequence[tuple[float | None, str | None]], old: Sequence[tuple[float | None, str | None]]
) -> AnswerShift:
    """The distance of two samples of (number, text) answers; the text counts where there is no number."""
    given, before = [row for row in new if not _is_empty(row)], [row for row in old if not _is_empty(row)]
    empty, baseline_empty = len(new) - len(given), len(old) - len(before)
    if not new or not old:
        return AnswerShift(len(new), len(old), None, None, empty=empty, baseline_empty=baseline_empty)
    numbers = all(number is not None for number, _ in (*given, *before))
    values = {number for number, _ in before}
    if numbers and len(values) > _FEW_VALUES:
        reference, current = _over_deciles([n for n, _ in before], [n for n, _ in given])
    else:
        reference, current = _by_value([_value(row) for row in before], [_value(row) for row in given])
    reference, current = np.append(reference, baseline_empty), np.append(current, empty)
    return AnswerShift(
        rows=len(new),
        baseline_rows=len(old),
        psi=population_stability_index(reference, current),
        js_distance=jensen_shannon_distance(reference, current),
        bins=int(np.count_nonzero(reference + current)),
        empty=empty,
        baseline_empty=baseline_empty,
    )


def _is_empty(row: tuple[float | None, str | None]) -> bool:
    number, text = row
    return number is None and not (text or "").strip(_OF_NOTHING)


def _value(row: tuple[float | None, str | None]) -> str:
    number, text = row
    return repr(number) if number is not None else str(text)


def _over_deciles(old: Sequence[Any], new: Sequence[Any]) -> tuple[Counts, Counts]:
    baseline = np.asarray(old, dtype=np.float64)
    cuts = np.unique(np.quantile(baseline, [i / _BINS for i in range(1, _BINS)]))
    return _binned(baseline, cuts), _binned(np.asarray(new, dtype=np.float64), cuts)


def _binned(values: npt.NDArray[np.float64], cuts: npt.NDArray[np.float64]) -> Counts:
    return np.bincount(np.searchsorted(cuts, values, side="right"), minlength=len(cuts) + 1)


def _by_value(old: Sequence[str], new: Sequence[str]) -> tuple[Counts, Counts]:
    """The baseline's most frequent values each, and all others together."""
    before, after = Counter(old), Counter(new)
    named = [value for value, _ in before.most_common(_FEW_VALUES)]
    sides = []
    for counted in (before, after):
        listed = [counted[value] for value in named]
        sides.append(np.asarray([*listed, counted.total() - sum(listed)], dtype=np.int64))
    return sides[0], sides[1]

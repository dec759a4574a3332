"""SHAP values of rows whose columns are numbers, texts or missing, for any prediction function.

SHAP's explainers calculate with numbers: each column's values are numbered, the explainer sees the numbers,
and the prediction function is given the values again. What is averaged over is the background: a column that
is 'left out' takes the values that it has there (the interventional, or marginal, expectation).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

Row = Sequence[Any]
Predict = Callable[[list[tuple[Any, ...]]], list[Any]]

EXACT_COLUMNS = 8
"""Up to so many columns, all of their subsets are tried: no more than 256 for each background row."""

PERMUTATIONS = 10
MAX_COLUMNS = 1_000
MAX_CELLS = 20_000_000
"""That the model is given to explain one row: wide models get fewer permutations, then fewer background rows.

What is left out makes the values coarser; they add up all the same.
"""

_SEED = 0
_MASKS_AT_ONCE = 50


class NotExplainableError(Exception):
    """The model does not answer with numbers, or it is too wide."""


def attribute(
    predict: Predict, background: Sequence[Row], rows: Sequence[Row], outputs: int | None = None
) -> list[dict[str, Any]]:
    """For each row `{"base_value": b, "values": [one for each column]}`; b and the values add up to the prediction.

    Where the model gives so many `outputs` for a row, b and each of the values is a list of as many.

    Raises:
        NotExplainableError: the predictions are no numbers, or there are too many columns.
    """
    width = len(rows[0])
    if width > MAX_COLUMNS:
        raise NotExplainableError(f"it has {width} columns, more than {MAX_COLUMNS}")
    os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # compiling SHAP's loops takes longer than they do
    import numpy as np
    import shap

    background = _thinned(background, width)
    codes, tables = _numbered([*background, *rows])

    def model(numbers: Any) -> Any:
        index = np.rint(numbers).astype(np.intp)
        columns = [table[index[:, place]].tolist() for place, table in enumerate(tables)]
        answers = predict(list(zip(*columns, strict=True)))
        checked = _numbers(answers) if outputs is None else _lists(answers, outputs)
        return np.array(checked, dtype=np.float64)

    known = codes[: len(background)]
    masker = shap.maskers.Independent(known, max_samples=len(known))

    def explain(row: Any) -> tuple[Any, Any]:
        differing = np.flatnonzero((known != row).any(axis=0))
        if len(differing) < 2:  # nothing to share out, which SHAP's loops do not foresee
            base = model(known).mean(axis=0)
            values = np.zeros((width, *base.shape))
            values[differing] = model(row[None])[0] - base
            return base, values
        if width <= EXACT_COLUMNS:
            found = shap.explainers.Exact(model, masker)(row[None], batch_size=_MASKS_AT_ONCE)
        else:
            explainer = shap.explainers.Permutation(model, masker, seed=_SEED)
            evaluations = _permutations(width, len(known)) * (2 * width + 1)
            found = explainer(row[None], max_evals=evaluations, batch_size=_MASKS_AT_ONCE, silent=True)
        return np.reshape(found.base_values, found.values[0].shape[1:]), found.values[0]

    explained = [explain(row) for row in codes[len(known) :]]
    return [
        {"base_value": np.asarray(base).tolist(), "values": values.tolist()} for base, values in explained
    ]


def _thinned(background: Sequence[Row], width: int) -> Sequence[Row]:
    """As many background rows as one permutation leaves room for, spread over all of them."""
    room = max(1, MAX_CELLS // ((2 * width + 1) * width))
    if len(background) <= room:
        return background
    return [background[place * len(background) // room] for place in range(room)]


def _permutations(width: int, background: int) -> int:
    return max(1, min(PERMUTATIONS, MAX_CELLS // ((2 * width + 1) * width * background)))


def _numbered(rows: Sequence[Row]) -> tuple[Any, list[Any]]:
    """The rows with each value's number within its column, and each column's values by number."""
    import numpy as np

    codes = np.zeros((len(rows), len(rows[0])))
    tables = []
    for place in range(len(rows[0])):
        known: dict[Any, int] = {}
        for number, row in enumerate(rows):
            codes[number, place] = known.setdefault(row[place], len(known))
        table = np.empty(len(known), dtype=object)
        table[:] = list(known)
        tables.append(table)
    return codes, tables


def _lists(predictions: list[Any], length: int) -> list[list[float]]:
    for values in predictions:
        if not isinstance(values, list) or len(values) != length:
            raise NotExplainableError(f"{length} numbers for a row expected, got {str(values)[:100]!r}")
        _numbers(values)
    return predictions


def _numbers(predictions: list[Any]) -> list[float]:
    for value in predictions:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise NotExplainableError(
                f"only a prediction that is a number can be explained; this model answered {str(value)[:100]!r}"
            )
    return predictions

"""A profile of a table: what each column holds, in figures, as strict JSON."""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import polars as pl

from ml_platform.integrations.delta.schema import type_of
from ml_platform.kit.strictjson import finite

QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS: Final = 20
TOP_VALUES: Final = 10
_TEXT_LENGTH: Final = 200


def profile(frame: pl.DataFrame) -> dict[str, Any]:
    """`{"rows": ..., "columns": {name: {...}}}`; numbers are finite, what does not apply is null.

    Statistics of floats leave NaN and infinities out; `non_finite` says how many there were.
    """
    columns = {name: _column(frame[name]) for name in frame.columns}
    return {"rows": frame.height, "columns": finite(columns)}


def _column(values: pl.Series) -> dict[str, Any]:
    kind, filled = type_of(values.dtype), values.drop_nulls()
    non_finite = 0
    if values.dtype.is_float():
        finite = filled.filter(filled.is_finite())
        non_finite, filled = len(filled) - len(finite), finite
    numeric = values.dtype.is_numeric()
    ordered = numeric or kind in {"datetime", "date"}
    return {
        "type": kind,
        "count": len(values),
        "nulls": values.null_count(),
        "non_finite": non_finite,
        "distinct": _distinct(filled),
        "min": _json(filled.min()) if ordered else None,
        "max": _json(filled.max()) if ordered else None,
        "mean": _json(filled.cast(pl.Float64).mean()) if numeric else None,
        "std": _json(filled.cast(pl.Float64).std()) if numeric else None,
        "quantiles": _quantiles(filled) if numeric else None,
        "top": _top(filled) if kind in {"string", "boolean", "integer", "long", "date"} else None,
        "histogram": _histogram(filled) if numeric else None,
    }


def _distinct(filled: pl.Series) -> int:
    return int(filled.to_frame().select(pl.all().approx_n_unique()).item()) if len(filled) else 0


def _quantiles(filled: pl.Series) -> dict[str, float | None]:
    numbers = filled.cast(pl.Float64)
    return {str(q): _json(numbers.quantile(q, interpolation="linear")) for q in QUANTILES}


def _top(filled: pl.Series) -> list[dict[str, Any]]:
    counts = filled.alias("value").value_counts(name="count")
    counts = counts.sort(["count", "value"], descending=[True, False]).head(TOP_VALUES)
    return [{"value": _json(value), "count": count} for value, count in counts.iter_rows()]


def _histogram(filled: pl.Series) -> dict[str, list[Any]] | None:
    """Equal bins from the least to the greatest value; the last one holds its upper edge."""
    numbers = filled.cast(pl.Float64).to_numpy()
    if not len(numbers):
        return None
    low, high = float(numbers.min()), float(numbers.max())
    if low == high or not math.isfinite(high - low):
        return {"edges": [low, high], "counts": [len(numbers)]}
    edges = [low + (high - low) * (index / BINS) for index in range(BINS)] + [high]
    places = ((numbers - low) / (high - low) * BINS).astype("int64").clip(0, BINS - 1)
    counts = [0] * BINS
    for place, count in pl.Series("place", places).value_counts(name="n").iter_rows():
        counts[place] = count
    return {"edges": edges, "counts": counts}


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value[:_TEXT_LENGTH] if isinstance(value, str) else value

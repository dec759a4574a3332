"""A few rows of a model's own, in the form in which a caller would send them."""

import json
import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from ml_platform.contracts.bundles import Signature
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.errors import ConflictError

_MAX_EXAMPLE = 4 * 1024 * 1024


def reference_rows(path: Path, signature: Signature, label: str | None, limit: int) -> list[Any]:
    """Objects by column name; for a tensor, lists of the columns that are not the label."""
    try:
        frame = pl.scan_parquet(path).head(limit).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ConflictError(
            f"the reference rows cannot be read: {error}", code=ErrorCode.INVALID_DATA
        ) from error
    if signature.layout == "tensor":
        return [[_plain(value) for value in row] for row in frame.drop(label or [], strict=False).rows()]
    names = [column.name for column in signature.inputs if column.name in frame.columns]
    rows = frame.select(names).to_dicts()
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def example_rows(path: Path, limit: int) -> list[Any]:
    """The rows of MLflow's input example: a table in `split` form, or a list."""
    if path.stat().st_size > _MAX_EXAMPLE:
        return []
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return []
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        columns = found.get("columns")
        rows = found["data"][:limit]
        return [dict(zip(columns, row, strict=False)) for row in rows] if columns else list(rows)
    if isinstance(found, dict):
        found = found.get("inputs", found.get("instances", [found]))
    return found[:limit] if isinstance(found, list) else []


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, datetime | date) else value

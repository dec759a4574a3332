"""A window of current data, counted into the bins of its reference by one streaming query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_platform.services.monitoring.statistics.parquet import (
    Selection,
    column_types,
    is_numeric,
    opened,
    quoted,
)
from ml_platform.services.monitoring.statistics.profiles import (
    ColumnProfile,
    Kind,
    ReferenceProfile,
    bin_counts,
    upper_bounds,
)


@dataclass(frozen=True, slots=True)
class ColumnCounts:
    """A column of the window over its reference's bins.

    `missing` are nulls and, in numeric columns, all that is no finite number; of these, `type_errors` were
    not null. `present` is False when no file has the column; then every row is missing.
    """

    name: str
    counts: tuple[int, ...]
    missing: int
    type_errors: int = 0
    present: bool = True


@dataclass(frozen=True, slots=True)
class WindowCounts:
    rows: int
    columns: Mapping[str, ColumnCounts]


def count_window(
    profile: ReferenceProfile,
    paths: Sequence[str | Path],
    *,
    selection: Selection | None = None,
    threads: int = 2,
    memory: str = "800MB",
) -> WindowCounts:
    """Counts Parquet files into a profile's bins. Memory does not grow with the rows; no path, no rows."""
    if not paths:
        return _combined(profile, {}, (0,), [])
    with opened(paths, threads=threads, memory=memory, selection=selection) as connection:
        types = column_types(connection)
        present = [column for column in profile.columns if column.name in types]
        selected, parameters = ["count(*)"], []
        for column in present:
            expressions, values = _aggregates(column, types[column.name])
            selected += expressions
            parameters += values
        row = connection.execute(f"SELECT {', '.join(selected)} FROM data", parameters).fetchone()  # noqa: S608
    return _combined(profile, types, row or (0,), present)


def _aggregates(column: ColumnProfile, duckdb_type: str) -> tuple[list[str], list[Any]]:
    """Two aggregates for each column: its histogram, and how many of its values are not null."""
    name = quoted(column.name)
    if column.kind is Kind.NUMERIC:
        castable = is_numeric(duckdb_type) or duckdb_type == "BOOLEAN"
        number = f"{name}::DOUBLE" if castable else f"TRY_CAST({name}::VARCHAR AS DOUBLE)"
        bounds = upper_bounds(column.cuts) or [0.0]
        finite = f"CASE WHEN isfinite({number}) THEN {number} END"
        return [f"histogram({finite}, ?::DOUBLE[])", f"count({name})"], [bounds]
    text = f"'=' || {name}::VARCHAR" if _prefixed(column) else f"{name}::VARCHAR"
    return [f"histogram_exact({text}, ?::VARCHAR[])", f"count({name})"], [_listed(column)]


def _prefixed(column: ColumnProfile) -> bool:
    """DuckDB counts all other values under '': where that is a category itself, all get a prefix."""
    return "" in column.categories


def _listed(column: ColumnProfile) -> list[str]:
    return [f"={c}" for c in column.categories] if _prefixed(column) else list(column.categories)


def _combined(
    profile: ReferenceProfile, types: Mapping[str, str], row: Sequence[Any], present: Sequence[ColumnProfile]
) -> WindowCounts:
    rows = int(row[0])
    columns: dict[str, ColumnCounts] = {}
    for i, column in enumerate(present):
        columns[column.name] = _column(column, rows, row[1 + 2 * i], int(row[2 + 2 * i]))
    for column in profile.columns:
        if column.name not in columns:
            counts = (0,) * len(column.counts)
            columns[column.name] = ColumnCounts(column.name, counts, rows, present=not types)
    return WindowCounts(rows, columns)


def _column(
    column: ColumnProfile, rows: int, histogram: Mapping[Any, int] | None, not_null: int
) -> ColumnCounts:
    found = histogram or {}
    if column.kind is Kind.CATEGORICAL:
        listed = tuple(int(found.get(value, 0)) for value in _listed(column))
        return ColumnCounts(column.name, (*listed, not_null - sum(listed)), rows - not_null)
    counts = bin_counts(found, column.cuts) if column.cuts else (sum(found.values()),)
    finite = sum(counts)
    return ColumnCounts(column.name, counts, rows - finite, type_errors=not_null - finite)

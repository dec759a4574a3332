"""The reference: what each column looked like in the data that a model was made from, as JSON.

A numeric column is counted twice over the same cut points: finely (about 200 quantiles, for the
Kolmogorov-Smirnov distance) and coarsely (about 10, for PSI and the divergences, whose noise grows with
the number of bins). A value that holds more than its share has a bin of its own, so a change within a
column of mostly zeros, or of one constant, is seen; the first and the last bin lie beyond the
reference's range. A categorical column has its 20 most frequent values and the rest.

Nulls are a bin of their own in both. In numeric columns so are NaN and the infinities: not a number is
missing.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from ml_platform.services.monitoring.statistics.distances import Counts
from ml_platform.services.monitoring.statistics.parquet import (
    column_types,
    is_categorical,
    is_numeric,
    opened,
    quoted,
)

FORMAT = 1
BINS = 10
FINE_BINS = 200
CATEGORIES = 20
LONGEST_CATEGORY = 200
"""Longer texts are no categories; they are counted among the rest, and keep profiles small."""


class Kind(StrEnum):
    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column of the reference.

    Numeric: `cuts` ascending; bin i holds values in [cuts[i-1], cuts[i]), the first all below cuts[0], the
    last all from cuts[-1] on; `counts` has one more entry than `cuts`. `coarse` are the indices of the
    cuts between coarse bins. Categorical: `counts` of `categories`, then of all others.
    """

    name: str
    kind: Kind
    counts: tuple[int, ...]
    missing: int
    cuts: tuple[float, ...] = ()
    coarse: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.missing

    @property
    def complete(self) -> bool:
        """Whether every value of the reference is listed, so that any other is unseen."""
        return self.kind is Kind.CATEGORICAL and self.counts[-1] == 0

    def bins(self, counts: Sequence[int], missing: int) -> Counts:
        """Counts over this column's bins as the distances compare them: coarse, with the missing last."""
        values = np.asarray(counts, dtype=np.int64)
        if self.kind is Kind.NUMERIC:
            values = np.add.reduceat(values, [0, *(cut + 1 for cut in self.coarse)])
        return np.append(values, missing)

    def labels(self) -> tuple[str, ...]:
        """What each of those bins holds, in words and in the same order."""
        if self.kind is Kind.CATEGORICAL:
            return (*self.categories, "others", "missing")
        cuts = [f"{self.cuts[index]:.6g}" for index in self.coarse]
        if not cuts:
            return ("all values", "missing")
        between = (f"{low} to {high}" for low, high in itertools.pairwise(cuts))
        return (f"below {cuts[0]}", *between, f"{cuts[-1]} or more", "missing")


@dataclass(frozen=True, slots=True)
class ReferenceProfile:
    """What a window is compared with."""

    rows: int
    columns: tuple[ColumnProfile, ...]

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "rows": self.rows, "columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ReferenceProfile":
        """Reads what `to_json` wrote; raises ValueError for another format."""
        if data.get("format") != FORMAT:
            raise ValueError(f"unknown profile format {data.get('format')!r}; this version reads {FORMAT}")
        return cls(int(data["rows"]), tuple(_column_from_json(column) for column in data["columns"]))


def profile_reference(
    paths: Sequence[str | Path],
    columns: Sequence[str] | None = None,
    *,
    categorical: Sequence[str] = (),
    threads: int = 2,
    memory: str = "800MB",
) -> ReferenceProfile:
    """Profiles columns of Parquet files: all that are numbers, booleans or text, unless they are named.

    Args:
        paths: the reference's files.
        columns: which columns; default all of a supported type.
        categorical: numeric columns that are codes, to be treated as categories.
        threads: of the query.
        memory: bound of the query.

    Raises:
        ValueError: a named column does not exist or is of another type.
    """
    with opened(paths, threads=threads, memory=memory) as connection:
        types = column_types(connection)
        rows = _scalar(connection, "SELECT count(*) FROM data")
        profiles = []
        for name in columns if columns is not None else types:
            kind = _kind(name, types, categorical)
            if kind is Kind.NUMERIC:
                profiles.append(_profile_numeric(connection, name, rows))
            elif kind is Kind.CATEGORICAL:
                profiles.append(_profile_categorical(connection, name, rows))
            elif columns is not None:
                raise ValueError(f"column {name!r} is of type {types[name]}: only numbers, booleans and text")
    return ReferenceProfile(rows, tuple(profiles))


def _kind(name: str, types: Mapping[str, str], categorical: Sequence[str]) -> Kind | None:
    if name not in types:
        raise ValueError(f"there is no column {name!r}; there are {', '.join(types)}")
    if is_categorical(types[name]) or (name in categorical and is_numeric(types[name])):
        return Kind.CATEGORICAL
    return Kind.NUMERIC if is_numeric(types[name]) else None


def _profile_numeric(connection: duckdb.DuckDBPyConnection, name: str, rows: int) -> ColumnProfile:
    source = f"(SELECT {quoted(name)}::DOUBLE AS x FROM data WHERE isfinite({quoted(name)}::DOUBLE))"  # noqa: S608
    shares = [i / FINE_BINS for i in range(FINE_BINS + 1)]
    found = connection.execute(f"SELECT quantile_disc(x, ?::DOUBLE[]) FROM {source}", [shares]).fetchone()  # noqa: S608
    quantiles: list[float] = (found[0] if found else None) or []
    cuts = _cuts(quantiles)
    coarse = [cuts.index(cut) for cut in _cuts(quantiles[:: FINE_BINS // BINS])]
    if not cuts:
        return ColumnProfile(name, Kind.NUMERIC, (0,), rows)
    counted = connection.execute(
        f"SELECT histogram(x, ?::DOUBLE[]) FROM {source}",  # noqa: S608
        [upper_bounds(cuts)],
    ).fetchone()
    counts = bin_counts(counted[0] if counted else None, cuts)
    return ColumnProfile(
        name, Kind.NUMERIC, counts, rows - sum(counts), cuts=tuple(cuts), coarse=tuple(coarse)
    )


def _cuts(quantiles: Sequence[float]) -> list[float]:
    """Cut points from quantiles: each begins a bin, one that comes again ends its own, the last all."""
    if not quantiles:
        return []
    again = {a for a, b in itertools.pairwise(quantiles) if a == b}
    ends = {math.nextafter(value, math.inf) for value in (*again, quantiles[-1])}
    return sorted({*quantiles[:-1], *ends})


def upper_bounds(cuts: Sequence[float]) -> list[float]:
    """The cuts for DuckDB's `histogram`, whose bins include their upper end, not their lower."""
    return [math.nextafter(cut, -math.inf) for cut in cuts]


def bin_counts(histogram: Mapping[float, int] | None, cuts: Sequence[float]) -> tuple[int, ...]:
    """A DuckDB histogram as counts of all bins, the last (beyond all bounds) included."""
    found = histogram or {}
    return tuple(int(found.get(bound, 0)) for bound in (*upper_bounds(cuts), math.inf))


def _profile_categorical(connection: duckdb.DuckDBPyConnection, name: str, rows: int) -> ColumnProfile:
    column = quoted(name)
    frequent = connection.execute(
        f"SELECT {column}::VARCHAR AS v, count(*) AS n FROM data "  # noqa: S608
        f"WHERE length({column}::VARCHAR) <= {LONGEST_CATEGORY} "
        f"GROUP BY v ORDER BY n DESC, v LIMIT {CATEGORIES}"
    ).fetchall()
    present = _scalar(connection, f"SELECT count({column}) FROM data")  # noqa: S608
    counts = [int(row[1]) for row in frequent]
    return ColumnProfile(
        name,
        Kind.CATEGORICAL,
        (*counts, present - sum(counts)),
        rows - present,
        categories=tuple(str(row[0]) for row in frequent),
    )


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _column_from_json(data: Mapping[str, Any]) -> ColumnProfile:
    return ColumnProfile(
        name=str(data["name"]),
        kind=Kind(data["kind"]),
        counts=tuple(int(count) for count in data["counts"]),
        missing=int(data["missing"]),
        cuts=tuple(float(cut) for cut in data["cuts"]),
        coarse=tuple(int(cut) for cut in data["coarse"]),
        categories=tuple(str(category) for category in data["categories"]),
    )

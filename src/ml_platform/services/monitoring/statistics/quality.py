"""How much of a window can be taken at its word, between 0 and 1.

A value is bad when it is of another type (text in a numeric column, NaN, an infinity), outside the
reference's range, of a category that a completely known reference never had, or missing beyond the share
that is missing in the reference too. A column scores the share of its values that are not bad; a window
scores the mean of its columns.
"""

from dataclasses import asdict, dataclass
from typing import Any

from ml_platform.services.monitoring.statistics.profiles import ColumnProfile, Kind, ReferenceProfile
from ml_platform.services.monitoring.statistics.windows import ColumnCounts, WindowCounts


@dataclass(frozen=True, slots=True)
class ColumnQuality:
    """Counts of rows; no row is counted twice."""

    name: str
    score: float
    missing: int
    type_errors: int
    out_of_range: int
    unseen_categories: int
    present: bool


@dataclass(frozen=True, slots=True)
class QualityReport:
    """`score` is None for a window without rows or columns: nothing was said, good or bad."""

    rows: int
    score: float | None
    columns: tuple[ColumnQuality, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def assess(profile: ReferenceProfile, window: WindowCounts) -> QualityReport:
    columns = tuple(_assess(column, window.columns[column.name], window.rows) for column in profile.columns)
    score = sum(column.score for column in columns) / len(columns) if columns and window.rows else None
    return QualityReport(window.rows, score, columns)


def _assess(profile: ColumnProfile, current: ColumnCounts, rows: int) -> ColumnQuality:
    missing = current.missing - current.type_errors
    out_of_range = unseen = 0
    if profile.kind is Kind.NUMERIC and profile.cuts:
        out_of_range = current.counts[0] + current.counts[-1]
    elif profile.complete and profile.categories:
        unseen = current.counts[-1]
    usual = profile.missing / profile.rows if profile.rows else 0.0
    bad = current.type_errors + out_of_range + unseen + max(0.0, missing - usual * rows)
    return ColumnQuality(
        name=profile.name,
        score=1.0 - min(1.0, bad / rows) if rows else 1.0,
        missing=missing,
        type_errors=current.type_errors,
        out_of_range=out_of_range,
        unseen_categories=unseen,
        present=current.present,
    )

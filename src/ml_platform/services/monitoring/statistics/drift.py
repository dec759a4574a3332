"""From counts to verdicts: does a window still look like its reference?

Each feature is measured in four ways, and each has its say:

- PSI decides between none, warning and drift;
- the Jensen-Shannon distance warns from its threshold on (0.1, which is about a PSI of 0.06);
- the Kullback-Leibler divergence warns when a bootstrap of the reference almost never gives as much
  (p < 0.01 after Benjamini-Hochberg over all features), unless the change is too small to matter: with
  millions of rows the smallest change is significant;
- KS (numeric) or chi-square (categorical) are reported with their effect sizes and decide nothing.

A window of too few rows is `not_enough_data`, which is not `none`. The whole window is as bad as its
worst feature. A model's predictions are a column like any other.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from ml_platform.services.monitoring.statistics.calibration import benjamini_hochberg, bootstrap_p_value
from ml_platform.services.monitoring.statistics.distances import (
    Counts,
    TestResult,
    chi_square,
    jensen_shannon_distance,
    kolmogorov_smirnov,
    kullback_leibler_divergence,
    population_stability_index,
)
from ml_platform.services.monitoring.statistics.profiles import ColumnProfile, Kind, ReferenceProfile
from ml_platform.services.monitoring.statistics.windows import ColumnCounts, WindowCounts


class Verdict(StrEnum):
    NONE = "none"
    WARNING = "warning"
    DRIFT = "drift"
    NOT_ENOUGH_DATA = "not_enough_data"


_SEVERITY = (Verdict.NONE, Verdict.NOT_ENOUGH_DATA, Verdict.WARNING, Verdict.DRIFT)


@dataclass(frozen=True, slots=True)
class DriftThresholds:
    """PSI's are Siddiqi's (2006); p and the rows keep false alarms rare at the size of a small window.

    `negligible_psi`: below it a significant divergence does not warn.
    """

    psi_warning: float = 0.1
    psi_drift: float = 0.25
    js_distance: float = 0.1
    kl_p_value: float = 0.01
    negligible_psi: float = 0.01
    min_rows: int = 1_000


@dataclass(frozen=True, slots=True)
class Distribution:
    """The bins that were compared, and the share of the rows in each; each side sums to 1."""

    bins: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """A feature's measures; None where the data do not suffice.

    `kl_p_value` is adjusted for the number of features. `test` is `kolmogorov_smirnov` or `chi_square`.
    """

    name: str
    verdict: Verdict
    reasons: tuple[str, ...]
    psi: float | None = None
    js_distance: float | None = None
    kl_divergence: float | None = None
    kl_p_value: float | None = None
    test: str | None = None
    statistic: float | None = None
    p_value: float | None = None
    effect_size: float | None = None
    missing_share: float | None = None
    distribution: Distribution | None = None


@dataclass(frozen=True, slots=True)
class DriftReport:
    verdict: Verdict
    reasons: tuple[str, ...]
    rows: int
    features: tuple[FeatureDrift, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Measured:
    profile: ColumnProfile
    current: ColumnCounts
    reference_bins: Counts
    current_bins: Counts


def compare(
    profile: ReferenceProfile,
    window: WindowCounts,
    thresholds: DriftThresholds | None = None,
    *,
    seed: int = 0,
) -> DriftReport:
    """Measures every feature of the profile in a window and gives verdicts with their reasons.

    The same counts give the same report: the bootstrap's random numbers come from `seed`.
    """
    limits = thresholds or DriftThresholds()
    if min(window.rows, profile.rows) < limits.min_rows:
        return _too_small(profile, window, limits)
    measured = [_measure(column, window.columns[column.name]) for column in profile.columns]
    raw = [bootstrap_p_value(m.reference_bins, m.current_bins, seed=seed) for m in measured]
    adjusted = benjamini_hochberg(raw)
    features = tuple(_judge(m, p, limits) for m, p in zip(measured, adjusted, strict=True))
    worst = max((feature.verdict for feature in features), key=_SEVERITY.index, default=Verdict.NONE)
    return DriftReport(worst, tuple(_summary(features)), window.rows, features)


def _measure(profile: ColumnProfile, current: ColumnCounts) -> _Measured:
    return _Measured(
        profile,
        current,
        profile.bins(profile.counts, profile.missing),
        profile.bins(current.counts, current.missing),
    )


def _judge(measured: _Measured, kl_p_value: float, limits: DriftThresholds) -> FeatureDrift:
    reference, current = measured.reference_bins, measured.current_bins
    psi = population_stability_index(reference, current)
    js_distance = jensen_shannon_distance(reference, current)
    test_name, test = _test(measured)
    reasons = list(_reasons(measured.current, psi, js_distance, kl_p_value, limits))
    verdict = Verdict.DRIFT if psi > limits.psi_drift else Verdict.WARNING if reasons else Verdict.NONE
    return FeatureDrift(
        name=measured.profile.name,
        verdict=verdict,
        reasons=tuple(reasons),
        psi=psi,
        js_distance=js_distance,
        kl_divergence=kullback_leibler_divergence(reference, current),
        kl_p_value=kl_p_value,
        test=test_name,
        statistic=test.statistic,
        p_value=test.p_value,
        effect_size=test.effect_size,
        missing_share=float(current[-1] / current.sum()),
        distribution=_distribution(measured),
    )


def _distribution(measured: _Measured) -> Distribution:
    def shares(counts: Counts) -> tuple[float, ...]:
        return tuple((counts / counts.sum()).tolist())

    return Distribution(
        measured.profile.labels(), shares(measured.reference_bins), shares(measured.current_bins)
    )


def _test(measured: _Measured) -> tuple[str, TestResult]:
    """The classical test of the column's kind, over its own bins and without the missing."""
    reference = np.asarray(measured.profile.counts, dtype=np.int64)
    current = np.asarray(measured.current.counts, dtype=np.int64)
    if measured.profile.kind is Kind.NUMERIC:
        return "kolmogorov_smirnov", kolmogorov_smirnov(reference, current)
    return "chi_square", chi_square(reference, current)


def _reasons(
    current: ColumnCounts, psi: float, js_distance: float, kl_p_value: float, limits: DriftThresholds
) -> Iterable[str]:
    if not current.present:
        yield "the column is missing from the window"
    if psi > limits.psi_drift:
        yield f"PSI {psi:.3f} is above {limits.psi_drift}"
    elif psi >= limits.psi_warning:
        yield f"PSI {psi:.3f} is at least {limits.psi_warning}"
    if js_distance >= limits.js_distance:
        yield f"Jensen-Shannon distance {js_distance:.3f} is at least {limits.js_distance}"
    if kl_p_value < limits.kl_p_value and psi >= limits.negligible_psi:
        yield f"KL divergence is more than chance (adjusted p {kl_p_value:.4f} < {limits.kl_p_value})"


def _summary(features: Iterable[FeatureDrift]) -> Iterable[str]:
    for verdict in (Verdict.DRIFT, Verdict.WARNING):
        for feature in features:
            if feature.verdict is verdict:
                yield f"{feature.name}: {'; '.join(feature.reasons)}"


def _too_small(profile: ReferenceProfile, window: WindowCounts, limits: DriftThresholds) -> DriftReport:
    which, rows = ("window", window.rows) if window.rows < limits.min_rows else ("reference", profile.rows)
    reasons = (f"the {which} has {rows} rows; at least {limits.min_rows} are needed",)
    features = tuple(FeatureDrift(c.name, Verdict.NOT_ENOUGH_DATA, reasons) for c in profile.columns)
    return DriftReport(Verdict.NOT_ENOUGH_DATA, reasons, window.rows, features)

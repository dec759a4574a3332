"""Distances between two samples that were counted into the same bins.

Every function takes two vectors of counts over the same bins. Logarithms are natural where nothing else
is said. Proportions that are compared by a logarithm are smoothed by half a row a bin (the Jeffreys
prior of a multinomial), since an empty bin would make them infinite; bins that are empty in both samples
are left out beforehand, since half a row is more of a small sample than of a large one.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SMOOTHING = 0.5


@dataclass(frozen=True, slots=True)
class TestResult:
    """A test of 'both samples come from one distribution'.

    The p-value says whether they differ at all, the effect size (0 to 1) how much.
    """

    __test__ = False  # not a test case, whatever pytest makes of its name

    statistic: float
    p_value: float
    effect_size: float


def smoothed(counts: npt.NDArray[np.int64] | Floats) -> Floats:
    """Proportions, along the last axis, with half a row added to every bin."""
    values = np.asarray(counts, dtype=np.float64) + SMOOTHING
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def occupied(reference: Counts | Floats, current: Counts | Floats) -> tuple[Counts | Floats, Counts | Floats]:
    """Both samples without the bins that are empty in both."""
    some = (reference + current) > 0
    return reference[some], current[some]


def population_stability_index(reference: Counts | Floats, current: Counts | Floats) -> float:
    """PSI = Σ (current - reference) · ln(current / reference) over smoothed proportions; 0 upwards.

    Symmetric; the sum of both Kullback-Leibler divergences. Siddiqi, Credit Risk Scorecards (2006), from
    where also its scale comes: below 0.1 no change, above 0.25 a major one.
    """
    expected, actual = (smoothed(counts) for counts in occupied(reference, current))
    return max(0.0, float(np.sum((actual - expected) * np.log(actual / expected))))


def jensen_shannon_distance(reference: Counts | Floats, current: Counts | Floats) -> float:
    """√(½ KL(p‖m) + ½ KL(q‖m)), m = (p + q) / 2, in base 2: a metric between 0 and 1, without smoothing.

    Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37 (1991); Endres and
    Schindelin, A new metric for probability distributions, ibid. 49 (2003). 0 when a sample is empty.
    """
    if reference.sum() == 0 or current.sum() == 0:
        return 0.0
    p, q = reference / reference.sum(), current / current.sum()
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle).sum() + special.rel_entr(q, middle).sum()) / 2
    return math.sqrt(min(1.0, max(0.0, float(divergence) / math.log(2))))


def kullback_leibler_divergence(reference: Counts, current: Counts) -> float:
    """KL(current ‖ reference) in nats over smoothed proportions; 0 upwards.

    What a row of the current sample costs more to describe by the reference than by its own distribution;
    in this direction, values that the reference hardly knows weigh most. It has no natural scale: see
    `calibration`. Kullback and Leibler, On information and sufficiency (1951).
    """
    known, seen = occupied(reference, current)
    return float(divergences(smoothed(known), smoothed(seen)))


def divergences(reference: Floats, current: Floats) -> Floats:
    """KL(current ‖ reference) of proportions, row by row along the last axis."""
    return np.asarray(np.maximum(0.0, special.rel_entr(current, reference).sum(axis=-1)))


def kolmogorov_smirnov(reference: Counts, current: Counts) -> TestResult:
    """Two-sample KS over ordered bins: D = max |F_current - F_reference|, which is also the effect size.

    D is exact where every distinct value has its bin, else it is short by at most the share of the
    fullest bin. The p-value is the asymptotic one, Q(D·√(n·m / (n + m))) with Kolmogorov's Q (as
    `scipy.stats.ks_2samp(method="asymp")` before its small-sample correction); conservative with ties.
    """
    n, m = int(reference.sum()), int(current.sum())
    if n == 0 or m == 0:
        return TestResult(0.0, 1.0, 0.0)
    distance = float(np.max(np.abs(np.cumsum(current) / m - np.cumsum(reference) / n)))
    p_value = float(special.kolmogorov(distance * math.sqrt(n * m / (n + m))))
    return TestResult(distance, min(1.0, max(0.0, p_value)), distance)


def chi_square(reference: Counts, current: Counts) -> TestResult:
    """Pearson's test of homogeneity of two samples, without continuity correction.

    Bins that are empty in both samples are left out. The effect size is Cramér's V = √(χ² / N), since the
    smaller side of the table is 2 (Cramér, Mathematical Methods of Statistics, 1946, p. 282).
    """
    table = np.stack([reference, current]).astype(np.float64)
    table = table[:, table.sum(axis=0) > 0]
    total = table.sum()
    if table.shape[1] < 2 or (table.sum(axis=1) == 0).any():
        return TestResult(0.0, 1.0, 0.0)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    statistic = float(((table - expected) ** 2 / expected).sum())
    p_value = float(special.chdtrc(table.shape[1] - 1, statistic))
    return TestResult(statistic, p_value, math.sqrt(min(1.0, statistic / total)))

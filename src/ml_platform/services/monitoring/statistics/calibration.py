"""How often chance alone gives as much divergence, for one feature and for the many that are looked at."""

from collections.abc import Sequence

import numpy as np

from ml_platform.services.monitoring.statistics.distances import (
    Counts,
    divergences,
    kullback_leibler_divergence,
    occupied,
    smoothed,
)

DRAWS = 4_999
"""Bootstrap draws at most: the smallest p-value is 1 / 5,000, enough for 1 % over 50 features."""

_BATCH = 250
_ENOUGH = 25


def bootstrap_p_value(reference: Counts, current: Counts, *, seed: int = 0, draws: int = DRAWS) -> float:
    """The p-value of the Kullback-Leibler divergence of `current` from `reference`.

    Parametric bootstrap of the reference (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    ch. 16): both samples are drawn anew, in their sizes, from the reference's proportions, and the
    p-value is the share of draws whose divergence is at least the observed one. Both are drawn since the
    reference is a sample as well. Drawing ends early once 25 draws were as far (the sequential Monte
    Carlo p-value of Besag and Clifford, Biometrika 78, 1991), so features without drift cost little.
    The same counts and seed give the same p-value.
    """
    n, m = int(reference.sum()), int(current.sum())
    if n == 0 or m == 0:
        return 1.0
    observed = kullback_leibler_divergence(reference, current)
    # What the reference never had is never drawn, but has its bin, as in the observed divergence.
    proportions = occupied(reference, current)[0] / n
    random = np.random.default_rng(seed)
    as_far = drawn = 0
    while drawn < draws:
        size = min(_BATCH, draws - drawn)
        first = smoothed(random.multinomial(n, proportions, size=size))
        second = smoothed(random.multinomial(m, proportions, size=size))
        further = divergences(first, second) >= observed * (1 - 1e-9)
        if as_far + further.sum() >= _ENOUGH:
            last = int(np.flatnonzero(np.cumsum(further) >= _ENOUGH - as_far)[0])
            return _ENOUGH / (drawn + last + 1)
        as_far += int(further.sum())
        drawn += size
    return (as_far + 1) / (draws + 1)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, for many features at once.

    Calling those below q different makes, on average, a share of at most q of these calls wrong.
    Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995).
    """
    if not p_values:
        return []
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)[::-1]
    ranks = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(np.minimum(1.0, values[order] * len(values) / ranks))
    return [float(value) for value in adjusted]

"""Whether the units arrived in the proportions in which traffic was split; if not, no comparison is to be trusted.

    Fabijan et al.: Diagnosing Sample Ratio Mismatch in Online Controlled Experiments. KDD 2019.

Pearson's chi-square test is for one look. For all looks together there is the e-value of a Dirichlet mixture
against the split:

    Lindon, Malek: Anytime-Valid Inference for Multinomial Count Data. NeurIPS 2022.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

SRM_ALPHA = 0.001
_CONCENTRATION = 1000.0
"""Of the mixture: most sensitive to splits that are off by about 1.5 of 100."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The chi-square test's p-value now, and one that holds at any look; both are 1 while there is nothing."""

    chi_square: float
    p_value: float
    any_look_p_value: float

    @property
    def alarming(self) -> bool:
        """At any look: as rarely wrong over the whole test as a single look would be."""
        return max(self.any_look_p_value, self.p_value) < SRM_ALPHA

    @property
    def mismatch(self) -> bool:
        """For the one look at which a verdict falls."""
        return self.p_value < SRM_ALPHA


def check_ratio(counts: Sequence[int], weights: Sequence[float]) -> SampleRatio:
    """Compares units by arm with the weights by which they should have come."""
    total, weight = sum(counts), sum(weights)
    if total == 0 or len(counts) < 2:
        return SampleRatio(0.0, 1.0, 1.0)
    shares = [item / weight for item in weights]
    statistic = sum((n - total * p) ** 2 / (total * p) for n, p in zip(counts, shares, strict=True))
    p_value = float(special.chdtrc(len(counts) - 1, statistic))
    return SampleRatio(statistic, p_value, math.exp(min(0.0, -_log_e(counts, shares))))


def _log_e(counts: Sequence[int], shares: Sequence[float]) -> float:
    total = sum(counts)
    found = math.lgamma(_CONCENTRATION) - math.lgamma(_CONCENTRATION + total)
    for n, p in zip(counts, shares, strict=True):
        prior = _CONCENTRATION * p
        found += math.lgamma(prior + n) - math.lgamma(prior) - n * math.log(p)
    return found

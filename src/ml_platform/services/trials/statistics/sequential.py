"""Comparing two arms at any time: estimates by unit, and intervals that hold at all looks together.

A p-value that is looked at again and again finds a difference where there is none: of two equal arms that are
looked at often enough, nearly every one 'wins' at 0.05 some day. The interval here is a confidence sequence: the
chance that it misses the true difference at *any* of its looks, however many there are and whoever stops when, is
alpha. It is the mixture sequential probability ratio test with a normal mixture over the difference, `tau` being
the mixture's standard deviation:

    Johari, Koomen, Pekelis, Walsh: Always Valid Inference: Continuous Monitoring of A/B Tests.
    Operations Research 70(3), 2022 (first as arXiv:1512.04922), sections 4 and 5.

The variance is estimated, which is asymptotically as good as knowing it:

    Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit theory and asymptotic confidence
    sequences. Annals of Statistics 52(6), 2024.

Asymptotic means that a verdict needs some units first; whoever asks keeps to a least number of them. A metric is a
ratio of sums over units (a caller who is kept on one arm, else a request), with the variance of a ratio:

    Deng, Knoblich, Lu: Applying the Delta Method in Metric Analytics. KDD 2018.
"""

import math
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class ArmSums:
    """What an arm's units add up to: `x` is what is counted of a unit (its requests), `y` what came of them."""

    units: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    @classmethod
    def of_binary(cls, units: int, successes: int) -> Self:
        """Units of one request each, of which some succeeded."""
        return cls(units, units, successes, units, successes, successes)

    @property
    def mean(self) -> float | None:
        return self.y / self.x if self.x > 0 else None

    def smoothed(self) -> Self:
        """With one success and one failure more (Agresti and Caffo, The American Statistician 54, 2000).

        For rates: it keeps the variance away from 0 while there is no success, or no failure, yet.
        """
        return type(self)(self.units + 2, self.x + 2, self.y + 1, self.xx + 2, self.yy + 1, self.xy + 1)

    def variance(self) -> float | None:
        """Of the mean; None with fewer than two units, or nothing counted."""
        if self.units < 2 or self.x <= 0:
            return None
        n, mean = self.units, self.y / self.x
        # The sum of squares of y - mean * x, whose own mean is 0.
        squares = max(0.0, self.yy - 2 * mean * self.xy + mean * mean * self.xx)
        return squares * n / (n - 1) / (self.x * self.x)


@dataclass(frozen=True, slots=True)
class Difference:
    """A challenger's mean less the control's, with an interval and a p-value that hold at any look."""

    estimate: float
    low: float
    high: float
    p_value: float


def compare_arms(
    control: ArmSums, challenger: ArmSums, *, alpha: float, tau: float, rate: bool
) -> Difference | None:
    """None while a side cannot be measured, or has shown no variation yet.

    Over all looks together the interval misses the difference with chance `alpha`. `tau` is the size of
    difference for which the test is quickest. A `rate` is a share of things that either happen or do not.
    """
    if control.mean is None or challenger.mean is None:
        return None
    spread = [(side.smoothed() if rate else side).variance() for side in (control, challenger)]
    if spread[0] is None or spread[1] is None or spread[0] + spread[1] <= 0:
        return None
    return _difference(challenger.mean - control.mean, spread[0] + spread[1], alpha, tau)


def _difference(estimate: float, variance: float, alpha: float, tau: float) -> Difference:
    mixed = variance + tau * tau
    shrink = 0.5 * math.log(mixed / variance)
    radius = math.sqrt(2 * variance * mixed / (tau * tau) * (math.log(1 / alpha) + shrink))
    log_ratio = tau * tau * estimate * estimate / (2 * variance * mixed) - shrink
    return Difference(estimate, estimate - radius, estimate + radius, math.exp(min(0.0, -log_ratio)))

"""How often the drift of a canary's answers is found, and seen where there is none: make canary-errors.

Canaries by the thousand, as draws of random numbers: each is looked at again and again while its answers become
more, at the share of each step, with the product's own statistics and the default plan. Writes
`benchmarks/reports/canary_errors.md`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.services.deployments.canary import FEWEST_DISTINCT, Judgement, weigh
from ml_platform.services.deployments.interfaces import AnswersCompared, Compared, QualityCompared
from ml_platform.services.monitoring.statistics import Answered, AnswerShift, shift_of

REPORT = Path(__file__).parents[1] / "reports" / "canary_errors.md"
SHARES = (0.05, 0.25, 0.5)
MOST = 1_000
GROWTH = 1.15
Random = np.random.Generator
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Traffic:
    """What entities are answered: the old revision's and the candidate's answers to so many of them each."""

    name: str
    old: Callable[[Random, int], Values]
    new: Callable[[Random, int], Values]
    label: bool = False
    digits: int = 2


def _same(draw: Callable[[Random, int], Values]) -> tuple[Callable[[Random, int], Values], ...]:
    return draw, draw


def _classes(count: int, skew: float = 0.0) -> Callable[[Random, int], Values]:
    weights = 1 / np.arange(1, count + 1) ** skew
    return lambda random, size: random.choice(count, size, p=weights / weights.sum()).astype(float)


def _always(value: float) -> Callable[[Random, int], Values]:
    return lambda _, size: np.full(size, value)


def _score(slope: float, offset: float) -> Callable[[Random, int], Values]:
    return lambda random, size: 1 / (1 + np.exp(-slope * random.normal(-1.2, 1.4, size) - offset))


def _normal(mean: float) -> Callable[[Random, int], Values]:
    return lambda random, size: random.normal(mean, 15, size)


GOOD = (
    Traffic("a score in (0, 1)", *_same(lambda r, n: r.beta(2, 5, n))),
    Traffic("a number, normal", *_same(_normal(50)), digits=0),
    Traffic("a number with a long tail", *_same(lambda r, n: r.lognormal(3, 1.5, n)), digits=0),
    Traffic("yes or no, 70 to 30", *_same(lambda r, n: (r.random(n) < 0.3).astype(float)), label=True),
    Traffic("yes or no, 98 to 2", *_same(lambda r, n: (r.random(n) < 0.02).astype(float)), label=True),
    Traffic("ten classes", *_same(_classes(10)), label=True),
    Traffic("a thousand classes, few of them often", *_same(_classes(1000, 1.0)), label=True),
    Traffic("surer of the same: logits stretched by a third", _score(0.75, -0.3), _score(1.0, 0.0)),
    Traffic("a little higher: a tenth of a deviation", _normal(50), _normal(51.5), digits=0),
)
BAD = (
    Traffic("one deviation up", _normal(50), _normal(65), digits=0),
    Traffic("two deviations up", _normal(50), _normal(80), digits=0),
    Traffic("two deviations down", _normal(50), _normal(20), digits=0),
    Traffic(
        "always the same number", lambda r, n: r.beta(2, 5, n), _always(0.31), label=False
    ),
    Traffic("the labels exchanged", lambda r, n: r.binomial(1, 0.2, n) * 1.0, lambda r, n: r.binomial(1, 0.8, n) * 1.0, True),
    Traffic("always the rarer label", lambda r, n: r.binomial(1, 0.3, n) * 1.0, _always(1.0), True),
    Traffic("one class of ten for all", _classes(10), _always(4.0), True),
)  # fmt: skip


def answered(values: Values, traffic: Traffic) -> list[Answered]:
    """By value; numbers are rounded to a hundred or so."""
    label = traffic.label
    found, counts = np.unique(values if label else np.round(values, traffic.digits), return_counts=True)
    return [
        Answered(None if label else float(value), f'"{value:g}"', int(count), float(count))
        for value, count in zip(found, counts, strict=True)
    ]


def goes_back(found: AnswerShift) -> bool:
    compared = AnswersCompared(
        found.rows, found.baseline_rows, found.psi, found.bins,
        distinct=found.distinct, baseline_distinct=found.baseline_distinct, chance=found.chance,
    )  # fmt: skip
    nothing = QualityCompared(None, 0, None, 0, None)
    judged = weigh(CanaryPlan(), Judgement("wait", "so far", {}), Compared(compared, nothing))
    return judged.verdict == "rollback"


def first_alarm(random: Random, traffic: Traffic, share: float, most: int) -> int | None:
    """The candidate's entities at the first look that sends it back; None when none does."""
    beside = (1 - share) / share
    new, old = traffic.new(random, most), traffic.old(random, int(most * beside))
    seen = float(FEWEST_DISTINCT)
    while seen <= most:
        count = int(seen)
        given = answered(new[:count], traffic)
        before = answered(old[: int(count * beside)], traffic)
        if goes_back(shift_of(given, before)):
            return count
        seen *= GROWTH
    return None


def measure(random: Random, canaries: int) -> tuple[list[str], list[str], int]:
    """The lines of both tables, and how many good steps were sent back."""
    good, bad, alarms = [], [], 0
    for traffic in GOOD:
        found = [
            sum(first_alarm(random, traffic, share, MOST) is not None for _ in range(canaries))
            for share in SHARES
        ]
        alarms += sum(found)
        good.append(f"| {traffic.name} | " + " | ".join(f"{count} of {canaries}" for count in found) + " |")
        print(good[-1], flush=True)
    for traffic in BAD:
        cells = []
        for share in SHARES:
            seen = [first_alarm(random, traffic, share, 500) for _ in range(canaries // 4)]
            known = np.array([count if count is not None else 10**6 for count in seen])
            each = [f"{np.mean(known <= limit):.1%}" for limit in (40, 100, 250)]
            cells.append(" / ".join(each))
        bad.append(f"| {traffic.name} | " + " | ".join(cells) + " |")
        print(bad[-1], flush=True)
    return good, bad, alarms


def report(good: list[str], bad: list[str], alarms: int, canaries: int, minutes: float) -> str:
    head = (
        "| | "
        + " | ".join(f"{share:.0%} of the traffic" for share in SHARES)
        + " |\n| --- | --- | --- | --- |"
    )
    steps = canaries * len(GOOD) * len(SHARES)
    return f"""# Drift of a canary's answers: how often it is seen, and how often wrongly

`make canary-errors`: steps of canaries as draws of random numbers, each looked at from {FEWEST_DISTINCT} entities on and again
whenever there are {GROWTH - 1:.0%} more, with the product's own statistics and the default plan. {minutes:.0f} minutes.

Good ones, up to {MOST:,} entities each: **{alarms} of {steps:,} steps were sent back.**

{head}
{chr(10).join(good)}

Bad ones: the part that was found from 40 / 100 / 250 entities at most, of {canaries // 4} steps each.

{head}
{chr(10).join(bad)}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--canaries", type=int, default=1000, help="steps of each kind at each share")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-report", action="store_true", help="print, and leave the report as it is")
    options = parser.parse_args()
    began = time.monotonic()
    good, bad, alarms = measure(np.random.default_rng(options.seed), options.canaries)
    text = report(good, bad, alarms, options.canaries, (time.monotonic() - began) / 60)
    if not options.no_report:
        REPORT.write_text(text)
    print(text)
    return 0 if alarms == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

"""Stability: how much a model's answers change when its numbers are moved a little.

Numeric columns are moved by normal noise of 5 % of their standard deviation: about what rounding, a late
update or another source of the same number make of it. Decisions that flip in more than a fifth of the rows
under that are chance more than knowledge; a fifth is generous, since models in use flip well under a
twentieth. A model card may set its own limits: `{"stability": {"share": 0.05, "max_changed": 0.2,
"max_mean_change": 0.25}}`. The mean change of numeric answers is in their standard deviations.
"""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FEWEST_ROWS = 30
_SHARE = 0.05
_MOST_CHANGED = 0.2
_MOST_MEAN_CHANGE = 0.25


@dataclass(frozen=True, slots=True)
class Limits:
    share: float
    max_changed: float
    max_mean_change: float


def limits_of(card: Mapping[str, Any]) -> Limits:
    """The model card's own limits; the default for what it does not say, or says as no positive number."""
    found = card.get("stability")
    declared: Mapping[str, Any] = found if isinstance(found, Mapping) else {}

    def number(name: str, default: float) -> float:
        value = declared.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return default
        return float(value) if math.isfinite(value) and value > 0 else default

    return Limits(
        share=min(1.0, number("share", _SHARE)),
        max_changed=number("max_changed", _MOST_CHANGED),
        max_mean_change=number("max_mean_change", _MOST_MEAN_CHANGE),
    )


def move(rows: Sequence[Any], share: float, seed: str) -> tuple[list[Any], list[str]]:
    """The rows with their numbers moved, the same for the same seed, and the columns that were moved.

    Whole numbers stay whole. A column that never changes, or that is not a number in every row that has it,
    stays as it is.
    """
    generator = random.Random(seed)  # noqa: S311 - noise, not a secret
    named = [row if isinstance(row, Mapping) else dict(enumerate(row)) for row in rows]
    spreads = {name: spread for name in named[0] if (spread := _spread(named, name)) > 0} if named else {}
    moved = []
    for row, given in zip(named, rows, strict=True):
        values = {
            name: _moved(value, share * spreads[name], generator) if name in spreads else value
            for name, value in row.items()
        }
        moved.append(values if isinstance(given, Mapping) else list(values.values()))
    return moved, [str(name) for name in spreads]


def assess(
    pairs: Sequence[tuple[Any, Any]], columns: Sequence[str], limits: Limits
) -> tuple[dict[str, Any], str | None]:
    """The evidence, and why the answers are not stable within the limits, or None."""
    evidence: dict[str, Any] = {
        "assessed": True,
        "rows": len(pairs),
        "columns": list(columns)[:200],
        "share_of_deviation": limits.share,
        "limits": {"max_changed": limits.max_changed, "max_mean_change": limits.max_mean_change},
    }
    changed = _changed(pairs)
    mean = _mean_change(pairs)
    evidence |= {"changed_decisions": changed, "mean_change": mean}
    moved = f"when {len(columns)} numeric columns move by {limits.share:.0%} of their standard deviation"
    if changed is not None and changed > limits.max_changed:
        return evidence, f"{changed:.1%} of the decisions change {moved}; allowed: {limits.max_changed:.0%}"
    if mean is not None and mean > limits.max_mean_change:
        return evidence, (
            f"the answers change by {mean:.2f} of their standard deviation on average {moved}; allowed:"
            f" {limits.max_mean_change:g}"
        )
    return evidence, None


def not_assessed(why: str) -> dict[str, Any]:
    return {"assessed": False, "why": why}


def _spread(rows: Sequence[Mapping[Any, Any]], name: Any) -> float:
    values = [row[name] for row in rows if row.get(name) is not None]
    if len(values) < 2 or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        return 0.0
    spread = statistics.pstdev([float(value) for value in values])
    return spread if math.isfinite(spread) else 0.0


def _moved(value: Any, scale: float, generator: random.Random) -> Any:
    noise = generator.gauss(0.0, scale)  # drawn for every cell, so that a gap shifts no other
    if value is None:
        return None
    return round(value + noise) if isinstance(value, int) else value + noise


def _changed(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """The share of decisions that differ; None where the answers are amounts and no decisions."""
    decided = [(_decision(one), _decision(other)) for one, other in pairs]
    if _amounts(pairs) and not _shares(pairs):
        return None
    return sum(one != other for one, other in decided) / len(decided) if decided else None


def _decision(answer: Any) -> Any:
    if isinstance(answer, list):
        return answer.index(max(answer)) if answer and _numbers(answer) else answer
    if isinstance(answer, float):
        return answer >= 0.5
    return answer


def _mean_change(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    if not _amounts(pairs) or len(pairs) < 2:
        return None
    spread = statistics.pstdev([float(one) for one, _ in pairs])
    change = statistics.fmean([abs(float(other) - float(one)) for one, other in pairs])
    if change == 0:
        return 0.0
    return change / spread if spread > 0 else None


def _amounts(pairs: Sequence[tuple[Any, Any]]) -> bool:
    """Whether every answer is a number with a fraction, and not the number of a class."""
    return bool(pairs) and all(isinstance(value, float) for pair in pairs for value in pair)


def _shares(pairs: Sequence[tuple[Any, Any]]) -> bool:
    return all(0.0 <= value <= 1.0 for pair in pairs for value in pair)


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)

"""Slices and fairness: how a model does on parts of the held-out rows, beside the champion and among groups.

The differences are those of Fairlearn (fairlearn.org, 'Common fairness metrics'): the demographic parity
difference is the largest distance between the groups' shares of positive answers; the equalised odds
difference the larger one of those between their true and between their false positive rates.
"""

import math
from collections.abc import Mapping
from typing import Any

from ml_platform.services.deployments.interfaces import Slices

FEWEST_ROWS = 100
_FEWEST_IN_A_GROUP = 30
_RMSE_GROWTH = 0.2


def worse_slice(own: Slices, champion: Slices, tolerance: float) -> str | None:
    """The slice that lost most against the champion, if it lost more than is tolerated and chance explains.

    Only slices of 100 rows or more count. Accuracy may fall by `tolerance` and two standard errors of the
    difference, RMSE grow by a fifth.
    """
    worst, told = 0.0, None
    for column, values in own.items():
        for value, found in values.items():
            theirs = champion.get(column, {}).get(value)
            if theirs is None or found["rows"] < FEWEST_ROWS:
                continue
            lost = _lost(found, theirs, tolerance)
            if lost > worst:
                worst = lost
                metric = "accuracy" if "accuracy" in found else "rmse"
                told = (
                    f"where {column} is {value}, {metric} is {found[metric]:.4f} on {found['rows']:.0f} rows, and"
                    f" the champion has {theirs[metric]:.4f}"
                )
    return told


def _lost(own: Mapping[str, float], theirs: Mapping[str, float], tolerance: float) -> float:
    """By how much more than allowed; 0 when it is allowed."""
    if "accuracy" in own and "accuracy" in theirs:
        a, b, rows = own["accuracy"], theirs["accuracy"], own["rows"]
        chance = math.sqrt((a * (1 - a) + b * (1 - b)) / rows)
        return max(0.0, b - a - tolerance - 2 * chance)
    if "rmse" in own and "rmse" in theirs:
        return max(0.0, own["rmse"] - theirs["rmse"] * (1 + _RMSE_GROWTH))
    return 0.0


def assess_fairness(card: Mapping[str, Any], slices: Slices) -> tuple[dict[str, Any], str | None, bool]:
    """The evidence, why it is unfair beyond the card's own limits or None, and whether all was measured.

    The card declares `{"fairness": {"attributes": [...], "max_parity_difference": 0.2,
    "max_odds_difference": 0.2}}`; an attribute is a column of the held-out data, whether the model takes it or
    not. Groups of fewer than 30 rows are left out.
    """
    declared = card.get("fairness")
    attributes = declared.get("attributes") if isinstance(declared, Mapping) else None
    if not isinstance(attributes, list) or not isinstance(declared, Mapping):
        return {"assessed": False, "why": "the model card declares no attributes for fairness"}, None, True
    evidence: dict[str, Any] = {"assessed": True, "attributes": {}}
    problem, complete = None, True
    for name in [str(attribute)[:200] for attribute in attributes[:20]]:
        measured = _differences(slices.get(name, {}))
        if measured is None:
            evidence["attributes"][name] = {
                "not_measured": "the held-out data have no such column with 2 to 12 values, or no two groups of 30"
            }
            complete = False
            continue
        evidence["attributes"][name] = measured
        problem = problem or _beyond(declared, name, measured)
    return evidence, problem, complete


def _differences(groups: Mapping[str, Mapping[str, float]]) -> dict[str, Any] | None:
    counted = {
        name: group
        for name, group in groups.items()
        if group["rows"] >= _FEWEST_IN_A_GROUP and "positive_rate" in group
    }
    if len(counted) < 2:
        return None
    odds = [_spread(counted, rate) for rate in ("true_positive_rate", "false_positive_rate")]
    return {
        "groups": {name: dict(group) for name, group in counted.items()},
        "parity_difference": _spread(counted, "positive_rate"),
        "odds_difference": max((value for value in odds if value is not None), default=None),
    }


def _spread(groups: Mapping[str, Mapping[str, float]], rate: str) -> float | None:
    values = [group[rate] for group in groups.values() if rate in group]
    return max(values) - min(values) if len(values) >= 2 else None


def _beyond(declared: Mapping[str, Any], name: str, measured: Mapping[str, Any]) -> str | None:
    for limit, difference, called in (
        ("max_parity_difference", "parity_difference", "demographic parity difference"),
        ("max_odds_difference", "odds_difference", "equalised odds difference"),
    ):
        most, found = declared.get(limit), measured[difference]
        if (
            isinstance(most, int | float)
            and not isinstance(most, bool)
            and found is not None
            and found > most
        ):
            return f"the {called} over {name} is {found:.3f}; the model card allows {most:g}"
    return None

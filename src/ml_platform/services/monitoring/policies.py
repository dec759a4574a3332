"""Rules without a database: may drift start a retraining now?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class RetrainingRule:
    enabled: bool
    cooldown: timedelta
    max_per_week: int


@dataclass(frozen=True, slots=True)
class Started:
    """A retraining of the deployment: when it was started, and whether it has ended."""

    at: datetime
    finished: bool


def refusal(rule: RetrainingRule, history: Sequence[Started], now: datetime) -> str | None:
    """Why no retraining may start now, or None when one may."""
    if not rule.enabled:
        return "retraining is not enabled for this deployment"
    if any(not one.finished for one in history):
        return "a retraining is under way"
    latest = max((one.at for one in history), default=None)
    if latest is not None and now < latest + rule.cooldown:
        return f"the cool-down lasts until {latest + rule.cooldown:%Y-%m-%d %H:%M} UTC"
    within = sum(one.at > now - _WEEK for one in history)
    if within >= rule.max_per_week:
        return f"the budget of {rule.max_per_week} in seven days is used up"
    return None

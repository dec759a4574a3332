from datetime import UTC, datetime, timedelta

import pytest

from ml_platform.services.monitoring.policies import RetrainingRule, Started, refusal

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULE = RetrainingRule(enabled=True, cooldown=timedelta(hours=24), max_per_week=2)


def ended(hours_ago: float) -> Started:
    return Started(NOW - timedelta(hours=hours_ago), finished=True)


class TestRefusal:
    @pytest.mark.parametrize("history", [[], [ended(25)], [ended(25), ended(24 * 8), ended(24 * 9)]])
    def test_nothing_stands_against_it(self, history: list[Started]) -> None:
        assert refusal(RULE, history, NOW) is None

    @pytest.mark.parametrize(
        ("rule", "history", "reason"),
        [
            (RetrainingRule(False, timedelta(0), 9), [], "not enabled"),
            (RULE, [ended(23.9)], "until 2026-03-01 00:06 UTC"),
            (RULE, [ended(30), ended(90)], "budget of 2"),
            (RULE, [Started(NOW - timedelta(days=30), finished=False)], "under way"),
        ],
    )
    def test_why_it_may_not(self, rule: RetrainingRule, history: list[Started], reason: str) -> None:
        assert reason in str(refusal(rule, history, NOW))

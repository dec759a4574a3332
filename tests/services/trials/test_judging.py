"""The judgement of an A/B test: what stops it, what decides it, and what says nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ml_platform.contracts.serving import RevisionMetrics
from ml_platform.contracts.trials import ABTestRequest, ABTestStatus, GuardedMetric, Metric
from ml_platform.services.trials.judging import Arm, Judgement, judge, metrics_of
from ml_platform.services.trials.statistics import ArmRead, ArmsRead, ArmSums

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ARMS = [Arm("control", "a", 50, control=True), Arm("deeper", "b", 50, control=False)]


def plan(**changes: Any) -> ABTestRequest:
    return ABTestRequest.model_validate(
        {
            "name": "a test",
            "arms": [
                {"name": "control", "weight": 50, "model_id": "churn/1"},
                {"name": "deeper", "weight": 50, "model_id": "churn/2"},
            ],
            "metric": "conversion",
            "direction": "increase",
            "minimum_detectable_effect": 0.05,
            "max_seconds": 1000,
            **changes,
        }
    )


def arm(
    units: int, successes: int, *, came: int | None = None, metric: Metric = Metric.CONVERSION
) -> ArmRead:
    came = came if came is not None else units
    return ArmRead(came, came, 0, 1.0, {metric: ArmSums.of_binary(units, successes)})


def look(
    control: ArmRead, deeper: ArmRead, *, elapsed: float = 10, live: Any = None, **changes: Any
) -> Judgement:
    read = ArmsRead({"a": control, "b": deeper}, 0)
    return judge(plan(**changes), ARMS, read, live or {}, elapsed=elapsed, now=NOW)


def traffic(revision: str, requests: int, errors: int, p95: float = 1.0) -> RevisionMetrics:
    return RevisionMetrics(
        team="t",
        environment="staging",
        endpoint="e",
        revision_id=revision,
        model_name="m",
        model_version="1",
        requests=requests,
        predictions=requests,
        errors=errors,
        client_errors=0,
        error_rate=errors / requests,
        requests_per_second=1.0,
        latency_ms_p95=p95,
    )


class TestVerdict:
    def test_a_challenger_that_is_better_beyond_doubt_wins(self) -> None:
        found = look(arm(3000, 900), arm(3000, 1200))
        assert (found.status, found.winner) == (ABTestStatus.WINNER, "deeper")
        assert "conversion +0.1" in found.reason
        [comparison] = found.report.comparisons
        assert 0 < comparison.low < 0.1 < comparison.high

    def test_less_may_be_better(self) -> None:
        found = look(arm(3000, 1200), arm(3000, 900), direction="decrease")
        assert (found.status, found.winner) == (ABTestStatus.WINNER, "deeper")

    def test_a_challenger_that_is_worse_beyond_doubt_makes_the_control_win(self) -> None:
        found = look(arm(3000, 1200), arm(3000, 900))
        assert (found.status, found.winner) == (ABTestStatus.WINNER, "control")

    def test_equals_are_no_different_once_no_effect_that_matters_is_left(self) -> None:
        assert look(arm(600, 180), arm(600, 180)).status is None
        found = look(arm(20_000, 6_000), arm(20_000, 6_000))
        assert (found.status, found.winner) == (ABTestStatus.NO_DIFFERENCE, None)

    def test_too_few_units_are_no_verdict_however_far_apart(self) -> None:
        found = look(arm(400, 10), arm(400, 390))
        assert found.status is None
        assert "400 of 500 units" in found.reason

    def test_nothing_is_decided_before_the_least_time(self) -> None:
        assert look(arm(3000, 900), arm(3000, 1200), min_seconds=60).status is None

    def test_time_that_is_over_without_a_verdict_says_so(self) -> None:
        found = look(arm(600, 180), arm(600, 185), elapsed=1000)
        assert (found.status, found.winner) == (ABTestStatus.EXPIRED, None)
        assert "without a verdict" in found.reason

    def test_no_traffic_is_never_a_verdict(self) -> None:
        empty = ArmRead(0, 0, 0, None, {})
        assert look(empty, empty).status is None
        assert look(empty, empty, elapsed=1000).status is ABTestStatus.EXPIRED

    def test_three_arms_share_alpha(self) -> None:
        arms = [*ARMS, Arm("wider", "c", 50, control=False)]
        asked = [{"name": n, "weight": 50, "model_id": f"churn/{i}"} for i, n in enumerate("xyz")]
        read = ArmsRead({"a": arm(3000, 900), "b": arm(3000, 1200), "c": arm(3000, 1300)}, 0)
        found = judge(plan(arms=asked), arms, read, {}, elapsed=10, now=NOW)
        assert found.winner == "wider"  # the better one of two that are better
        assert [item.level for item in found.report.comparisons] == [0.975, 0.975]


class TestSampleRatio:
    def test_a_leak_stops_the_test_at_any_look(self) -> None:
        found = look(arm(300, 90, came=3000), arm(300, 90, came=2000))
        assert found.status is ABTestStatus.SAMPLE_RATIO_MISMATCH
        assert "control 3000, deeper 2000" in found.reason

    def test_a_leak_that_shows_when_a_verdict_falls_stops_the_verdict(self) -> None:
        found = look(arm(3000, 900, came=3150), arm(3000, 1200, came=2850))
        assert (found.status, found.winner) == (ABTestStatus.SAMPLE_RATIO_MISMATCH, None)
        assert found.report.sample_ratio is not None
        assert found.report.sample_ratio.p_value < 0.001


class TestGuardrails:
    def test_errors_stop_the_test_before_anybody_wins(self) -> None:
        found = look(arm(3000, 900), arm(3000, 1200), live={"b": traffic("b", 100, 6)})
        assert found.status is ABTestStatus.STOPPED_BY_GUARDRAIL
        assert "error_rate of deeper is 0.06, and at most 0.05 was allowed" in found.reason

    def test_a_few_requests_break_nothing(self) -> None:
        assert look(arm(10, 3), arm(10, 3), live={"b": traffic("b", 49, 49)}).status is None

    def test_latency_and_labels_can_be_guarded(self) -> None:
        slow = [{"metric": "latency_p95_ms", "limit": 20}]
        found = look(arm(10, 3), arm(10, 3), live={"b": traffic("b", 100, 0, 21.0)}, guardrails=slow)
        assert found.status is ABTestStatus.STOPPED_BY_GUARDRAIL
        few = [{"metric": "conversion", "limit": 0.2, "relation": "at_least"}]
        assert look(arm(100, 30), arm(100, 10), guardrails=few).status is ABTestStatus.STOPPED_BY_GUARDRAIL
        assert look(arm(100, 30), arm(100, 21), guardrails=few).status is None

    def test_what_is_not_known_breaks_nothing_and_is_told(self) -> None:
        found = look(arm(10, 3), arm(10, 3))
        assert [item.value for item in found.report.guardrails] == [None, None]

    def test_only_what_has_to_be_read_is_read(self) -> None:
        guarded = [{"metric": name, "limit": 1} for name in GuardedMetric]
        assert metrics_of(plan()) == {Metric.CONVERSION}
        assert metrics_of(plan(guardrails=guarded)) == {Metric.CONVERSION, Metric.MEAN_ANSWER, Metric.OUTCOME}


class TestThePlan:
    @pytest.mark.parametrize(
        "changes",
        [
            {"minimum_detectable_effect": 0},
            {"minimum_detectable_effect": 1.5},
            {"alpha": 0.5},
            {"min_seconds": 2000},
            {"arms": [{"name": "one", "weight": 1, "model_id": "churn/1"}]},
            {"arms": [{"name": "x", "weight": 1, "model_id": f"churn/{i}"} for i in range(2)]},
            {"arms": [{"name": "x", "weight": 1}, {"name": "y", "weight": 1, "model_id": "churn/1"}]},
            {"sticky": {"by": "header", "name": "a header"}},
            {"guardrails": [{"metric": "profit", "limit": 1}]},
        ],
    )
    def test_nonsense_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValueError):
            plan(**changes)

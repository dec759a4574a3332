"""What a canary decides from what was measured."""

import pytest

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.services.deployments.canary import Judgement, Measured, judge

PLAN = CanaryPlan(step_seconds=60, min_requests=100)
FINE = Measured(requests=200, errors=0, p95_ms=20.0)


def decide(
    new: Measured = FINE, old: Measured = FINE, *, elapsed: float = 90, plan: CanaryPlan = PLAN
) -> Judgement:
    return judge(plan, elapsed=elapsed, new=new, old=old)


class TestPromoting:
    def test_as_good_as_before_is_promoted(self) -> None:
        assert decide().verdict == "promote"

    def test_not_before_its_time(self) -> None:
        assert decide(elapsed=59).verdict == "wait"

    def test_not_before_enough_requests(self) -> None:
        assert decide(Measured(99, 0, 20.0)).verdict == "wait"

    @pytest.mark.parametrize("elapsed", [0, 90, 10**6])
    def test_no_traffic_is_never_health(self, elapsed: float) -> None:
        assert decide(Measured(0, 0, None), elapsed=elapsed).verdict == "wait"

    def test_without_a_baseline_it_holds(self) -> None:
        assert decide(old=Measured(0, 0, None)).verdict == "wait"


class TestRollingBack:
    def test_an_error_rate_above_the_limit_goes_back_at_once(self) -> None:
        found = decide(Measured(100, 6, 20.0), elapsed=1)
        assert found.verdict == "rollback"
        assert "6.0%" in found.reason

    def test_exactly_the_limit_is_no_failure_of_its_own(self) -> None:
        assert "error rate" not in decide(Measured(200, 10, 20.0)).reason

    def test_a_handful_of_requests_proves_nothing(self) -> None:
        assert decide(Measured(5, 5, 20.0), elapsed=1).verdict == "wait"

    def test_a_plan_of_few_requests_decides_on_few(self) -> None:
        plan = CanaryPlan(step_seconds=0, min_requests=3)
        assert decide(Measured(3, 3, 1.0), elapsed=0, plan=plan).verdict == "rollback"

    def test_more_than_twice_the_latency_goes_back(self) -> None:
        assert decide(Measured(200, 0, 41.0)).verdict == "rollback"
        assert decide(Measured(200, 0, 40.0)).verdict == "promote"

    def test_microseconds_do_not_decide(self) -> None:
        assert decide(Measured(200, 0, 0.9), Measured(200, 0, 0.1)).verdict == "promote"

    def test_availability_is_looked_at_when_it_would_be_promoted(self) -> None:
        assert decide(Measured(200, 4, 20.0)).verdict == "rollback"

    def test_an_unavailability_that_the_old_one_shares_is_not_the_new_ones(self) -> None:
        assert decide(Measured(200, 4, 20.0), Measured(200, 4, 20.0)).verdict == "promote"


class TestThePlan:
    @pytest.mark.parametrize("steps", [[], [50], [50, 25, 100], [100, 100], [0, 100], [101]])
    def test_steps_must_rise_to_a_hundred(self, steps: list[int]) -> None:
        with pytest.raises(ValueError):
            CanaryPlan(steps=steps)

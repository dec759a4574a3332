"""What a canary decides from what was measured."""

import pytest

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.services.deployments.canary import Judgement, Measured, judge, weigh
from ml_platform.services.deployments.interfaces import AnswersCompared, Compared, QualityCompared

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


class TestItsAnswers:
    PROMOTE = Judgement("promote", "no worse", {"elapsed_seconds": 90})

    def weighed(
        self, *, psi: float | None = 0.0, rows: int = 500, baseline_rows: int = 500, **plan: object
    ) -> Judgement:
        compared = Compared(
            AnswersCompared(rows, baseline_rows, psi), QualityCompared(None, 0, None, 0, None)
        )
        return weigh(CanaryPlan.model_validate(plan), self.PROMOTE, compared)

    def test_the_same_answers_change_nothing(self) -> None:
        found = self.weighed()
        assert (found.verdict, found.reason) == ("promote", "no worse")
        assert found.evidence["answers"]["psi"] == 0.0

    def test_answers_that_lie_elsewhere_go_back(self) -> None:
        found = self.weighed(psi=0.4)
        assert found.verdict == "rollback"
        assert "0.40" in found.reason

    def test_exactly_the_limit_is_none(self) -> None:
        assert self.weighed(psi=0.25).verdict == "promote"

    @pytest.mark.parametrize("few", [{"rows": 199}, {"baseline_rows": 199}])
    def test_a_few_answers_prove_nothing(self, few: dict[str, int]) -> None:
        assert self.weighed(psi=3.0, **few).verdict == "promote"

    def test_a_plan_may_leave_them_out(self) -> None:
        assert self.weighed(psi=3.0, max_answer_shift=None).verdict == "promote"

    def test_without_answers_on_a_side_there_is_nothing_to_compare(self) -> None:
        assert self.weighed(psi=None, rows=0).verdict == "promote"


class TestItsQuality:
    def weighed(
        self, metric: str, value: float, baseline: float, *, labels: int = 400, **plan: object
    ) -> Judgement:
        quality = QualityCompared(metric, labels, value, 400, baseline)
        compared = Compared(AnswersCompared(0, 0, None), quality)
        return weigh(CanaryPlan.model_validate(plan), TestItsAnswers.PROMOTE, compared)

    def test_accuracy_lost_beyond_chance_goes_back(self) -> None:
        found = self.weighed("accuracy", 0.70, 0.85)
        assert found.verdict == "rollback"
        assert "0.7000 on 400 labels" in found.reason

    def test_what_chance_explains_does_not(self) -> None:
        assert self.weighed("accuracy", 0.78, 0.85).verdict == "promote"

    def test_a_better_one_is_promoted(self) -> None:
        assert self.weighed("accuracy", 0.95, 0.85).verdict == "promote"

    def test_an_error_that_grew_goes_back_and_one_that_shrank_does_not(self) -> None:
        assert self.weighed("rmse", 1.06, 1.0).verdict == "rollback"
        assert self.weighed("rmse", 1.05, 1.0).verdict == "promote"
        assert self.weighed("rmse", 0.5, 1.0).verdict == "promote"

    def test_a_few_labels_prove_nothing(self) -> None:
        assert self.weighed("accuracy", 0.1, 0.9, labels=99).verdict == "promote"

    def test_a_plan_may_leave_it_out(self) -> None:
        assert self.weighed("accuracy", 0.1, 0.9, max_quality_drop=None).verdict == "promote"

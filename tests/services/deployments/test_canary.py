"""What a canary decides from what was measured."""

from typing import Literal

import pytest

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.services.deployments.canary import Judgement, Measured, judge, judge_recent, weigh
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

    def test_the_slowest_of_a_few_is_no_p95(self) -> None:
        assert decide(Measured(99, 0, 400.0), elapsed=1).verdict == "wait"
        assert decide(Measured(100, 0, 400.0), elapsed=1).verdict == "rollback"

    def test_a_tail_that_the_old_one_has_too_needs_many_requests(self) -> None:
        old = Measured(2000, 0, 20.0, p99_ms=60.0)
        assert decide(Measured(499, 0, 50.0), old).verdict == "promote"
        assert decide(Measured(499, 0, 61.0), old).verdict == "rollback"
        assert decide(Measured(500, 0, 50.0), old).verdict == "rollback"

    def test_a_median_of_more_than_twice_the_old_ones_goes_back_below_the_floor_too(self) -> None:
        slow, fast = Measured(200, 0, 9.0, p50_ms=6.1), Measured(200, 0, 5.0, p50_ms=3.0)
        found = decide(slow, fast)
        assert found.verdict == "rollback"
        assert "median latency 6.10 ms" in found.reason
        assert decide(Measured(200, 0, 9.0, p50_ms=6.0), fast).verdict == "promote"

    def test_a_median_below_a_tenth_of_the_floor_is_never_slow(self) -> None:
        slow, fast = Measured(200, 0, 2.0, p50_ms=1.0), Measured(200, 0, 0.5, p50_ms=0.1)
        assert decide(slow, fast).verdict == "promote"
        assert decide(slow, fast, plan=CanaryPlan(latency_floor_ms=5, min_requests=100)).verdict == "rollback"

    def test_a_median_of_a_few_must_be_clearer(self) -> None:
        plan = CanaryPlan(latency_floor_ms=10, min_requests=20)
        old = Measured(400, 0, 40.0, p50_ms=12.0)
        assert decide(Measured(99, 0, 50.0, p50_ms=29.0), old, plan=plan).verdict != "rollback"
        assert decide(Measured(99, 0, 50.0, p50_ms=31.0), old, plan=plan).verdict == "rollback"
        assert decide(Measured(100, 0, 50.0, p50_ms=25.0), old, plan=plan).verdict == "rollback"
        even = Measured(400, 0, 26.0, p50_ms=12.0)
        assert decide(Measured(99, 0, 50.0, p50_ms=27.0), even, plan=plan).verdict == "rollback"

    def test_a_median_below_the_floor_must_be_slower_than_the_old_ones_tail(self) -> None:
        plan = CanaryPlan(latency_floor_ms=10, min_requests=20)
        quick = Measured(4000, 0, 3.0, p50_ms=0.9)
        assert decide(Measured(400, 0, 8.0, p50_ms=2.4), quick, plan=plan).verdict != "rollback"
        assert decide(Measured(400, 0, 8.0, p50_ms=3.1), quick, plan=plan).verdict == "rollback"

    def test_availability_is_looked_at_when_it_would_be_promoted(self) -> None:
        assert decide(Measured(200, 4, 20.0)).verdict == "rollback"

    def test_an_unavailability_that_the_old_one_shares_is_not_the_new_ones(self) -> None:
        assert decide(Measured(200, 4, 20.0), Measured(200, 4, 20.0)).verdict == "promote"

    def test_one_failure_more_among_few_requests_is_chance(self) -> None:
        plan = CanaryPlan(step_seconds=60, min_requests=80)
        old = Measured(93, 1, 20.0)
        assert decide(Measured(90, 2, 20.0), old, plan=plan).verdict == "promote"
        assert decide(Measured(90, 4, 20.0), Measured(930, 9, 20.0), plan=plan).verdict == "rollback"


class TestTheLastMinute:
    LONG = Judgement("wait", "1000 of 5000 requests so far", {"elapsed_seconds": 500})

    def look(self, new: Measured, old: Measured = FINE, judgement: Judgement = LONG) -> Judgement:
        return judge_recent(PLAN, judgement, new=new, old=old)

    def test_one_that_turns_bad_late_goes_back(self) -> None:
        found = self.look(Measured(100, 6, 20.0))
        assert found.verdict == "rollback"
        assert found.reason.endswith("in the last minute")
        assert found.evidence["recent"]["candidate"]["errors"] == 6
        assert found.evidence["elapsed_seconds"] == 500
        assert self.look(Measured(100, 0, 41.0)).verdict == "rollback"

    def test_health_and_few_requests_change_nothing(self) -> None:
        assert self.look(FINE) is self.LONG
        assert self.look(Measured(99, 99, 900.0)) is self.LONG

    def test_what_goes_back_anyway_keeps_its_reason(self) -> None:
        bad = Judgement("rollback", "error rate", {})
        assert self.look(Measured(100, 100, 20.0), judgement=bad) is bad


class TestThePlan:
    @pytest.mark.parametrize("steps", [[], [50], [50, 25, 100], [100, 100], [0, 100], [101]])
    def test_steps_must_rise_to_a_hundred(self, steps: list[int]) -> None:
        with pytest.raises(ValueError):
            CanaryPlan(steps=steps)


class TestItsAnswers:
    PROMOTE = Judgement("promote", "no worse", {"elapsed_seconds": 90})

    def weighed(
        self,
        *,
        psi: float | None = 0.0,
        distinct: int = 500,
        baseline_distinct: int = 500,
        chance: float = 0.0,
        **plan: object,
    ) -> Judgement:
        answers = AnswersCompared(
            5000, 5000, psi, distinct=distinct, baseline_distinct=baseline_distinct, chance=chance
        )
        compared = Compared(answers, QualityCompared(None, 0, None, 0, None))
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

    @pytest.mark.parametrize("few", [{"distinct": 29}, {"baseline_distinct": 29}])
    def test_a_few_entities_prove_nothing_however_often_they_ask(self, few: dict[str, int]) -> None:
        assert self.weighed(psi=3.0, **few).verdict == "promote"
        assert self.weighed(psi=3.0, **dict.fromkeys(few, 30)).verdict == "rollback"

    def test_they_must_lie_farther_than_chance_puts_them(self) -> None:
        assert self.weighed(psi=0.84, chance=0.6).verdict == "promote"
        found = self.weighed(psi=0.86, chance=0.6)
        assert found.verdict == "rollback"
        assert "PSI 0.86 over 500 and 500 entities or inputs is above 0.85" in found.reason

    def test_a_plan_may_leave_them_out(self) -> None:
        assert self.weighed(psi=3.0, max_answer_shift=None).verdict == "promote"

    def test_without_answers_on_a_side_there_is_nothing_to_compare(self) -> None:
        assert self.weighed(psi=None, distinct=0).verdict == "promote"


class TestAnswersWithoutAValue:
    def weighed(
        self, empty: int, rows: int, *, baseline_empty: int = 0, verdict: Literal["promote", "wait"] = "wait"
    ) -> Judgement:
        compared = Compared(
            AnswersCompared(rows, 400, 0.0, empty=empty, baseline_empty=baseline_empty),
            QualityCompared(None, 0, None, 0, None),
        )
        return weigh(CanaryPlan(), Judgement(verdict, "so far", {}), compared)

    def test_they_count_as_errors_from_twenty_answers_on(self) -> None:
        found = self.weighed(20, 20)
        assert found.verdict == "rollback"
        assert "20 of 20 answers have no value" in found.reason
        assert self.weighed(19, 19).verdict == "wait"

    def test_a_quarter_of_them_is_enough(self) -> None:
        assert self.weighed(5, 20).verdict == "rollback"

    def test_one_of_twenty_is_not(self) -> None:
        assert self.weighed(1, 20).verdict == "wait"

    def test_what_the_old_revision_cannot_answer_either_is_not_the_new_ones_fault(self) -> None:
        assert self.weighed(10, 20, baseline_empty=200).verdict == "wait"

    def test_before_a_promotion_availability_is_asked_for(self) -> None:
        assert self.weighed(15, 500).verdict == "wait"
        assert self.weighed(15, 500, verdict="promote").verdict == "rollback"


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

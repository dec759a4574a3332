"""Slices beside the champion, and the differences among groups."""

from typing import Any

import pytest

from ml_platform.services.deployments.stages.fairness import assess_fairness, worse_slice

GROUPS = {
    "female": {
        "yes": {
            "rows": 200,
            "accuracy": 0.8,
            "positive_rate": 0.5,
            "true_positive_rate": 0.9,
            "false_positive_rate": 0.1,
        },
        "no": {
            "rows": 300,
            "accuracy": 0.8,
            "positive_rate": 0.2,
            "true_positive_rate": 0.6,
            "false_positive_rate": 0.3,
        },
    }
}


def part(rows: float = 400, **values: float) -> dict[str, dict[str, dict[str, float]]]:
    return {"contract": {"monthly": {"rows": rows, **values}}}


class TestSlices:
    def test_one_that_lost_accuracy_is_named(self) -> None:
        told = worse_slice(part(accuracy=0.7), part(accuracy=0.9), 0.05)
        assert told == (
            "where contract is monthly, accuracy is 0.7000 on 400 rows, and the champion has 0.9000"
        )

    def test_what_chance_or_the_tolerance_explains_is_not(self) -> None:
        assert worse_slice(part(accuracy=0.82), part(accuracy=0.9), 0.05) is None
        assert worse_slice(part(accuracy=0.95), part(accuracy=0.9), 0.05) is None

    def test_few_rows_and_slices_that_the_champion_lacks_prove_nothing(self) -> None:
        assert worse_slice(part(rows=99, accuracy=0.1), part(accuracy=0.9), 0.05) is None
        assert worse_slice(part(accuracy=0.1), {}, 0.05) is None
        assert worse_slice(part(accuracy=0.1), part(rmse=1.0), 0.05) is None

    def test_an_error_that_grew_by_more_than_a_fifth(self) -> None:
        assert worse_slice(part(rmse=1.3), part(rmse=1.0), 0.05) is not None
        assert worse_slice(part(rmse=1.2), part(rmse=1.0), 0.05) is None

    def test_the_worst_of_several(self) -> None:
        own = {"a": {"x": {"rows": 400, "accuracy": 0.6}, "y": {"rows": 400, "accuracy": 0.1}}}
        theirs = {"a": {"x": {"rows": 400, "accuracy": 0.9}, "y": {"rows": 400, "accuracy": 0.9}}}
        assert str(worse_slice(own, theirs, 0.05)).startswith("where a is y")


class TestFairness:
    def assess(self, slices: Any = GROUPS, **fairness: Any) -> tuple[dict[str, Any], str | None, bool]:
        return assess_fairness({"fairness": {"attributes": ["female"], **fairness}}, slices)

    def test_the_differences_are_those_of_the_rates(self) -> None:
        evidence, problem, complete = self.assess()
        found = evidence["attributes"]["female"]
        assert found["parity_difference"] == pytest.approx(0.3)
        assert found["odds_difference"] == pytest.approx(0.3)
        assert (problem, complete) == (None, True)

    def test_beyond_the_cards_own_limit_it_is_unfair(self) -> None:
        assert "demographic parity" in str(self.assess(max_parity_difference=0.2)[1])
        assert "equalised odds" in str(self.assess(max_odds_difference=0.25)[1])
        assert self.assess(max_parity_difference=0.31, max_odds_difference=0.31)[1] is None

    def test_what_cannot_be_measured_is_said_and_is_not_complete(self) -> None:
        small = {"female": {"yes": GROUPS["female"]["yes"], "no": GROUPS["female"]["no"] | {"rows": 29}}}
        for slices in ({}, small, part(rmse=1.0)):
            evidence, problem, complete = self.assess(slices, max_parity_difference=0.0)
            assert "not_measured" in evidence["attributes"]["female"]
            assert (problem, complete) == (None, False)

    @pytest.mark.parametrize(
        "card", [{}, {"fairness": None}, {"fairness": []}, {"fairness": {"attributes": "x"}}]
    )
    def test_without_declared_attributes_it_says_that_nothing_was_assessed(
        self, card: dict[str, Any]
    ) -> None:
        evidence, problem, complete = assess_fairness(card, GROUPS)
        assert (evidence["assessed"], problem, complete) == (False, None, True)

    def test_a_limit_that_is_no_number_limits_nothing(self) -> None:
        assert self.assess(max_parity_difference="low", max_odds_difference=True)[1] is None

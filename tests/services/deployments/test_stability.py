"""Moving numbers a little, and judging what the answers make of it."""

from typing import Any

import pytest

from ml_platform.services.deployments.stages.stability import Limits, assess, limits_of, move

LIMITS = Limits(share=0.05, max_changed=0.2, max_mean_change=0.25)


ROWS = [
    {"age": 20 + n, "income": 1000.0 * n, "city": "ab"[n % 2], "member": n % 3 == 0, "always": 7.0}
    for n in range(200)
]


class TestMoving:
    def test_numbers_that_vary_are_moved_and_nothing_else_is(self) -> None:
        moved, columns = move(ROWS, 0.05, "seed")
        assert columns == ["age", "income"]
        for before, after in zip(ROWS, moved, strict=True):
            assert {**after, "age": 0, "income": 0} == {**before, "age": 0, "income": 0}
            assert isinstance(after["age"], int)
        assert sum(a["income"] != b["income"] for a, b in zip(ROWS, moved, strict=True)) > 190

    def test_by_the_share_of_their_deviation(self) -> None:
        moved, _ = move(ROWS, 0.05, "seed")
        differences = [b["income"] - a["income"] for a, b in zip(ROWS, moved, strict=True)]
        deviation = 1000.0 * 57.7
        spread = (sum(d * d for d in differences) / len(differences)) ** 0.5
        assert spread == pytest.approx(0.05 * deviation, rel=0.2)

    def test_the_same_seed_moves_the_same(self) -> None:
        assert move(ROWS, 0.05, "a") == move(ROWS, 0.05, "a")
        assert move(ROWS, 0.05, "a") != move(ROWS, 0.05, "b")

    def test_gaps_stay_gaps_and_lists_stay_lists(self) -> None:
        moved, columns = move([[1.0, None], [2.0, 3.0], [None, 4.0]], 0.05, "seed")
        assert columns == ["0", "1"]
        assert [type(row) for row in moved] == [list, list, list]
        assert (moved[0][1], moved[2][0]) == (None, None)

    def test_a_column_of_mixed_kinds_and_no_rows_at_all_are_left_alone(self) -> None:
        assert move([{"x": 1}, {"x": "two"}], 0.05, "seed")[1] == []
        assert move([], 0.05, "seed") == ([], [])


class TestJudging:
    def test_decisions_that_hold_are_stable(self) -> None:
        evidence, problem = assess([(0.9, 0.88), (0.1, 0.12)] * 50, ["x"], LIMITS)
        assert problem is None
        assert (evidence["changed_decisions"], evidence["rows"]) == (0.0, 100)
        assert 0 < evidence["mean_change"] < 0.1

    def test_too_many_that_flip_are_not(self) -> None:
        pairs = [(0.49, 0.51)] * 30 + [(0.9, 0.9)] * 70
        evidence, problem = assess(pairs, ["x"], LIMITS)
        assert evidence["changed_decisions"] == pytest.approx(0.3)
        assert problem is not None
        assert "30.0% of the decisions change" in problem
        assert "allowed: 20%" in problem

    def test_labels_are_decisions(self) -> None:
        evidence, problem = assess([("yes", "no")] * 30 + [("yes", "yes")] * 70, ["x"], LIMITS)
        assert evidence["mean_change"] is None
        assert problem is not None

    def test_amounts_are_judged_by_how_far_they_move(self) -> None:
        calm = [(float(n), n + 0.5) for n in range(100)]
        wild = [(float(n), n + 20.0) for n in range(100)]
        assert assess(calm, ["x"], LIMITS)[1] is None
        evidence, problem = assess(wild, ["x"], LIMITS)
        assert evidence["changed_decisions"] is None
        assert evidence["mean_change"] == pytest.approx(20 / 28.866, rel=1e-3)
        assert problem is not None
        assert "of their standard deviation on average" in problem

    def test_answers_that_never_change_are_stable(self) -> None:
        evidence, problem = assess([(5.0, 5.0)] * 40, ["x"], LIMITS)
        assert (evidence["mean_change"], problem) == (0.0, None)

    def test_shares_of_classes_are_decided_by_the_largest(self) -> None:
        evidence, _ = assess([([0.2, 0.8], [0.6, 0.4]), ([0.2, 0.8], [0.3, 0.7])], ["x"], LIMITS)
        assert evidence["changed_decisions"] == 0.5


class TestTheCardsLimits:
    @pytest.mark.parametrize(
        "card",
        [
            {},
            {"stability": None},
            {"stability": []},
            {"stability": {"share": "1", "max_changed": True, "max_mean_change": -1}},
            {"stability": {"share": 0, "max_changed": float("nan")}},
        ],
    )
    def test_what_it_does_not_say_is_the_default(self, card: dict[str, Any]) -> None:
        assert limits_of(card) == LIMITS

    def test_its_own_count(self) -> None:
        found = limits_of({"stability": {"share": 0.1, "max_changed": 0.5, "max_mean_change": 2}})
        assert found == Limits(0.1, 0.5, 2.0)

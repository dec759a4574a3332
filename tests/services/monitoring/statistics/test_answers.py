"""The distance between what two revisions answered."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.services.deployments.canary import Judgement, weigh
from ml_platform.services.deployments.interfaces import AnswersCompared, Compared, QualityCompared
from ml_platform.services.monitoring.statistics import (
    Answered,
    AnswerShift,
    compare_answers,
    count_empty,
    shift_of,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RANDOM = np.random.default_rng(7)
Values = npt.NDArray[np.float64]


def numbers(values: Values) -> list[Answered]:
    found, counts = np.unique(values, return_counts=True)
    return [
        Answered(float(value), str(value), int(count), float(count))
        for value, count in zip(found, counts, strict=True)
    ]


def labels(**counts: int) -> list[Answered]:
    return [Answered(None, f'"{name}"', number, number) for name, number in counts.items()]


def goes_back(found: AnswerShift) -> bool:
    """Whether a canary with the default plan is rolled back for it."""
    answers = AnswersCompared(
        rows=found.rows,
        baseline_rows=found.baseline_rows,
        psi=found.psi,
        bins=found.bins,
        distinct=found.distinct,
        baseline_distinct=found.baseline_distinct,
        chance=found.chance,
    )
    compared = Compared(answers, QualityCompared(None, 0, None, 0, None))
    return weigh(CanaryPlan(), Judgement("wait", "so far", {}), compared).verdict == "rollback"


class TestShift:
    def test_the_same_distribution_is_near(self) -> None:
        found = shift_of(numbers(RANDOM.beta(2, 5, 500)), numbers(RANDOM.beta(2, 5, 3000)))
        assert found.psi is not None
        assert found.psi < 0.1

    def test_another_distribution_is_far(self) -> None:
        found = shift_of(numbers(RANDOM.beta(5, 2, 500)), numbers(RANDOM.beta(2, 5, 3000)))
        assert found.psi is not None
        assert found.psi > 1

    def test_a_constant_answer_is_far_from_a_spread_one_and_near_itself(self) -> None:
        spread, constant = numbers(RANDOM.random(500)), numbers(np.full(500, 0.5))
        far, near = shift_of(constant, spread), shift_of(constant, constant)
        assert far.psi is not None
        assert far.psi > 1
        assert near.psi == 0
        assert (shift_of(numbers(np.full(500, 0.7)), constant).psi or 0) > 1

    def test_labels_are_compared_by_how_often_each_comes(self) -> None:
        old = labels(yes=300, no=700)
        assert shift_of(labels(no=700, yes=300), old).psi == 0
        assert (shift_of(labels(yes=700, no=300), old).psi or 0) > 0.25
        assert (shift_of(labels(perhaps=1000), old).psi or 0) > 1

    def test_leaves_of_a_tree_that_moved_a_little_are_near(self) -> None:
        old = [Answered(value, str(value), 100, 100) for value in (0.12, 0.31, 0.64)]
        moved = [Answered(value, str(value), 100, 100) for value in (0.11, 0.33, 0.61)]
        assert shift_of(moved, old).psi == 0
        assert (shift_of([moved[2]], old).psi or 0) > 1

    def test_classes_that_are_numbers_are_labels(self) -> None:
        old = [Answered(float(number), str(number), 50, 50) for number in range(6)]
        assert shift_of(old, old).bins == 6
        assert (shift_of([old[3]], old).psi or 0) > 1

    @pytest.mark.parametrize("text", ["null", None, "[null, null]"])
    def test_answers_without_a_value_are_far_from_numbers_and_counted(self, text: str | None) -> None:
        old = numbers(RANDOM.random(1000))
        found = shift_of([Answered(None, text, 100, 100)], old)
        assert (found.rows, found.empty, found.baseline_empty) == (100, 100, 0)
        assert (found.psi or 0) > 1
        mixed = shift_of([*old[:50], Answered(None, text, 50, 50)], old)
        assert (mixed.empty, mixed.bins) == (50, 4)
        assert (mixed.psi or 0) > 1

    def test_a_label_that_reads_null_is_a_value(self) -> None:
        assert shift_of(labels(null=10), labels(null=10)).empty == 0

    def test_both_sides_without_values_are_alike(self) -> None:
        nothing = [Answered(None, "null", 100, 100)]
        found = shift_of(nothing, nothing)
        assert (found.psi, found.empty, found.baseline_empty) == (0, 100, 100)

    def test_without_answers_there_is_no_distance(self) -> None:
        assert shift_of([], numbers(RANDOM.random(10))).psi is None
        assert shift_of(numbers(RANDOM.random(10)), []).psi is None

    def test_what_was_answered_often_to_one_entity_counts_once(self) -> None:
        old = numbers(RANDOM.random(400))
        often = [row._replace(times=50) for row in old]
        found = shift_of(often, old)
        assert (found.psi, found.rows, found.distinct) == (0, 20_000, 400)
        assert found.chance == shift_of(old, old).chance

    def test_chance_is_less_the_more_entities_there_are(self) -> None:
        old = numbers(RANDOM.random(1000))
        chances = [shift_of(old[:rows], old).chance for rows in (30, 100, 1000)]
        assert chances == sorted(chances, reverse=True)
        assert chances[0] < 1


class TestHowOftenItErrs:
    """A short form of `make canary-errors`, by the default plan."""

    LOOKS = (30, 40, 60, 100, 200, 500)
    SHARES = (0.05, 0.25, 0.5)

    def canary(self, new: Values, old: Values, share: float) -> bool:
        """Whether one of many looks at a growing number of answers sends it back."""
        each = [(seen, int(seen * (1 - share) / share)) for seen in self.LOOKS]
        return any(goes_back(shift_of(numbers(new[:n]), numbers(old[:m]))) for n, m in each)

    @pytest.mark.parametrize("share", SHARES)
    def test_a_good_one_is_never_sent_back(self, share: float) -> None:
        most = int(500 / share)
        for _ in range(40):
            new, old = (np.round(RANDOM.beta(2, 5, size), 2) for size in (500, most))
            assert not self.canary(new, old, share)

    def test_one_that_is_surer_of_the_same_is_never_sent_back(self) -> None:
        for _ in range(40):
            score = RANDOM.normal(-1.2, 1.2, 10_500)
            hesitant = np.round(1 / (1 + np.exp(-0.75 * score + 0.3)), 2)
            sure = np.round(1 / (1 + np.exp(-score)), 2)
            assert not self.canary(sure[10_000:], hesitant[:10_000], 0.05)

    @pytest.mark.parametrize("share", SHARES)
    def test_one_that_lies_two_deviations_off_is_found_from_sixty_entities(self, share: float) -> None:
        for _ in range(40):
            old = RANDOM.normal(50, 15, int(60 * (1 - share) / share))
            assert goes_back(shift_of(numbers(RANDOM.normal(80, 15, 60)), numbers(old)))

    @pytest.mark.parametrize("share", SHARES)
    def test_one_that_answers_always_the_same_is_found_from_forty_entities(self, share: float) -> None:
        for _ in range(40):
            old = RANDOM.beta(2, 5, int(40 * (1 - share) / share))
            assert goes_back(shift_of(numbers(np.full(40, RANDOM.random())), numbers(old)))

    @pytest.mark.parametrize("share", SHARES)
    def test_one_that_says_another_class_is_found_from_forty_entities(self, share: float) -> None:
        most = int(40 * (1 - share) / share)
        for _ in range(40):
            yes = int(RANDOM.binomial(most, 0.3))
            assert goes_back(shift_of(labels(yes=40), labels(yes=yes, no=most - yes)))

    def test_one_deviation_is_found_from_two_hundred(self) -> None:
        for _ in range(40):
            old = numbers(RANDOM.normal(50, 15, 3800))
            assert goes_back(shift_of(numbers(RANDOM.normal(65, 15, 200)), old))


class TestReading:
    def file(
        self, folder: Path, name: str, revision: str, answers: Sequence[float | None], **columns: Any
    ) -> Path:
        rows = len(answers)
        fixed = {"deployment_id": "dep", "revision_id": revision, "status": 200, "time": NOW} | columns
        table: dict[str, Any] = {
            key: value if isinstance(value, list) else [value] * rows for key, value in fixed.items()
        }
        table |= {"prediction": answers, "prediction_json": [json.dumps(value) for value in answers]}
        path = folder / f"{name}.parquet"
        pl.DataFrame(table).write_parquet(path)
        return path

    def compared(self, *files: Path) -> AnswerShift:
        return compare_answers(
            files,
            deployment_id="dep",
            candidate="new",
            baseline={"old"},
            since=NOW - timedelta(minutes=1),
            until=NOW + timedelta(minutes=1),
        )

    def test_only_this_endpoints_answers_of_the_window_count(self, tmp_path: Path) -> None:
        each = [float(number) for number in range(300)]
        ones, twos = [1.0] * 300, [2.0] * 300
        files = [
            self.file(tmp_path, "new", "new", ones, f_x0=each),
            self.file(tmp_path, "old", "old", ones, f_x0=each),
            self.file(tmp_path, "earlier", "new", twos, f_x0=each, time=NOW - timedelta(hours=1)),
            self.file(tmp_path, "failed", "new", twos, f_x0=each, status=500),
            self.file(tmp_path, "other", "new", twos, f_x0=each, deployment_id="another"),
            self.file(tmp_path, "shadow", "shadow", twos, f_x0=each),
        ]
        found = self.compared(*files)
        assert (found.rows, found.baseline_rows, found.psi) == (300, 300, 0.0)
        assert (found.distinct, found.baseline_distinct) == (300, 300)
        nothing = compare_answers(
            [], deployment_id="dep", candidate="new", baseline={"old"}, since=NOW, until=NOW
        )
        assert (nothing.rows, nothing.psi) == (0, None)

    def test_an_entity_that_comes_back_counts_once_also_with_other_inputs(self, tmp_path: Path) -> None:
        def keys(count: int) -> list[str]:
            return [json.dumps({"customer": number % count}) for number in range(400)]

        drawn = [float(value) for value in RANDOM.random(400)]
        found = self.compared(
            self.file(tmp_path, "new", "new", [5.0] * 400, f_x0=drawn, entity_keys=keys(8)),
            self.file(tmp_path, "old", "old", drawn, f_x0=drawn, entity_keys=keys(200)),
        )
        assert (found.rows, found.distinct, found.baseline_distinct) == (400, 8, 200)
        assert (found.psi or 0) > 1
        assert not goes_back(found), "eight customers are no sample, however often they ask"

    def test_the_same_input_counts_once_and_other_params_make_another(self, tmp_path: Path) -> None:
        few = [float(number % 20) for number in range(400)]
        found = self.compared(
            self.file(tmp_path, "new", "new", few, f_x0=few, f_x1=1.0, params='{"top": 1}'),
            self.file(
                tmp_path, "old", "old", few, f_x0=few, f_x1=few[::-1], params=['{"top": 1}', None] * 200
            ),
        )
        assert (found.distinct, found.baseline_distinct) == (20, 20)

    def test_without_keys_and_inputs_each_answer_is_one(self, tmp_path: Path) -> None:
        values = [float(value) for value in RANDOM.random(50)]
        found = self.compared(
            self.file(tmp_path, "new", "new", values), self.file(tmp_path, "old", "old", values)
        )
        assert (found.distinct, found.baseline_distinct, found.psi) == (50, 50, 0.0)

    def test_what_has_no_value_is_counted_by_revision(self, tmp_path: Path) -> None:
        files = [
            self.file(tmp_path, "new", "new", [1.0, None, None], f_x0=1.0),
            self.file(tmp_path, "old", "old", [None, 1.0], f_x0=1.0),
        ]

        def counted(*revisions: str) -> tuple[int, int]:
            return count_empty(
                files,
                deployment_id="dep",
                revisions=revisions,
                since=NOW - timedelta(minutes=1),
                until=NOW + timedelta(minutes=1),
            )

        assert (counted("new"), counted("old"), counted("new", "old")) == ((3, 2), (2, 1), (5, 3))
        assert counted("nobody") == (0, 0)
        assert counted() == (0, 0)

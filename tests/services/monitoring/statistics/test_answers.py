"""The distance between what two revisions answered."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.services.deployments.canary import Judgement, weigh
from ml_platform.services.deployments.interfaces import AnswersCompared, Compared, QualityCompared
from ml_platform.services.monitoring.statistics import compare_answers, shift_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RANDOM = np.random.default_rng(7)


def numbers(values: np.ndarray) -> list[tuple[float | None, str | None]]:
    return [(float(value), str(value)) for value in values]


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

    def test_labels_are_compared_by_how_often_each_comes(self) -> None:
        old = [(None, '"yes"')] * 300 + [(None, '"no"')] * 700
        same, swapped = old[::-1], [(None, '"yes"')] * 700 + [(None, '"no"')] * 300
        assert shift_of(same, old).psi == 0
        assert (shift_of(swapped, old).psi or 0) > 0.25
        assert (shift_of([(None, '"perhaps"')] * 1000, old).psi or 0) > 1

    @pytest.mark.parametrize("text", ["null", None, "[null, null]"])
    def test_answers_without_a_value_are_far_from_numbers_and_counted(self, text: str | None) -> None:
        old = numbers(RANDOM.random(1000))
        found = shift_of([(None, text)] * 100, old)
        assert (found.rows, found.empty, found.baseline_empty) == (100, 100, 0)
        assert (found.psi or 0) > 1
        mixed = shift_of([*old[:50], *[(None, text)] * 50], old)
        assert (mixed.empty, mixed.bins) == (50, 11)
        assert (mixed.psi or 0) > 1

    def test_a_label_that_reads_null_is_a_value(self) -> None:
        assert shift_of([(None, '"null"')] * 10, [(None, '"null"')] * 10).empty == 0

    def test_both_sides_without_values_are_alike(self) -> None:
        nothing: list[tuple[float | None, str | None]] = [(None, "null")] * 100
        found = shift_of(nothing, nothing)
        assert (found.psi, found.empty, found.baseline_empty) == (0, 100, 100)

    def test_chance_alone_stays_below_what_a_canary_allows_at_few_answers(self) -> None:
        rejected = 0
        for _ in range(300):
            found = shift_of(numbers(RANDOM.random(30)), numbers(RANDOM.random(570)))
            compared = AnswersCompared(found.rows, found.baseline_rows, found.psi, bins=found.bins)
            nothing = QualityCompared(None, 0, None, 0, None)
            judged = weigh(CanaryPlan(), Judgement("wait", "so far", {}), Compared(compared, nothing))
            rejected += judged.verdict == "rollback"
        assert rejected == 0

    def test_without_answers_there_is_no_distance(self) -> None:
        assert shift_of([], numbers(RANDOM.random(10))).psi is None
        assert shift_of(numbers(RANDOM.random(10)), []).psi is None

    @pytest.mark.parametrize("rows", [200, 500])
    def test_chance_alone_stays_below_the_limit(self, rows: int) -> None:
        found = [
            shift_of(numbers(RANDOM.random(rows)), numbers(RANDOM.random(rows))).psi or 0 for _ in range(200)
        ]
        assert max(found) < 0.25


class TestReading:
    def test_only_this_endpoints_answers_of_the_window_count(self, tmp_path: Path) -> None:
        def file(name: str, revision: str, value: float, *, at: datetime = NOW, **changes: object) -> Path:
            rows = 300
            pl.DataFrame(
                {
                    "deployment_id": [changes.get("deployment", "dep")] * rows,
                    "revision_id": [revision] * rows,
                    "status": [changes.get("status", 200)] * rows,
                    "time": [at] * rows,
                    "prediction": [value] * rows,
                    "prediction_json": [str(value)] * rows,
                }
            ).write_parquet(tmp_path / f"{name}.parquet")
            return tmp_path / f"{name}.parquet"

        files = [
            file("new", "new", 1.0),
            file("old", "old", 1.0),
            file("earlier", "new", 2.0, at=NOW - timedelta(hours=1)),
            file("failed", "new", 2.0, status=500),
            file("other", "new", 2.0, deployment="another"),
            file("shadow", "shadow", 2.0),
        ]
        found = compare_answers(
            files,
            deployment_id="dep",
            candidate="new",
            baseline={"old"},
            since=NOW - timedelta(minutes=1),
            until=NOW + timedelta(minutes=1),
        )
        assert (found.rows, found.baseline_rows, found.psi) == (300, 300, 0.0)
        nothing = compare_answers(
            [], deployment_id="dep", candidate="new", baseline={"old"}, since=NOW, until=NOW
        )
        assert (nothing.rows, nothing.psi) == (0, None)

"""Arms out of the log: who counts, for what, and with which labels."""

from datetime import timedelta
from pathlib import Path

import pytest

from ml_platform.contracts.trials import Metric
from ml_platform.services.trials.statistics import ArmsRead, read_arms
from tests.services.trials.statistics.logs import START, UNTIL, labels, row, write


def read(
    *files: Path,
    truth: Path | None = None,
    metric: Metric = Metric.ERROR_RATE,
    positive: bool | float | str = True,
) -> ArmsRead:
    return read_arms(
        files,
        [truth] if truth is not None else [],
        deployment_id="dep",
        revisions=["a", "b"],
        since=START,
        until=UNTIL,
        metrics={metric},
        positive=positive,
    )


class TestUnits:
    def test_without_stickiness_a_request_is_one(self, tmp_path: Path) -> None:
        rows = [row(f"r{number}", "a") for number in range(5)] + [row("x", "b", None)]
        found = read(write(tmp_path / "log.parquet", rows))
        assert (found.arms["a"].units, found.arms["b"].units, found.crossed) == (5, 1, 0)
        assert (found.arms["a"].errors, found.arms["b"].errors) == (0, 1)

    def test_a_caller_who_is_kept_is_one_however_often_they_ask(self, tmp_path: Path) -> None:
        rows = [
            row(f"r{number}", "a", None if number == 3 else 1.0, unit=f"u{number % 2}") for number in range(6)
        ]
        found = read(write(tmp_path / "log.parquet", rows)).arms["a"]
        assert (found.units, found.requests, found.errors) == (2, 6, 1)
        sums = found.sums[Metric.ERROR_RATE]
        assert (sums.units, sums.x, sums.y, sums.xx, sums.yy, sums.xy) == (2, 6, 1, 18, 1, 3)

    def test_those_that_came_to_two_arms_are_counted(self, tmp_path: Path) -> None:
        rows = [row("r1", "a", unit="u"), row("r2", "b", unit="u"), row("r3", "b", unit="v")]
        assert read(write(tmp_path / "log.parquet", rows)).crossed == 1

    def test_instances_of_one_request_are_one_request(self, tmp_path: Path) -> None:
        rows = [row("r1", "a", float(number), instance=number) for number in range(4)]
        found = read(write(tmp_path / "log.parquet", rows), metric=Metric.MEAN_ANSWER).arms["a"]
        assert found.requests == 1
        assert found.sums[Metric.MEAN_ANSWER].mean == pytest.approx(1.5)

    def test_files_from_before_there_were_units_are_read(self, tmp_path: Path) -> None:
        old = write(tmp_path / "old.parquet", [row("r1", "a")], without="unit")
        assert read(old).arms["a"].units == 1
        new = write(tmp_path / "new.parquet", [row("r2", "a", unit="u"), row("r3", "a", unit="u")])
        assert read(old, new).arms["a"].units == 2


class TestWhatCounts:
    def test_other_deployments_revisions_and_times_do_not(self, tmp_path: Path) -> None:
        rows = [
            row("r1", "a"),
            row("r2", "a", deployment_id="other"),
            row("r3", "shadow"),
            row("r4", "a", time=START - timedelta(seconds=1)),
            row("r5", "a", time=UNTIL),
        ]
        found = read(write(tmp_path / "log.parquet", rows))
        assert {name: arm.requests for name, arm in found.arms.items()} == {"a": 1}

    def test_no_files_are_no_arms(self) -> None:
        assert read().arms == {}

    def test_answers_that_are_no_numbers_have_no_mean(self, tmp_path: Path) -> None:
        found = read(write(tmp_path / "log.parquet", [row("r1", "a", "yes")]), metric=Metric.MEAN_ANSWER)
        assert found.arms["a"].sums == {}


class TestLabels:
    def test_conversion_is_the_share_of_positive_labels_of_those_that_arrived(self, tmp_path: Path) -> None:
        log = write(tmp_path / "log.parquet", [row(f"r{n}", "a") for n in range(10)] + [row("s", "b")])
        truth = labels(tmp_path / "labels.parquet", {"r0": 1, "r1": 0, "r2": 1, "r3": 1})
        found = read(log, truth=truth, metric=Metric.CONVERSION)
        sums = found.arms["a"].sums[Metric.CONVERSION]
        assert (found.arms["a"].units, sums.units, sums.mean) == (10, 4, 0.75)
        assert Metric.CONVERSION not in found.arms["b"].sums

    def test_the_positive_label_may_be_a_text(self, tmp_path: Path) -> None:
        log = write(tmp_path / "log.parquet", [row(f"r{n}", "a") for n in range(3)])
        truth = labels(tmp_path / "labels.parquet", {"r0": "bought", "r1": "left", "r2": "it's"})
        for positive in ("bought", "it's"):
            found = read(log, truth=truth, metric=Metric.CONVERSION, positive=positive)
            assert found.arms["a"].sums[Metric.CONVERSION].mean == pytest.approx(1 / 3)

    def test_an_outcome_is_the_mean_of_labels(self, tmp_path: Path) -> None:
        log = write(tmp_path / "log.parquet", [row("r0", "a", unit="u"), row("r1", "a", unit="u")])
        truth = labels(tmp_path / "labels.parquet", {"r0": 10.0, "r1": 20.0})
        sums = read(log, truth=truth, metric=Metric.OUTCOME).arms["a"].sums[Metric.OUTCOME]
        assert (sums.units, sums.mean) == (1, 15.0)

"""A shadow beside what served: only the same requests count, and failures are no answers."""

from pathlib import Path

import pytest

from ml_platform.services.monitoring.statistics import AnswerKind
from ml_platform.services.trials.statistics import PairsRead, read_pairs
from tests.services.trials.statistics.logs import START, UNTIL, row, write


def read(path: Path, kind: AnswerKind | None = None) -> PairsRead:
    return read_pairs(
        [path],
        deployment_id="dep",
        shadow="dark",
        others=["old", "live"],
        since=START,
        until=UNTIL,
        kind=kind,
    )


class TestReadPairs:
    def test_joins_by_request_and_instance(self, tmp_path: Path) -> None:
        rows = [row(f"r{n}", "live", float(n), instance=n % 2) for n in range(10)]
        rows += [row(f"r{n}", "dark", float(n) + (0.5 if n < 4 else 0.0), instance=n % 2) for n in range(8)]
        rows += [row("r8", "dark", 1.0, instance=7), row("r9", "other", 1.0)]
        found = read(write(tmp_path / "log.parquet", rows))
        assert (found.compared, found.agreed, found.failed) == (8, 4, 0)
        assert found.mean_difference == pytest.approx(0.25)
        assert found.mean_absolute_difference == pytest.approx(0.25)
        assert found.largest_difference == pytest.approx(0.5)
        assert found.models == ("1",)

    def test_what_it_failed_at_is_counted_and_not_compared(self, tmp_path: Path) -> None:
        rows = [row(f"r{n}", "live", 1.0) for n in range(4)]
        rows += [row(f"r{n}", "dark", None if n == 0 else 1.0) for n in range(4)]
        found = read(write(tmp_path / "log.parquet", rows))
        assert (found.compared, found.agreed, found.failed) == (3, 3, 1)

    def test_of_probabilities_the_side_of_a_half_has_to_agree(self, tmp_path: Path) -> None:
        rows = [
            row("r0", "live", 0.2),
            row("r0", "dark", 0.4),
            row("r1", "live", 0.4),
            row("r1", "dark", 0.6),
        ]
        kind = AnswerKind("classification", probability=True, classes=(False, True))
        assert read(write(tmp_path / "log.parquet", rows), kind).agreed == 1

    def test_labels_agree_when_they_are_the_same(self, tmp_path: Path) -> None:
        rows = [
            row("r0", "live", "yes"),
            row("r0", "dark", "yes"),
            row("r1", "live", "yes"),
            row("r1", "dark", "no"),
        ]
        found = read(write(tmp_path / "log.parquet", rows))
        assert (found.compared, found.agreed, found.mean_difference) == (2, 1, None)

    def test_an_id_that_came_twice_is_joined_once_with_the_nearest(self, tmp_path: Path) -> None:
        later = START.replace(minute=30)
        rows = [
            row("r0", "live", 1.0),
            row("r0", "live", 9.0, time=later),
            row("r0", "dark", 9.0, time=later),
        ]
        found = read(write(tmp_path / "log.parquet", rows))
        assert (found.compared, found.agreed) == (1, 1)

    def test_without_a_common_request_there_is_nothing(self, tmp_path: Path) -> None:
        found = read(write(tmp_path / "log.parquet", [row("r0", "live"), row("r1", "dark")]))
        assert (found.compared, found.psi, found.shadow_latency) == (0, None, (None, None))

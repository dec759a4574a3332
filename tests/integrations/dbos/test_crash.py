import random
from itertools import product
from pathlib import Path

import pytest

from ml_platform.integrations.dbos.crash import CrashPoint
from tests.integrations.dbos.crash_program import Sink, deliver, expected_effects
from tests.support.crash import Function, crash_and_resume, kill_at_random

MOMENTS = ("before", "between", "after")


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    return Sink(tmp_path / "sink.db")


def program(database_url: str, tmp_path: Path, items: list[str]) -> Function:
    return Function(deliver, (database_url, tmp_path / "sink.db", items), tmp_path / "log.txt")


class TestCrashPoints:
    @pytest.mark.slow
    def test_killed_at_every_point_in_turn_each_effect_happens_once(self, database_url, tmp_path, sink):
        points = [
            "run:before",
            *(f"{step}:{moment}" for step, moment in product(("build", "check"), MOMENTS)),
            "receive.approval:before",
            "receive.approval:after",
            *(f"deploy:{moment}" for moment in MOMENTS),
            "sleep:after",
            *(f"announce:{moment}" for moment in MOMENTS),
            "run:between",
        ]
        crash_and_resume(
            program(database_url, tmp_path, ["model_1"]), [f"delivery:{point}" for point in points]
        )
        assert sink.effects() == expected_effects(["model_1"])
        # Killed between effect and record it is tried again; before or after, it is not.
        assert set(sink.tries().values()) == {2}

    @pytest.mark.slow
    def test_killed_at_random_each_effect_happens_once(self, database_url, tmp_path, sink):
        items = [f"model_{i}" for i in range(5)]
        hit = kill_at_random(
            program(database_url, tmp_path, items), kills=25, longest=0.6, chance=random.Random(7)
        )
        assert hit >= 10
        assert sink.effects() == expected_effects(items)

    def test_the_second_run_of_a_program_changes_nothing(self, database_url, tmp_path, sink):
        for _ in range(2):
            crash_and_resume(program(database_url, tmp_path, ["model_1"]), [])
        assert set(sink.tries().values()) == {1}


class TestFromEnvironment:
    def test_nothing_set_is_nowhere(self):
        CrashPoint.from_environment({}).reach("a", "b", "before")

    @pytest.mark.parametrize("text", ["a:b", "a:b:during", "a:b:after:0", "a:b:after:x", "a:b:c:d:e"])
    def test_a_malformed_point_is_refused(self, text):
        with pytest.raises(ValueError):
            CrashPoint.from_environment({"MLOPS_CRASH_AT": text})

    def test_other_places_are_passed_and_occurrences_counted(self):
        point = CrashPoint.from_environment({"MLOPS_CRASH_AT": "train:fit:between:3"})
        for place in (("train", "fit", "before"), ("train", "x", "between"), ("y", "fit", "between")):
            point.reach(*place)
        assert point.remaining == 3
        point.reach("train", "fit", "between")
        assert point.remaining == 2

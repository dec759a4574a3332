"""Requests a second: by key and by team, summed over the workers, and given back with time."""

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from ml_platform.inference.errors import TooManyRequests
from ml_platform.inference.limits import Limits
from ml_platform.inference.routing import Key, RoutingTable

from .support.control import CALLER, endpoint, revision, snapshot
from .support.server import eventually


def key(
    name: str = "a", *, team: str = "red", rate: float | None = None, team_rate: float | None = None
) -> Key:
    return Key(name, team, frozenset({"predict"}), None, rate, team_rate)


def table(*keys: Key, version: int = 1) -> RoutingTable:
    return RoutingTable(version=version, keys={one.key_id: one for one in keys}, routes={}, shadows={})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workers(tmp_path: Path, clock: Clock) -> list[Limits]:
    return [Limits(tmp_path / "cells", number, 2, clock) for number in range(2)]


def passed(limits: list[Limits], one: Key, known: RoutingTable, tries: int) -> int:
    count = 0
    for number in range(tries):
        try:
            limits[number % len(limits)].check(one, known)
        except TooManyRequests:
            continue
        count += 1
    return count


class TestCheck:
    def test_a_key_without_a_limit_is_never_refused(self, workers) -> None:
        one = key()
        assert passed(workers, one, table(one), 10_000) == 10_000

    def test_a_key_passes_as_often_as_its_limit_over_all_workers(self, workers) -> None:
        one = key(rate=10)
        assert passed(workers, one, table(one), 50) == 10

    def test_time_gives_it_back(self, workers, clock) -> None:
        one = key(rate=10)
        assert passed(workers, one, table(one), 50) == 10
        clock.now += 1.5  # half of the second before still counts
        assert passed(workers, one, table(one), 50) == 5
        clock.now += 10
        assert passed(workers, one, table(one), 50) == 10

    def test_no_second_sees_more_than_the_limit_of_a_steady_flood(self, workers, clock) -> None:
        one = key(rate=20)
        times = []
        for _ in range(5000):
            clock.now += 0.002
            if passed(workers, one, table(one), 1):
                times.append(clock.now)
        worst = max(sum(start <= t < start + 1 for t in times) for start in times)
        assert worst <= 21
        assert len(times) >= 0.9 * 20 * 10

    def test_a_team_has_one_limit_for_all_of_its_keys(self, workers) -> None:
        red, other, blue = key("a", team_rate=10), key("b", team_rate=10), key("c", team="blue")
        known = table(red, other, blue)
        assert passed(workers, red, known, 6) == 6
        assert passed(workers, other, known, 50) == 4
        assert passed(workers, blue, known, 50) == 50

    def test_a_new_snapshot_with_other_keys_goes_on(self, workers) -> None:
        one, other = key("m", rate=10), key("a", rate=10)
        assert passed(workers, one, table(one), 50) == 10
        assert passed(workers, one, table(one, other, version=2), 50) <= 10


class TestServer:
    def test_answers_429_with_retry_after_and_stays_quick_for_others(self, control, make_server, one) -> None:
        wanted = snapshot(1, endpoint(revision(one)))
        bounded = tuple(
            msgspec.structs.replace(k, requests_per_second=5.0) if k.team is not None else k
            for k in wanted.keys
        )
        control.publish(msgspec.structs.replace(wanted, keys=bounded))
        server = make_server(workers=2).start()
        server.has_applied(control.snapshot)
        eventually(lambda: server.predict([[1.0]]).status_code == 200, "an answer")
        answers = [server.predict([[1.0]]) for _ in range(40)]
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {200, 429}
        assert statuses[200] <= 10
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert json.loads(refused.content)["error"] == "this API key may send 5 requests a second"
        assert CALLER not in refused.text

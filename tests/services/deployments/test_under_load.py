"""A whole rollout by the platform's own API while callers ask without pause: nobody is refused anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.inference.support.callers import Callers
from tests.inference.support.server import Server
from tests.support.crash import eventually
from tests.support.rollouts import LOW, Bench

_OLD, _NEW = 2.0, 6.0


@contextmanager
def asked_for(bench: Bench, accepted: dict[str, Any]) -> Iterator[Callers]:
    """Callers over three protocols of what this rollout deploys."""
    address = urlsplit(accepted["endpoint"])
    prefix, _, rest = address.path.partition("/v1/models/")
    assert address.port is not None
    with Callers(
        address.port, rest.partition(":")[0], prefix=prefix, token=bench.engineer.token, each=1
    ) as callers:
        yield callers


def answered(callers: Callers, *values: float) -> bool:
    """Whether each caller's last answers are all among these, and each of these is there."""
    last = {a.caller: a.value for a in callers.answers}
    recent = [a.value for a in callers.answers[-60:]]
    return set(last.values()) <= set(values) == set(recent)


def kill_a_worker(inference: Server) -> None:
    assert inference.process is not None
    for child in psutil.Process(inference.process.pid).children():
        if "ml_platform.inference.worker" in child.cmdline():
            child.kill()
            return
    raise AssertionError("there is no worker")


class TestRollout:
    def test_canary_promotion_and_rollback_cost_no_caller_an_answer(
        self, bench: Bench, inference: Server
    ) -> None:
        bench.plant("plain")
        bench.assess("plain", LOW)
        first = bench.deploy("plain", "production")
        bench.until(first, "succeeded")
        bench.answers_with(first, _OLD)
        bench.plant("plain", bias=5.0)
        with asked_for(bench, first) as callers:
            eventually(lambda: answered(callers, _OLD), within=20, what="load")
            steps = {"steps": [20, 50, 100], "step_seconds": 0.5, "min_requests": 20, "hold_seconds": 60}
            second = bench.deploy("plain", "production", canary=steps)
            bench.until(second, "canary")
            kill_a_worker(inference)
            bench.until(second, "succeeded")
            eventually(lambda: answered(callers, _NEW), within=20, what="the new one alone")
            rollback = f"/deployments/{second['deployment_id']}/rollback"
            assert bench.engineer.client.post(rollback).status_code == 200
            eventually(lambda: answered(callers, _OLD), within=20, what="the old one alone")
            third = bench.deploy(
                "plain", "production", canary=steps | {"steps": [50, 100], "step_seconds": 600}
            )
            bench.until(third, "canary")
            eventually(lambda: answered(callers, _OLD, _NEW), within=20, what="both")
            promote = f"/deployments/{third['deployment_id']}/promote"
            assert bench.engineer.client.post(promote).status_code == 200
            eventually(lambda: answered(callers, _NEW), within=20, what="the new one alone")
        assert callers.failures == []
        assert {answer.value for answer in callers.answers} == {_OLD, _NEW}

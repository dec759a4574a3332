"""Versions that pass every stage and go wrong on live traffic, with nothing said about their canary.

Errors and drifted answers are tried in `test_rollouts`, all four by the hundred in `make bad-canary`.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.contracts.serving import InferenceMetrics
from ml_platform.services.deployments import RolloutParts, rolling
from tests.services.deployments.test_watch import traffic as measured
from tests.support.rollouts import LOW, Bench

BEYOND_THE_SAMPLE = 20.0
"""The rows by which the stages try a model are below ten."""


def serve(bench: Bench, **model: Any) -> dict[str, Any]:
    """Version 1 in production."""
    bench.plant("plain", **model)
    bench.assess("plain", LOW)
    first = bench.deploy("plain", "production")
    bench.until(first, "succeeded")
    bench.answers_with(first, 2.0)
    return first


class TestByDefault:
    def test_answers_without_a_value_lead_back(self, comparing: Bench) -> None:
        first = serve(comparing)
        comparing.plant("plain", empty_above=10.0)
        accepted = comparing.deploy("plain", "production")
        comparing.until(accepted, "canary")
        with comparing.traffic(first, value=BEYOND_THE_SAMPLE) as traffic:
            rollout = comparing.until(accepted, "rolled_back")
            assert comparing.predict(first, BEYOND_THE_SAMPLE).json() == {"predictions": [21.0]}
        assert "have no value (NaN, infinity or null)" in rollout["reason"]
        assert set(traffic.statuses) == {200}
        [step] = rollout["canary"]
        assert step["percent"] == CanaryPlan().steps[0]
        assert step["evidence"]["answers"]["empty"] >= 20

    def test_a_slower_one_goes_back_and_delays_nobody_for_good(self, comparing: Bench) -> None:
        first = serve(comparing, work=100)
        comparing.plant("plain", work=2000)
        accepted = comparing.deploy("plain", "production")
        comparing.until(accepted, "canary")
        with comparing.traffic(first) as traffic:
            rollout = comparing.until(accepted, "rolled_back", within=120)
        assert "latency" in rollout["reason"]
        assert set(traffic.statuses) == {200}
        comparing.answers_with(first, 2.0)

    def test_a_good_one_under_the_same_traffic_does_not(self, comparing: Bench) -> None:
        first = serve(comparing)
        comparing.plant("plain")
        steps = {"steps": [50, 100], "step_seconds": 6, "min_requests": 100, "latency_floor_ms": 2000}
        accepted = comparing.deploy("plain", "production", canary=steps)
        with comparing.traffic(first, value=BEYOND_THE_SAMPLE):
            rollout = comparing.until(accepted, "succeeded")
        [step] = rollout["canary"]
        assert step["evidence"]["answers"]["psi"] == 0
        assert step["evidence"]["answers"]["rows"] >= 30


@dataclass
class Turning:
    """An inference plane on which a revision did well for long, and fails in the last minute."""

    real: Any
    recent: float
    bad: list[str] = field(default_factory=list)
    good: list[str] = field(default_factory=list)

    def metrics(self, window_seconds: float) -> InferenceMetrics:
        errors = 40 if window_seconds == self.recent else 10
        rows = [measured(1000 if errors == 10 else 200, errors, revision=item) for item in self.bad]
        rows += [measured(10_000, 0, revision=item) for item in self.good]
        return InferenceMetrics(
            window_seconds=window_seconds, covered_seconds=window_seconds, revisions=tuple(rows)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class TestInALongStep:
    def test_the_last_minute_counts_for_itself(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        first = serve(bench)
        parts = bench.platform.runtime.components.get(RolloutParts)
        plane = Turning(parts.plane, recent=0.1)
        monkeypatch.setattr(parts, "plane", plane)
        monkeypatch.setattr(rolling, "RECENT_SECONDS", plane.recent)
        bench.plant("plain")
        accepted = bench.deploy("plain", "production")
        candidate = bench.until(accepted, "canary")["revision_id"]
        plane.good = [
            item["revision_id"]
            for item in bench.deployment(first)["revisions"]
            if item["revision_id"] != candidate
        ]
        plane.bad = [candidate]
        rollout = bench.until(accepted, "rolled_back")
        assert rollout["reason"] == "error rate 20.0% is above 5.0%, in the last minute"

"""Budgets, stability and the smoke test's comparisons, over whole rollouts on a real inference server."""

import socket
from dataclasses import replace
from typing import Any

import pytest

from ml_platform.contracts.deployments import Budget
from ml_platform.integrations.inference import InferenceClient
from ml_platform.services.deployments import BuiltBundle, BundleTrial, RolloutParts
from ml_platform.services.deployments.stages.smoke import alike
from ml_platform.services.deployments.stages.trial import judge_budget, percentile
from tests.support.rollouts import Bench


def evidence_of(rollout: dict[str, Any]) -> dict[str, Any]:
    return {stage["name"]: stage["evidence"] for stage in rollout["stages"]}


class TestTheBudget:
    def test_without_one_everything_is_measured_and_nothing_stops(self, bench: Bench) -> None:
        bench.plant("plain")
        found = evidence_of(bench.until(bench.deploy("plain"), "succeeded"))
        runtime = found["test"]["runtime"]
        assert (runtime["measured_on"], runtime["calls"]) == ("onnx", 50)
        assert 0 < runtime["p50_ms"] <= runtime["p95_ms"]
        assert runtime["memory_mb"] >= 0
        assert runtime["budget"] == {"p95_ms": None, "memory_mb": None}
        assert found["smoke_test"]["latency"]["calls"] >= 3
        assert found["smoke_test"]["latency"]["p95_ms"] > 0

    def test_latency_over_it_stops_in_the_test_stage(self, bench: Bench) -> None:
        bench.plant("plain")
        rollout = bench.until(bench.deploy("plain", budget={"p95_ms": 0.000001}), "failed")
        assert "test: p95 is" in rollout["reason"]
        assert "the deployment's budget is 1e-06 ms" in rollout["reason"]

    def test_memory_over_it_stops_in_the_test_stage(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._found(bench, monkeypatch, memory_bytes=600 * 1024 * 1024)
        bench.plant("plain")
        rollout = bench.until(bench.deploy("plain", budget={"memory_mb": 512}), "failed")
        assert "the model takes 600.0 MiB" in rollout["reason"]
        assert evidence_of(rollout)["test"]["runtime"]["memory_mb"] == 600.0

    def test_latency_at_the_endpoint_stops_the_smoke_test(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Quick where it was tried, slow where it serves."""
        self._found(bench, monkeypatch, milliseconds=[0.00001] * 50)
        bench.plant("plain")
        rollout = bench.until(bench.deploy("plain", budget={"p95_ms": 0.001}), "failed")
        assert "smoke_test: p95 is" in rollout["reason"]

    def test_a_restored_deployment_keeps_its_budget(self, bench: Bench) -> None:
        bench.plant("plain")
        first = bench.deploy("plain", budget={"p95_ms": 9000}, resources={"cpu": 2})
        at = bench.until(first, "succeeded")["finished_at"]
        bench.plant("plain", bias=3.0)
        bench.until(bench.deploy("plain"), "succeeded")
        answer = bench.engineer.client.post(f"/deployments/{first['deployment_id']}/restore", json={"at": at})
        assert answer.status_code == 202, answer.text
        config = bench.rollout(answer.json())["config"]
        assert (config["budget"]["p95_ms"], config["resources"]["cpu"]) == (9000, 2)

    @pytest.mark.parametrize("budget", [{"p95_ms": 0}, {"p95_ms": -1}, {"memory_mb": 0}, {"cpu": 1}, 5])
    def test_nonsense_is_refused(self, bench: Bench, budget: Any) -> None:
        bench.plant("plain")
        body = {"environment": "staging", "budget": budget}
        assert bench.engineer.client.post("/models/plain/deploy", json=body).status_code == 422

    def _found(self, bench: Bench, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        measured = bench.tools.try_out

        def changed(bundle: BuiltBundle, rows: Any, **asked: Any) -> BundleTrial:
            return replace(measured(bundle, rows, **asked), **changes)

        monkeypatch.setattr(bench.tools, "try_out", changed)


class TestStability:
    def test_it_is_measured_where_there_are_rows_enough(self, bench: Bench) -> None:
        bench.plant("plain", rows=200)
        stability = evidence_of(bench.until(bench.deploy("plain"), "succeeded"))["test"]["stability"]
        assert stability["assessed"]
        assert (stability["rows"], stability["columns"]) == (200, ["x0"])
        assert 0 < stability["mean_change"] < 0.25

    def test_too_few_rows_are_said(self, bench: Bench) -> None:
        bench.plant("plain")
        stability = evidence_of(bench.until(bench.deploy("plain"), "succeeded"))["test"]["stability"]
        assert stability == {"assessed": False, "why": "there are 10 rows; it takes 30"}

    def test_the_cards_limit_stops_a_model_that_moves_more(self, bench: Bench) -> None:
        bench.plant("plain", rows=200, model_card={"stability": {"max_mean_change": 0.001}})
        rollout = bench.until(bench.deploy("plain"), "failed")
        assert rollout["reason"].startswith("test: the answers change by")
        assert "allowed: 0.001" in rollout["reason"]


class TestTheSmokeTest:
    def test_the_endpoint_answers_as_the_bundle_did_and_explains(self, bench: Bench) -> None:
        bench.plant("plain")
        smoke = evidence_of(bench.until(bench.deploy("plain"), "succeeded"))["smoke_test"]
        assert smoke["same_as_bundle"] is True
        assert smoke["explanation"]["explainable"] is True
        found = smoke["explanation"]["explanation"]
        assert found["base_value"] + sum(found["values"].values()) == pytest.approx(smoke["predictions"][0])

    def test_other_answers_than_the_bundles_stop_it(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measured = bench.tools.try_out

        def other(bundle: BuiltBundle, rows: Any, **asked: Any) -> BundleTrial:
            found = measured(bundle, rows, **asked)
            return replace(found, answers=[found.answers[0] + 0.5, *found.answers[1:]])

        monkeypatch.setattr(bench.tools, "try_out", other)
        bench.plant("plain")
        rollout = bench.until(bench.deploy("plain"), "failed")
        assert rollout["reason"].startswith("smoke_test: row 0 is answered with 1.0; the bundle itself")

    def test_a_model_that_cannot_be_explained_says_why_and_goes_on(self, bench: Bench) -> None:
        bench.plant("plain", unexplained=True)
        smoke = evidence_of(bench.until(bench.deploy("plain"), "succeeded"))["smoke_test"]
        assert smoke["explanation"]["explainable"] is False
        assert "holds no background rows" in smoke["explanation"]["why"]

    def test_an_explanation_that_does_not_come_in_time_is_said_and_stops_nothing(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = bench.platform.runtime.components.get(RolloutParts)
        monkeypatch.setattr(parts, "settings", replace(parts.settings, explain_timeout_seconds=0.2))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            nobody = InferenceClient(lambda: f"http://127.0.0.1:{silent.getsockname()[1]}", "")
            monkeypatch.setattr(parts.plane, "explain", nobody.explain)
            bench.plant("plain")
            smoke = evidence_of(bench.until(bench.deploy("plain"), "succeeded"))["smoke_test"]
        assert smoke["explanation"]["explainable"] is None
        assert "no explanation in time" in smoke["explanation"]["why"]


class TestComparing:
    @pytest.mark.parametrize(
        ("expected", "found", "same"),
        [
            (1.0, 1.0000000001, True),
            (1, 1.0, True),
            (0.0, 1e-12, True),
            (1.0, 1.001, False),
            ("a", "a", True),
            ("1", 1, False),
            (True, 1, False),
            ([1.0, 2.0], [1.0, 2.0], True),
            ([1.0], [1.0, 2.0], False),
            (None, 0.0, False),
        ],
    )
    def test_answers_are_alike_but_for_single_precision(self, expected: Any, found: Any, same: bool) -> None:
        assert alike(expected, found) is same

    def test_percentiles_are_values_that_were_measured(self) -> None:
        assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0
        assert percentile([3.0], 0.95) == 3.0

    def test_a_budget_is_kept_to_its_last_digit(self) -> None:
        assert judge_budget([5.0], Budget(p95_ms=5))[1] is None
        assert judge_budget([5.0], Budget(memory_mb=1), memory=1024 * 1024)[1] is None
        assert judge_budget([5.0], Budget(memory_mb=1), memory=1024 * 1024 + 1)[1] is not None

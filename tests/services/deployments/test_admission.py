"""What a version must bring besides its files: asked by the plan beforehand, and by the stage `validate`."""

from typing import Any

import pytest

from tests.support.rollouts import CARD, HIGH, LOW, MEDIUM, Bench


def plan(bench: Bench, environment: str = "production", **body: Any) -> dict[str, Any]:
    answer = bench.engineer.client.post(
        "/models/plain/deploy/plan", json={"environment": environment, **body}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def planned(bench: Bench, **body: Any) -> str:
    """Why the plan says that `validate` would stop it."""
    found = plan(bench, **body)
    assert (found["allowed"], found["stopped_by"]) == (False, "validate"), found
    return str(found["gates"][0]["detail"])


def stopped(bench: Bench, environment: str = "production", **body: Any) -> str:
    """Why `validate` stops it."""
    rollout = bench.until(bench.deploy("plain", environment, **body), "failed")
    assert rollout["stages"][0]["status"] == "failed"
    return str(rollout["stages"][0]["reason"])


def evidence(bench: Bench, accepted: dict[str, Any]) -> dict[str, Any]:
    """What `validate` found."""
    found: dict[str, Any] = bench.rollout(accepted)["stages"][0]["evidence"]
    return found


def cancel(bench: Bench, accepted: dict[str, Any]) -> None:
    answer = bench.engineer.client.post(f"/rollouts/{accepted['rollout_id']}/cancel")
    assert answer.status_code == 200, answer.text


class TestTheModelCard:
    def test_that_lacks_sections_stops_with_them_and_the_command_that_writes_them(self, bench: Bench) -> None:
        bench.plant("plain", model_card={"intended_use": "adding", "limitations": " ", "training_data": "x"})
        bench.assess("plain", HIGH)
        for reason in (planned(bench), stopped(bench)):
            assert "a model of high risk needs out_of_scope, ethical_considerations, limitations" in reason
            assert "mlops models card set plain 1 --file card.yaml" in reason

    def test_that_is_complete_lets_it_pass(self, bench: Bench) -> None:
        bench.plant("plain", model_card={})
        bench.assess("plain", MEDIUM)
        assert "intended_use, limitations" in planned(bench)
        written = bench.engineer.client.put("/models/plain/versions/1/card", json={"card": CARD})
        assert written.status_code == 200, written.text
        assert plan(bench)["allowed"]
        accepted = bench.deploy("plain", "production")
        bench.approval(accepted)
        found = evidence(bench, accepted)
        assert (found["model_card"], found["model_card_missing"]) == (CARD, [])
        cancel(bench, accepted)

    def test_is_evidence_alone_in_staging(self, bench: Bench) -> None:
        bench.plant("plain", model_card={})
        bench.assess("plain", MEDIUM)
        assert plan(bench, "staging")["allowed"]
        accepted = bench.deploy("plain", "staging")
        bench.until(accepted, "succeeded")
        assert evidence(bench, accepted)["model_card_missing"] == ["intended_use", "limitations"]

    def test_may_be_empty_at_low_risk(self, bench: Bench) -> None:
        bench.plant("plain", model_card={})
        bench.assess("plain", LOW)
        assert plan(bench)["allowed"]
        bench.until(bench.deploy("plain", "production"), "succeeded")

    @pytest.mark.parametrize("scores", [MEDIUM, HIGH])
    def test_of_the_tests_is_complete(self, bench: Bench, scores: dict[str, int]) -> None:
        bench.plant("plain")
        bench.assess("plain", scores)
        assert plan(bench)["allowed"]

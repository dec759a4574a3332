"""A model that a job trained, through the real builder, to the real inference server."""

import httpx
import pytest

from ml_platform.integrations.inference import InferenceClient
from ml_platform.services.deployments import RolloutParts
from tests.inference.support.server import Server
from tests.support.crash import eventually
from tests.support.platform import RunningPlatform
from tests.support.training import TrainedTeam


@pytest.mark.slow
class TestATrainedModel:
    @pytest.mark.timeout(400)
    def test_it_is_evaluated_built_with_parity_and_serves(
        self,
        platform: RunningPlatform,
        inference: Server,
        trained: TrainedTeam,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        parts = platform.runtime.components.get(RolloutParts)
        client = InferenceClient(lambda: inference.base, parts.smoke_keys.service_token())
        monkeypatch.setattr(parts, "plane", client)
        monkeypatch.setattr(parts, "inference_url", lambda: inference.base)
        engineer = platform.new_user(trained.caller.team, "ml_engineer")
        answer = engineer.client.post("/models/churn_v1/deploy", json={"environment": "staging"})
        assert answer.status_code == 202, answer.text
        accepted = answer.json()

        def over() -> dict:
            found = engineer.client.get(f"/rollouts/{accepted['rollout_id']}").json()
            return found if found["finished_at"] else {}

        rollout = eventually(over, within=300, what="the end of the rollout")
        assert rollout["status"] == "succeeded", rollout["reason"]
        evidence = {stage["name"]: stage["evidence"] for stage in rollout["stages"]}
        assert evidence["test"]["metrics"]["accuracy"] > 0.7
        assert evidence["security"]["dangerous"] == 0
        assert evidence["build"]["runtime"] == "onnx", evidence["build"]
        assert evidence["build"]["parity"]["rows"] > 0
        assert evidence["build"]["summary"].startswith("runs as a graph that differs from the model by at")
        assert len(evidence["smoke_test"]["predictions"]) == 5
        row = {"contract": "monthly", "payment": "card", "tenure": 3.0}
        answer = httpx.post(
            accepted["endpoint"],
            json={"instances": [row]},
            headers={"authorization": f"Bearer {engineer.token}"},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][0] > 0.5
        assert answer.headers["mlops-revision"] == rollout["revision_id"]

    def test_the_plan_knows_it(self, trained: TrainedTeam) -> None:
        plan = trained.caller.client.post("/models/churn/deploy/plan", json={"environment": "staging"}).json()
        assert plan["allowed"], plan
        assert [gate["outcome"] for gate in plan["gates"]][:4] == ["passes", "passes", "runs", "passes"]

"""What a version takes over of the one whose place it takes."""

from typing import Any

from ml_platform.services.deployments.carried import BESIDE, carried
from tests.support.rollouts import Bench

CONFIG: dict[str, Any] = {
    "replicas": 2,
    "canary": {"steps": [100]},
    "resources": {"cpu": 2.0, "memory_mb": 2048},
    "features": {"on_store_failure": "last_known"},
    "budget": {"p95_ms": 50.0, "memory_mb": None},
    "from_shadow": "rev_1",
}


class TestCarried:
    def test_resources_budget_and_feature_policy_and_nothing_of_its_rollout(self) -> None:
        assert set(carried(CONFIG, has_features=True)) == {"resources", "features", "budget"}

    def test_no_feature_policy_for_a_version_without_features(self) -> None:
        assert set(carried(CONFIG, has_features=False)) == {"resources", "budget"}

    def test_no_budget_for_what_stands_beside_the_traffic(self) -> None:
        assert set(carried(CONFIG, has_features=True, names=BESIDE)) == {"resources", "features"}

    def test_nothing_of_nothing(self) -> None:
        assert carried({"features": None, "budget": {}}, has_features=True) == {}


class TestAShadow:
    def test_has_what_serves_and_so_has_the_rollout_that_promotes_it(self, bench: Bench) -> None:
        bench.plant("plain")
        resources, budget = (
            {"cpu": 2.0, "memory_mb": 2048, "gpus": 0},
            {"p95_ms": 60_000.0, "memory_mb": None},
        )
        first = bench.deploy("plain", resources=resources, budget=budget)
        bench.until(first, "succeeded")
        bench.plant("plain", bias=3.0)
        client = bench.engineer.client
        path = f"/deployments/{first['deployment_id']}/shadow"
        shadow = client.post(path, json={"model_id": "plain/2"}).json()
        found = bench.until({"rollout_id": shadow["rollout_id"]}, "succeeded")
        assert (found["config"]["resources"], found["config"]["budget"]["p95_ms"]) == (resources, None)
        promoted = client.post(f"/shadows/{shadow['shadow_id']}/promote", json={})
        assert promoted.status_code == 202, promoted.text
        found = bench.until(promoted.json(), "succeeded")
        assert (found["config"]["resources"], found["config"]["budget"]) == (resources, budget)

"""KServe manifests: of real rollouts, of hostile names, and read by KServe's own client."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml_platform.contracts.deployments import ReplicaResources
from ml_platform.kit.strictjson import digest
from ml_platform.services.deployments.manifests import Served, inference_service, label
from tests.cli.running import Mlops
from tests.support.environments import StockClient
from tests.support.rollouts import LOW, Bench

KSERVE = StockClient(Path(__file__).with_name("kserve_manifest_program.py"), "kserve==0.21.0")
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
HOSTILE = [
    "0", "00-1", "a_b", "a-b", "A.b", "-", "__", "x" * 63, "x" * 62 + "y", "é" * 20, "\u202e", "a b", "../..",
    "a\nb", "", "churn-0123abcd", "a--b", "{{.Name}}", "m-" * 31,
]  # fmt: skip


def served(**changes: Any) -> Served:
    facts: dict[str, Any] = {
        "team": "fraud_team",
        "environment": "production",
        "deployment": "churn",
        "deployment_id": "dep_1",
        "rollout_id": "rol_1",
        "revision_id": "rev_1",
        "model": "churn/3",
        "model_digest": "a" * 64,
        "bundle_uri": "file:///storage/team/bundles/key",
        "bundle_digest": "b" * 64,
        "approval_id": "apr_1",
        "replicas": 2,
        "auto_scale": True,
        "max_replicas": 5,
        "resources": ReplicaResources(cpu=0.5, memory_mb=256),
        "canary_percent": 5,
    }
    return Served(**facts | changes)


class TestTheManifest:
    def test_it_asks_for_gpus_where_there_are_any(self) -> None:
        for gpus, expected in ((0, {}), (2, {"nvidia.com/gpu": "2"})):
            found = inference_service(served(resources=ReplicaResources(gpus=gpus)), "mlops")
            resources = found["spec"]["predictor"]["model"]["resources"]
            assert resources["requests"] == resources["limits"]
            assert {k: v for k, v in resources["limits"].items() if "gpu" in k} == expected

    def test_it_says_what_serves_how_and_on_whose_approval(self) -> None:
        found = inference_service(served(), "mlops")
        assert found["metadata"]["name"] == "churn"
        assert found["metadata"]["namespace"] == label("fraud_team-production", 63)
        annotations = found["metadata"]["annotations"]
        assert annotations["ml-platform/model"] == "churn/3"
        assert annotations["ml-platform/revision"] == "rev_1"
        assert annotations["ml-platform/approval"] == "apr_1"
        assert annotations["ml-platform/bundle-digest"] == f"sha256:{'b' * 64}"
        predictor = found["spec"]["predictor"]
        assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 5)
        assert predictor["canaryTrafficPercent"] == 5
        assert predictor["model"]["runtime"] == "mlops"
        assert predictor["model"]["storageUri"] == "file:///storage/team/bundles/key"
        assert predictor["model"]["resources"]["limits"] == {"cpu": "500m", "memory": "256Mi"}

    def test_without_scaling_it_stays_at_its_replicas(self) -> None:
        predictor = inference_service(served(auto_scale=False), "mlops")["spec"]["predictor"]
        assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 2)

    def test_equal_facts_give_equal_bytes(self) -> None:
        one, two = (json.dumps(inference_service(served(), "mlops")) for _ in range(2))
        assert one == two


class TestNames:
    @pytest.mark.parametrize("longest", [36, 63])
    def test_they_are_always_kubernetes_own_and_never_the_same_for_two(self, longest: int) -> None:
        found = {name: label(name, longest) for name in HOSTILE}
        for name, made in found.items():
            assert LABEL.fullmatch(made), (name, made)
            assert len(made) <= longest
        assert len(set(found.values())) == len(HOSTILE)

    def test_a_name_that_fits_stays_and_none_can_be_made_to_look_like_a_changed_one(self) -> None:
        assert label("churn-v2", 36) == "churn-v2"
        assert label(label("a_b", 36), 36) != label("a_b", 36)


class TestTheStockClient:
    pytestmark = KSERVE.marks

    def test_it_reads_and_writes_every_manifest_as_it_is(self) -> None:
        manifests = [inference_service(served(deployment=name, team=name), "mlops") for name in HOSTILE]
        manifests.append(inference_service(served(canary_percent=None, max_replicas=None), "mlops"))
        found = KSERVE.ask({"manifests": manifests})
        assert found == [{"manifest": manifest} for manifest in manifests]

    def test_it_would_find_what_is_not_of_the_schema(self) -> None:
        good = inference_service(served(), "mlops")
        spoilt = [copy.deepcopy(good) for _ in range(4)]
        spoilt[0]["spec"]["predictor"]["maxReplica"] = 1
        spoilt[1]["spec"]["predictor"]["minReplicas"] = "two"
        spoilt[2]["spec"]["predictor"]["model"]["storageURI"] = "file:///x"
        del spoilt[3]["spec"]["predictor"]["model"]["modelFormat"]["name"]
        found = KSERVE.ask({"manifests": spoilt})
        assert all(item != {"manifest": manifest} for item, manifest in zip(found, spoilt, strict=True))


class TestOfARollout:
    def test_one_can_open_it_by_rest_sdk_and_command_line(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.plant("plain")
        accepted = bench.deploy("plain", replicas=2, resources={"cpu": 0.25, "memory_mb": 128})
        rollout = bench.until(accepted, "succeeded")
        [build] = [stage for stage in rollout["stages"] if stage["name"] == "build"]
        answer = bench.engineer.client.get(f"/deployments/{accepted['deployment_id']}/manifest")
        assert answer.status_code == 200
        found = answer.json()
        assert found["manifest"] == build["evidence"]["kserve_manifest"]
        assert found["sha256"] == build["evidence"]["kserve_manifest_sha256"] == digest(found["manifest"])
        annotations = found["manifest"]["metadata"]["annotations"]
        assert annotations["ml-platform/revision"] == rollout["revision_id"]
        assert annotations["ml-platform/approval"] == "none needed"
        model = found["manifest"]["spec"]["predictor"]["model"]
        assert model["storageUri"] == build["evidence"]["bundle_uri"]
        assert model["resources"]["requests"] == {"cpu": "250m", "memory": "128Mi"}
        mlops = Mlops(monkeypatch)
        mlops.use(MLOPS_API_URL=bench.platform.url, MLOPS_API_KEY=bench.engineer.token, MLOPS_TEAM=None)
        written = mlops("deployments", "manifest", "staging/plain")
        assert (written.code, yaml.safe_load(written.stdout)) == (0, found["manifest"])

    def test_a_canary_begins_with_its_first_share_and_names_its_approval(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", LOW)
        first = bench.deploy("plain", "production", canary={"steps": [100]})
        bench.until(first, "succeeded")
        bench.plant("plain", bias=2.0)
        second = bench.deploy("plain", "production", canary={"steps": [7, 100], "step_seconds": 600})
        bench.until(second, "canary")
        path = f"/deployments/{second['deployment_id']}/manifest"
        manifests = [
            bench.engineer.client.get(path, params={"rollout_id": item["rollout_id"]}).json()["manifest"]
            for item in (first, second)
        ]
        assert [item["spec"]["predictor"].get("canaryTrafficPercent") for item in manifests] == [None, 7]
        approval = bench.rollout(second)["approval_id"]
        assert manifests[1]["metadata"]["annotations"]["ml-platform/approval"] == approval

    def test_none_was_built_yet_or_it_is_another_deployments(self, bench: Bench) -> None:
        bench.plant("broken", dangerous=True)
        accepted = bench.deploy("broken")
        bench.until(accepted, "failed")
        path = f"/deployments/{accepted['deployment_id']}/manifest"
        answer = bench.engineer.client.get(path)
        assert (answer.status_code, "was built yet" in answer.json()["detail"]) == (404, True)
        bench.plant("plain")
        other = bench.deploy("plain")
        bench.until(other, "succeeded")
        answer = bench.engineer.client.get(path, params={"rollout_id": other["rollout_id"]})
        assert answer.status_code == 404
        bench.new_team()
        assert bench.engineer.client.get(path).status_code == 404

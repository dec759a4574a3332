"""The registry over HTTP, with versions that a real job registered."""

from contextlib import AbstractContextManager

import httpx
import pytest

from ml_platform.contracts.models import ModelVersion
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Actor, Work, WorkFactory
from ml_platform.services.registry import ArtifactChangedError, ModelFiles, RegistryService
from tests.support.platform import RunningPlatform
from tests.support.training import TrainedTeam, train_sklearn, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rivals(platform: RunningPlatform, trained: TrainedTeam) -> tuple[TrainedTeam, dict, dict]:
    """`rival`, whose champion is version 1, with a job that fails the gate against it and one that passes."""
    client = trained.caller.client
    made = client.post("/models/rival/versions", json={"run_id": trained.job["run_id"]})
    assert made.status_code == 201, made.text
    with begin(platform, trained.caller.team) as work:
        assert RegistryService(work).set_champion("rival", 1).aliases == ["champion"]
    gate = {"metric": "roc_auc", "threshold": 0.8, "tolerance": 0.001}
    jobs = [
        train_sklearn(client, trained.experiment_id, gate=gate, register_as="rival", quality="bad"),
        train_sklearn(client, trained.experiment_id, gate=gate, register_as="rival", C=2.0),
    ]
    bad, good = (wait_for(client, job, within=170) for job in jobs)
    return trained, bad, good


def begin(platform: RunningPlatform, team: str) -> AbstractContextManager[Work]:
    """A unit of work of the platform itself in a team."""
    admin = platform.client(platform.admin_token, team=team)
    team_id = next(t["team_id"] for t in admin.get("/teams?limit=500").json()["items"] if t["name"] == team)
    actor = Actor.system("test", team_id=team_id, team_name=team)
    return platform.runtime.components.get(WorkFactory).begin(actor)


def fetched(platform: RunningPlatform, team: str, model_id: str) -> ModelVersion:
    with begin(platform, team) as work:
        return RegistryService(work).resolve(model_id)


class TestTheGate:
    def test_the_first_version_becomes_the_champion_with_its_evidence(self, trained: TrainedTeam) -> None:
        version = trained.caller.client.get("/models/churn@champion").json()["version"]
        assert version["model_id"] == "churn_v1"
        assert version["job_id"] == trained.job["job_id"]
        assert version["gate"]["passed"]
        assert version["gate"]["rows"] == 200
        assert version["metrics"]["roc_auc"] == version["gate"]["value"]
        assert [column["type"] for column in version["signature"]["inputs"]] == ["string", "string", "double"]

    def test_a_worse_model_is_not_registered_and_says_why(self, rivals) -> None:
        _, bad, _ = rivals
        assert (bad["status"], bad["model_id"], bad["code"]) == ("succeeded", None, "gate_failed")
        assert any("worse than" in reason and "rival_v1" in reason for reason in bad["gate"]["reasons"])
        assert "misses the threshold" in bad["reason"]

    def test_a_model_no_worse_is_version_2_and_the_champion_stays(self, rivals) -> None:
        team, _, good = rivals
        assert good["model_id"] == "rival_v2"
        assert good["gate"]["champion_model_id"] == "rival_v1"
        model = team.caller.client.get("/models/rival").json()
        assert (model["latest_version"], model["aliases"]) == (2, {"champion": 1})

    def test_it_is_in_mlflows_registry_too(self, rivals, platform: RunningPlatform) -> None:
        team, _, good = rivals
        url = f"{platform.url}/mlflow/api/2.0/mlflow/model-versions/get"
        headers = {"authorization": f"Bearer {team.caller.token}"}
        answer = httpx.get(url, params={"name": "rival", "version": "2"}, headers=headers)
        assert answer.json()["model_version"]["run_id"] == good["run_id"]
        answer = httpx.request(
            "DELETE", f"{platform.url}/mlflow/api/2.0/mlflow/registered-models/delete",
            json={"name": "rival"}, headers=headers,
        )  # fmt: skip
        assert answer.status_code == 403
        assert "registered with the platform" in answer.json()["message"]


class TestFindingAVersion:
    @pytest.mark.parametrize("model_id", ["churn", "churn/1", "churn_v1", "churn@champion"])
    def test_by_every_form(self, trained: TrainedTeam, model_id: str) -> None:
        answer = trained.caller.client.get(f"/models/{model_id}")
        assert answer.json()["version"]["model_id"] == "churn_v1"

    @pytest.mark.parametrize(
        "model_id", ["other", "churn/9", "churn_v9", "churn@other", "churn_v0", "churn/0"]
    )
    def test_what_is_not_there_is_404(self, trained: TrainedTeam, model_id: str) -> None:
        assert trained.caller.client.get(f"/models/{model_id}").status_code in (404, 422)

    def test_another_teams_is_404(self, trained: TrainedTeam, platform: RunningPlatform) -> None:
        bob = platform.new_user(platform.new_team(), "ml_engineer")
        for path in ("churn", "churn/1", "churn/versions", "churn/versions/1"):
            assert bob.client.get(f"/models/{path}").status_code == 404, path
        assert bob.client.get("/models").json()["items"] == []

    def test_in_lists(self, rivals) -> None:
        team, _, _ = rivals
        client = team.caller.client
        assert {"churn", "rival"} <= {model["name"] for model in client.get("/models").json()["items"]}
        first = client.get("/models/rival/versions?limit=1").json()
        rest = client.get("/models/rival/versions", params={"cursor": first["next_cursor"]}).json()
        assert [v["version"] for v in first["items"] + rest["items"]] == [2, 1]
        found = client.get(f"/experiments/{team.experiment_id}/models").json()["items"]
        assert {"churn_v1", "rival_v1", "rival_v2"} <= {version["model_id"] for version in found}


class TestRegisteringByHand:
    def test_a_logged_model_of_a_run_once(self, trained: TrainedTeam) -> None:
        client, body = trained.caller.client, {"run_id": trained.job["run_id"], "artifact_path": "model"}
        answer = client.post("/models/by-hand/versions", json=body)
        assert answer.status_code == 201, answer.text
        version = answer.json()
        assert (version["model_id"], version["gate"], version["aliases"]) == ("by-hand_v1", None, [])
        assert version["created_by"] == trained.caller.name
        again = client.post("/models/by-hand/versions", json=body)
        assert (again.status_code, again.json()["model_id"]) == (409, "by-hand_v1")

    @pytest.mark.parametrize(
        "body", [{"run_id": "0" * 32}, {"run_id": "x"}, {}, {"run_id": None, "artifact_path": "none"}]
    )
    def test_what_is_not_there_is_refused(self, trained: TrainedTeam, body: dict[str, str]) -> None:
        answer = trained.caller.client.post("/models/wrong/versions", json=body)
        assert answer.status_code in (404, 422)
        other = {"run_id": trained.job["run_id"], "artifact_path": "another"}
        assert trained.caller.client.post("/models/wrong/versions", json=other).status_code == 404
        assert trained.caller.client.get("/models/wrong").status_code == 404

    def test_another_teams_run_is_404(self, trained: TrainedTeam, platform: RunningPlatform) -> None:
        bob = platform.new_user(platform.new_team(), "ml_engineer")
        answer = bob.client.post("/models/mine/versions", json={"run_id": trained.job["run_id"]})
        assert answer.status_code == 404


class TestAliases:
    def test_a_teams_own_alias_is_set_moved_and_deleted(self, rivals) -> None:
        team, _, _ = rivals
        client = team.caller.client
        assert client.put("/models/rival/aliases/best", json={"version": 1}).json()["aliases"] == [
            "best",
            "champion",
        ]
        client.put("/models/rival/aliases/best", json={"version": 2})
        assert client.get("/models/rival@best").json()["version"]["version"] == 2
        assert client.delete("/models/rival/aliases/best").status_code == 204
        assert client.get("/models/rival@best").status_code == 404
        assert client.delete("/models/rival/aliases/best").status_code == 404

    def test_the_champion_is_the_platforms(self, trained: TrainedTeam) -> None:
        client = trained.caller.client
        assert client.put("/models/churn/aliases/champion", json={"version": 1}).status_code == 403
        assert client.delete("/models/churn/aliases/champion").status_code == 403

    def test_of_a_version_that_is_not_there_is_404(self, trained: TrainedTeam) -> None:
        assert trained.caller.client.put("/models/churn/aliases/x", json={"version": 9}).status_code == 404


class TestAnArtifactThatWasChanged:
    def test_is_found_whatever_was_changed(self, trained: TrainedTeam, platform: RunningPlatform) -> None:
        parts = platform.runtime.components
        files, storage = parts.get(ModelFiles), parts.get(ObjectStorage)
        version = fetched(platform, trained.caller.team, "churn_v1")
        directory = files.verify_digest(version)
        assert files.reference(version) is not None
        for name in ("MLmodel", "requirements.txt"):
            path = directory / name
            before = path.read_bytes()
            path.chmod(0o644)
            path.write_bytes(before + b"\n")
            with pytest.raises(ArtifactChangedError) as caught:
                files.verify_digest(version)
            assert caught.value.code is ErrorCode.ARTIFACT_CHANGED
            path.write_bytes(before)
        extra = directory / "extra.py"
        extra.write_text("")
        with pytest.raises(ArtifactChangedError):
            files.verify_digest(version)
        extra.unlink()
        assert files.verify_digest(version) == storage.path(version.source_uri)

    def test_its_reference_rows_as_well(self, trained: TrainedTeam, platform: RunningPlatform) -> None:
        parts = platform.runtime.components
        version = fetched(platform, trained.caller.team, "churn_v1")
        assert version.reference_uri is not None
        path = parts.get(ObjectStorage).path(version.reference_uri)
        before = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(before + b"x")
        with pytest.raises(ArtifactChangedError):
            parts.get(ModelFiles).reference(version)
        path.write_bytes(before)

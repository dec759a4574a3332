"""The registry over HTTP, with versions that a real job registered."""

import httpx
import pytest

from ml_platform.contracts.models import ModelVersion
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.registry import ArtifactChangedError, ModelFiles, RegistryService
from tests.support.platform import RunningPlatform
from tests.support.training import TrainedTeam, train_sklearn, train_team, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rivals(platform: RunningPlatform) -> tuple[TrainedTeam, dict, dict]:
    """A team with a champion, a job that fails the gate against it and one that passes."""
    team = train_team(platform)
    gate = {"metric": "roc_auc", "threshold": 0.8, "tolerance": 0.001}
    jobs = [
        train_sklearn(team.caller.client, team.experiment_id, gate=gate, quality="bad"),
        train_sklearn(team.caller.client, team.experiment_id, gate=gate, C=2.0),
    ]
    bad, good = (wait_for(team.caller.client, job, within=300) for job in jobs)
    return team, bad, good


def fetched(platform: RunningPlatform, team: str, model_id: str) -> ModelVersion:
    admin = platform.client(platform.admin_token, team=team)
    team_id = next(t["team_id"] for t in admin.get("/teams?limit=500").json()["items"] if t["name"] == team)
    actor = Actor.system("test", team_id=team_id, team_name=team)
    with platform.runtime.components.get(WorkFactory).begin(actor, write=False) as work:
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
        assert any("worse than" in reason and "churn_v1" in reason for reason in bad["gate"]["reasons"])
        assert "misses the threshold" in bad["reason"]

    def test_a_model_no_worse_is_version_2_and_the_champion_stays(self, rivals) -> None:
        team, _, good = rivals
        assert good["model_id"] == "churn_v2"
        assert good["gate"]["champion_model_id"] == "churn_v1"
        model = team.caller.client.get("/models/churn").json()
        assert (model["latest_version"], model["aliases"]) == (2, {"champion": 1})

    def test_it_is_in_mlflows_registry_too(self, rivals, platform: RunningPlatform) -> None:
        team, _, good = rivals
        url = f"{platform.url}/mlflow/api/2.0/mlflow/model-versions/get"
        headers = {"authorization": f"Bearer {team.caller.token}"}
        answer = httpx.get(url, params={"name": "churn", "version": "2"}, headers=headers)
        assert answer.json()["model_version"]["run_id"] == good["run_id"]
        answer = httpx.request(
            "DELETE", f"{platform.url}/mlflow/api/2.0/mlflow/registered-models/delete",
            json={"name": "churn"}, headers=headers,
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
        assert [model["name"] for model in client.get("/models").json()["items"]] == ["churn"]
        first = client.get("/models/churn/versions?limit=1").json()
        rest = client.get("/models/churn/versions", params={"cursor": first["next_cursor"]}).json()
        assert [v["version"] for v in first["items"] + rest["items"]] == [2, 1]
        found = client.get(f"/experiments/{team.experiment_id}/models").json()["items"]
        assert [v["model_id"] for v in found] == ["churn_v2", "churn_v1"]


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
        assert client.put("/models/churn/aliases/best", json={"version": 1}).json()["aliases"] == [
            "best",
            "champion",
        ]
        client.put("/models/churn/aliases/best", json={"version": 2})
        assert client.get("/models/churn@best").json()["version"]["version"] == 2
        assert client.delete("/models/churn/aliases/best").status_code == 204
        assert client.get("/models/churn@best").status_code == 404
        assert client.delete("/models/churn/aliases/best").status_code == 404

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

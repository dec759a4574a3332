"""MLflow's own API below /mlflow: our keys, our roles, one workspace a team."""

import base64
from typing import Any

import httpx
import pytest

from ml_platform.integrations.mlflow.workspaces import workspace_of
from tests.support.platform import Caller, RunningPlatform


def search(platform: RunningPlatform, **headers: str) -> httpx.Response:
    url = f"{platform.url}/mlflow/api/2.0/mlflow/experiments/search?max_results=100"
    return httpx.get(url, headers=headers, timeout=30)


def names_of(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {experiment["name"] for experiment in answer.json().get("experiments", [])}


def create(platform: RunningPlatform, caller: Caller, name: str, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{platform.url}/mlflow/api/2.0/mlflow/experiments/create",
        json={"name": name},
        headers={"authorization": f"Bearer {caller.token}", **headers},
        timeout=30,
    )


class TestWhoIsLetIn:
    def test_a_bearer_key_sees_its_teams_experiments(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        ana.client.post("/experiments", json={"name": "ours"})
        assert names_of(search(platform, authorization=f"Bearer {ana.token}")) == {"Default", "ours"}

    def test_the_key_as_password_of_basic_auth(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "viewer")
        pair = base64.b64encode(f"any:{ana.token}".encode()).decode()
        assert names_of(search(platform, authorization=f"Basic {pair}")) == {"Default"}

    def test_a_browser_session(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "viewer")
        code = ana.client.post("/sign-in-links").json()["url"].partition("#code=")[2]
        browser = platform.client()
        assert browser.post(platform.url + "/login", json={"code": code}).status_code == 204
        assert browser.get(platform.url + "/mlflow/").status_code == 200
        answer = browser.get(f"{platform.url}/mlflow/ajax-api/2.0/mlflow/experiments/search?max_results=5")
        assert names_of(answer) == {"Default"}

    def test_nobody_without_or_with_a_revoked_key(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        key = ana.client.post("/keys", json={"name": "gone"}).json()
        ana.client.delete(f"/keys/{key['key_id']}")
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {key['token']}"}):
            assert search(platform, **headers).status_code == 401

    def test_a_browser_without_a_session_is_told_how_to_sign_in(self, platform: RunningPlatform) -> None:
        answer = httpx.get(platform.url + "/mlflow/", headers={"accept": "text/html"})
        assert answer.status_code == 401
        assert "mlops login --web" in answer.text


class TestWhatTheyMay:
    def test_a_viewer_reads_and_writes_nothing(self, platform: RunningPlatform) -> None:
        viewer = platform.new_user(platform.new_team(), "viewer")
        assert create(platform, viewer, "mine").status_code == 403

    def test_another_teams_workspace_is_not_found(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        other = workspace_of(platform.new_team())
        answer = create(platform, ana, "theirs", **{"x-mlflow-workspace": other})
        assert answer.status_code == 404

    def test_what_a_client_makes_is_in_our_lists(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        made = create(platform, ana, "by client").json()
        assert ana.client.get("/experiments/by client").json()["experiment_id"] == made["experiment_id"]


class TestWorkspaceOf:
    @pytest.mark.parametrize("team", ["fraud", "fraud-2", "a1"])
    def test_a_name_that_mlflow_takes_stays(self, team: str) -> None:
        assert workspace_of(team) == team

    @pytest.mark.parametrize(
        "team", ["default", "a", "under_score", "x" * 63 + "_", "_", "api", "a-0123abcd"]
    )
    def test_others_get_one_of_their_own(self, team: str) -> None:
        made: Any = workspace_of(team)
        assert made != team
        assert 2 <= len(made) <= 63
        assert workspace_of(made) != made  # a team of that name does not get into this workspace

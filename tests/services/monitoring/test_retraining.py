"""What drift starts: the job of the serving version, done again, and the request of a rollout."""

from pathlib import Path
from typing import Any

import pytest

from ml_platform.kit.db import Database
from ml_platform.server.monitoring_adapters import MonitoredDeployments
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.identity.tables import TeamRow
from ml_platform.services.monitoring.tables import RetrainingRow
from tests.support.crash import eventually
from tests.support.monitoring import Watched, drifted, watch
from tests.support.platform import Caller, RunningPlatform
from tests.support.training import create_experiment, submit_script, wait_for

SCRIPT = "import os; print(sorted(os.listdir(os.environ['MLOPS_INPUTS'])))"
RETRAIN = {"retrain": {"enabled": True}}


@pytest.fixture
def caller(platform: RunningPlatform) -> Caller:
    return platform.new_user(platform.new_team("retrain"), "ml_engineer")


def upload(caller: Caller, text: str) -> None:
    caller.client.post("/datasets", json={"name": "people"})
    answer = caller.client.post(
        "/datasets/people/versions", content=text.encode(), headers={"content-type": "text/csv"}
    )
    assert answer.status_code == 201, answer.text


def trained_job(caller: Caller, **request: Any) -> str:
    create_experiment(caller.client)
    job_id = submit_script(caller.client, "experiment", SCRIPT, **request)
    assert wait_for(caller.client, job_id)["status"] == "succeeded"
    return job_id


def retraining(watched: Watched, retraining_id: str) -> dict[str, Any]:
    return watched.caller.client.get(f"{watched.path}/retrainings/{retraining_id}").json()


class TestDriftWithRetrainingEnabled:
    def test_the_job_is_done_again_with_the_newest_data_and_says_that_it_gave_no_model(
        self, caller: Caller, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        upload(caller, "id,age\n1,30\n2,40\n")
        job_id = trained_job(caller, inputs={"people": "dataset:people"}, config={"depth": 3})
        upload(caller, "id,age\n1,31\n2,41\n3,51\n")
        watched = watch(platform, tmp_path, job_id=job_id, caller=caller)
        watched.set_monitor(**RETRAIN)
        watched.log(drifted().head(1_000))
        decision = watched.check()["retraining"]
        assert decision["started"], decision
        found = eventually(
            lambda: (r := retraining(watched, decision["retraining_id"]))["finished_at"] and r,
            within=90,
            what="the end of the retraining",
        )
        assert (found["status"], found["source_job_id"]) == ("rejected", job_id)
        assert "registered no model" in found["reason"]
        again = caller.client.get(f"/jobs/{found['job_id']}").json()
        before = caller.client.get(f"/jobs/{job_id}").json()
        assert (again["created_by"], again["config"]) == ("retraining", {"depth": 3})
        assert again["source_id"] == before["source_id"]
        assert again["inputs"]["people"]["digest"] != before["inputs"]["people"]["digest"]
        titles = {alert["title"] for alert in watched.alerts()}
        assert "A retraining gave no model to roll out" in titles

    def test_the_next_drift_meets_the_cool_down_and_then_the_budget(
        self, caller: Caller, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        watched = watch(platform, tmp_path, job_id=trained_job(caller), caller=caller)
        watched.set_monitor(retrain={"enabled": True, "max_per_week": 1})
        watched.log(drifted().head(1_000))
        started = watched.check()["retraining"]
        eventually(
            lambda: retraining(watched, started["retraining_id"])["finished_at"],
            within=90,
            what="the end of the retraining",
        )
        assert "cool-down" in watched.check()["retraining"]["reason"]
        watched.set_monitor(retrain={"enabled": True, "max_per_week": 1, "cooldown_hours": 0})
        assert "budget of 1" in watched.check()["retraining"]["reason"]
        items = watched.caller.client.get(f"{watched.path}/retrainings").json()["items"]
        assert [item["retraining_id"] for item in items] == [started["retraining_id"]]

    def test_a_version_that_no_job_made_cannot_be_retrained(
        self, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        watched = watch(platform, tmp_path)
        watched.set_monitor(**RETRAIN)
        watched.log(drifted().head(1_000))
        decision = watched.check()["retraining"]
        assert (decision["started"], decision["retraining_id"]) == (False, None)
        assert "was not made by a job" in decision["reason"]
        with platform.runtime.components.get(Database).read() as session:
            assert session.query(RetrainingRow).filter_by(deployment_id=watched.deployment_id).all() == []


class TestRequestingARollout:
    def test_it_is_a_rollout_by_the_platform_and_there_is_no_second_one_meanwhile(
        self, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        watched = watch(platform, tmp_path, graph=True)
        parts = platform.runtime.components
        deployments = MonitoredDeployments(parts)
        team = watched.caller.client.get("/whoami").json()["team"]
        with parts.get(Database).read() as session:
            team_id = session.query(TeamRow).filter_by(name=team).one().id
        actor = Actor.system("retraining", team_id=team_id, team_name=team)
        with parts.get(WorkFactory).begin(actor) as work:
            rollout_id, second = (
                deployments.request_rollout(work, watched.deployment_id, "churn_v1", justification="drift")
                for _ in range(2)
            )
        assert second is None
        found = watched.caller.client.get(f"/rollouts/{rollout_id}").json()
        assert (found["deployment_id"], found["requested_by"]) == (watched.deployment_id, "retraining")
        assert found["justification"] == "drift"

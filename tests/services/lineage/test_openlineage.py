"""OpenLineage's events of real changes, at a real receiver, held against the published schema."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import SecretStr
from sqlalchemy import event as hooks

from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.ids import new_id
from ml_platform.server.parts import lineage
from ml_platform.server.runtime import Runtime
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.deployments.tables import DeploymentRow, RolloutRow
from ml_platform.services.lineage.facets import run_id
from tests.services.features.test_features import CUSTOMERS
from tests.services.lineage.conftest import Made, make, uploaded
from tests.support.crash import eventually
from tests.support.monitoring import Watched, watch
from tests.support.openlineage import Receiver, check, receiving
from tests.support.platform import RunningPlatform
from tests.support.training import create_experiment, submit_script, wait_for

ENDS = {"COMPLETE", "FAIL", "ABORT"}


@dataclass(frozen=True)
class Bench:
    platform: RunningPlatform
    receiver: Receiver
    made: Made
    file: Path

    def run(self, our_id: str) -> list[dict[str, Any]]:
        """The events of a run, when its last one is there."""

        def ended() -> list[dict[str, Any]]:
            found = [e for e in self.receiver.events if e["run"]["runId"] == run_id(our_id)]
            return found if found and found[-1]["eventType"] in ENDS else []

        return eventually(ended, within=60, what=f"the end of {our_id}")


@pytest.fixture(scope="module")
def bench(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The session's platform, with the part of lineage composed once more, for receivers of its own."""
    parts = platform.runtime.components
    folder = tmp_path_factory.mktemp("openlineage")
    caller = platform.new_user(platform.new_team("lineage"), "ml_engineer")
    with receiving() as receiver:
        changes = {
            "openlineage_url": SecretStr(receiver.url),
            "openlineage_token_file": folder / "token",
            "openlineage_file": folder / "events.jsonl",
        }
        (folder / "token").write_text("a-token\n")
        second = Runtime(platform.settings.model_copy(update=changes))
        second.components = parts
        lineage.compose(second)
        second.start()
        try:
            made = make(platform, caller, folder / "made")
            yield Bench(platform, receiver, made, folder / "events.jsonl")
        finally:
            second.stop()


def names(things: list[dict[str, Any]]) -> set[str]:
    return {thing["name"] for thing in things}


def tags(event: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in event["run"]["facets"]["tags"]["tags"]}


class TestTraining:
    def test_a_job_is_told_from_its_start_to_its_end(self, bench: Bench) -> None:
        job = bench.made.job
        start, end = bench.run(job["job_id"])
        assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
        assert start["eventTime"] < end["eventTime"]
        assert end["job"]["namespace"] == f"mlops/{bench.made.caller.team}"
        assert end["job"]["name"] == "train/lineage/train.py"
        assert names(end["inputs"]) == {f"training-sets/{bench.made.training_set}", "datasets/customers"}
        assert tags(end)["id"] == job["job_id"]
        assert len(tags(end)["source_sha256"]) == 64

    def test_one_that_fails_says_why(self, bench: Bench) -> None:
        client = bench.made.caller.client
        job = submit_script(client, create_experiment(client, "failing"), "raise SystemExit(3)")
        wait_for(client, job, "failed")
        events = bench.run(job)
        assert [event["eventType"] for event in events] == ["START", "FAIL"]
        assert "3" in events[-1]["run"]["facets"]["errorMessage"]["message"]

    def test_one_that_is_cancelled_is_aborted(self, bench: Bench) -> None:
        client = bench.made.caller.client
        script = "import time\ntime.sleep(300)"
        job = submit_script(client, create_experiment(client, "cancelled"), script)
        assert client.post(f"/jobs/{job}/cancel").status_code == 200
        wait_for(client, job, "cancelled")
        assert [event["eventType"] for event in bench.run(job)] == ["START", "ABORT"]


class TestFeatures:
    def test_a_materialisation_reads_a_version_of_a_dataset(self, bench: Bench) -> None:
        client = bench.made.caller.client
        answer = client.post("/feature-views/profile/materialize").json()
        start, end = bench.run(answer["materialization_id"])
        assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
        [data], [view] = end["inputs"], end["outputs"]
        assert (data["name"], data["facets"]["version"]["datasetVersion"]) == ("datasets/customers", "1")
        columns = {field["name"] for field in data["facets"]["schema"]["fields"]}
        assert columns == {"customer_id", "event_timestamp", "tenure", "plan", "churned"}
        assert (view["name"], view["outputFacets"]["outputStatistics"]["rowCount"]) == (
            "feature-views/profile",
            2,
        )

    def test_a_training_set_is_joined_from_entities_and_views(self, bench: Bench) -> None:
        start, end = bench.run(bench.made.training_set)
        assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
        assert start["eventTime"] <= end["eventTime"]
        assert names(end["inputs"]) == {"datasets/asked", "feature-views/profile"}
        assert names(end["outputs"]) == {f"training-sets/{bench.made.training_set}"}
        assert end["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 3


class TestDeployments:
    @pytest.mark.parametrize(
        ("action", "kind"),
        [
            ("rollout.succeeded", "COMPLETE"),
            ("rollout.failed", "FAIL"),
            ("rollout.rolled_back", "FAIL"),
            ("rollout.cancelled", "ABORT"),
        ],
    )
    def test_a_rollout_is_told_from_its_start_to_its_end(
        self, bench: Bench, tmp_path: Path, action: str, kind: str
    ) -> None:
        watched = watch(bench.platform, tmp_path, reference=pl.DataFrame())
        rollout = _rollout(bench.platform, watched, action.partition(".")[2])
        _record(bench.platform, watched, "rollout.start", rollout)
        _record(bench.platform, watched, "rollout.stage.passed", rollout)
        _record(bench.platform, watched, action, rollout)
        start, end = bench.run(rollout)
        assert (start["eventType"], end["eventType"]) == ("START", kind)
        assert end["job"]["name"] == "deploy/staging/churn"
        assert [(t["name"], t["facets"]["version"]["datasetVersion"]) for t in end["inputs"]] == [
            ("models/churn", "1")
        ]
        assert names(end["outputs"]) == {"endpoints/staging/churn"}
        failed = end["run"]["facets"].get("errorMessage", {}).get("message")
        assert failed == (None if kind == "COMPLETE" else "because")

    def test_what_did_not_commit_is_not_told(self, bench: Bench, tmp_path: Path) -> None:
        watched = watch(bench.platform, tmp_path, reference=pl.DataFrame())
        rollout = _rollout(bench.platform, watched, "failed")
        with pytest.raises(RuntimeError, match="at the last moment"):
            _record(bench.platform, watched, "rollout.start", rollout, fail=True)
        _record(bench.platform, watched, "rollout.start", rollout)
        _record(bench.platform, watched, "rollout.failed", rollout)
        assert [event["eventType"] for event in bench.run(rollout)] == ["START", "FAIL"]


def _rollout(platform: RunningPlatform, watched: Watched, status: str) -> str:
    """A rollout of `churn/1` as a row."""
    with platform.runtime.components.get(Database).write() as session:
        deployment = session.get_one(DeploymentRow, watched.deployment_id)
        row = RolloutRow(
            id=new_id("rol"),
            team_id=deployment.team_id,
            team_name=deployment.team_name,
            revision_id=new_id("rev"),
            deployment_id=deployment.id,
            model_name="churn",
            model_version=1,
            environment="staging",
            status=status,
            reason="because",
            config={},
            requested_by="somebody",
            requested_by_name="somebody",
            created_at=utc_now(),
        )
        session.add(row)
        return row.id


def _record(
    platform: RunningPlatform, watched: Watched, action: str, rollout: str, *, fail: bool = False
) -> None:
    """A change of a rollout, as its ledger makes it known."""
    parts = platform.runtime.components
    with parts.get(Database).read() as session:
        team_id = session.get_one(DeploymentRow, watched.deployment_id).team_id
    actor = Actor.system("test", team_id=team_id, team_name=watched.caller.team)
    work = parts.get(WorkFactory).create(actor, write=True)
    work.record(action, "rollout", rollout)
    try:
        if fail:
            hooks.listen(work.session, "before_commit", _fail)
        work.commit()
    except BaseException:
        work.rollback()
        raise
    finally:
        work.close()


def _fail(_session: Any) -> None:
    raise RuntimeError("at the last moment")


class TestEveryEvent:
    def test_is_as_the_published_schema_says(self, bench: Bench) -> None:
        bench.run(bench.made.job["job_id"])
        events = bench.receiver.events
        assert {event["job"]["facets"]["jobType"]["jobType"] for event in events} >= {
            "TRAINING",
            "MATERIALIZATION",
            "TRAINING_SET",
        }
        for event in events:
            check(event)

    def test_of_a_run_begins_and_ends_once(self, bench: Bench) -> None:
        bench.run(bench.made.job["job_id"])
        runs = {event["run"]["runId"] for event in bench.receiver.events}
        for run in runs:
            kinds = bench.receiver.of_run(run)
            assert kinds[0] == "START"
            assert kinds.count("START") == 1
            assert sum(kind in ENDS for kind in kinds[1:]) == len(kinds) - 1 <= 1

    def test_goes_into_the_file_as_well(self, bench: Bench) -> None:
        bench.run(bench.made.job["job_id"])
        wanted = run_id(bench.made.training_set)
        eventually(lambda: bench.file.exists() and wanted in bench.file.read_text(), what="the file")

    def test_comes_with_the_token(self, bench: Bench) -> None:
        bench.run(bench.made.job["job_id"])
        assert bench.receiver.tokens == {"Bearer a-token"}

    def test_the_check_refuses_what_is_not_published(self, bench: Bench) -> None:
        bench.run(bench.made.job["job_id"])
        event = bench.receiver.events[0]
        wrongs: list[dict[str, Any]] = [
            {"eventType": "BEGIN"},
            {"colour": "red"},
            {"run": {**event["run"], "runId": 7}},
            {"job": {"namespace": "x"}},
            {"inputs": [{"namespace": "x", "name": "y", "facets": {"z": {"_producer": "urn:x"}}}]},
            {"outputs": {}},
        ]
        for wrong in wrongs:
            with pytest.raises(AssertionError):
                check({**event, **wrong})


class TestAReceiverThatIsAway:
    def test_harms_nobody_and_gets_everything_in_the_end(self, bench: Bench) -> None:
        bench.run(bench.made.job["job_id"])
        bench.receiver.status = lambda _event: 503
        before = len(bench.receiver.events)
        client = bench.made.caller.client
        try:
            uploaded(bench.made.caller, "more", CUSTOMERS)
            body = {"entities": "asked@1", "features": ["profile"]}
            made = [client.post("/training-sets", json=body) for _ in range(3)]
            assert [answer.status_code for answer in made] == [201] * 3
            asked = bench.receiver.asked
            eventually(lambda: bench.receiver.asked > asked, within=60, what="another try")
            assert len(bench.receiver.events) == before
            metrics = bench.platform.client(bench.platform.admin_token).get(f"{bench.platform.url}/metrics")
            found = re.search(r'platform_lineage_events_waiting{receiver="http"} (\d+)', metrics.text)
            assert found is not None
            assert int(found[1]) >= 6
        finally:
            bench.receiver.status = lambda _event: 200
        for answer in made:
            kinds = [event["eventType"] for event in bench.run(answer.json()["training_set_id"])]
            assert kinds == ["START", "COMPLETE"]

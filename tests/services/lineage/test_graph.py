"""The graph over the API: from data to deployments, and back."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import insert, select

from ml_platform.contracts.lineage import LineageKind
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.ids import new_id
from ml_platform.services.deployments.tables import DeploymentRow
from ml_platform.services.identity.tables import TeamRow
from ml_platform.services.lineage.tables import LineageEdgeRow
from ml_platform.services.monitoring.tables import DriftCheckRow, RetrainingRow
from ml_platform.services.training.tables import JobRow
from tests.services.features.test_features import ASKED, CUSTOMERS, VIEW, materialize
from tests.services.lineage.conftest import Made, uploaded
from tests.support.monitoring import features, watch
from tests.support.platform import Caller, RunningPlatform
from tests.support.training import SKLEARN_SOURCE, create_experiment, submit

KINDS = [kind.value for kind in LineageKind]


def team_id(platform: RunningPlatform, caller: Caller) -> str:
    with platform.runtime.components.get(Database).read() as session:
        return session.scalars(select(TeamRow.id).where(TeamRow.name == caller.team)).one()


class TestUpstream:
    def test_a_deployment_leads_back_to_data_and_code(self, made: Made) -> None:
        found = made.ids("deployment", made.watched.deployment_id, direction="upstream")
        assert found == {
            ("deployment", made.watched.deployment_id),
            ("revision", made.watched.revision_id),
            ("model", "churn/1"),
            ("job", made.job["job_id"]),
            ("source", made.job["source_id"]),
            ("training_set", made.training_set),
            ("feature_view", "profile@1"),
            ("dataset", "customers@1"),
            ("dataset", "asked@1"),
        }

    def test_edges_say_how(self, made: Made) -> None:
        graph = made.lineage("model", "churn/1", direction="upstream")
        names = {node["ref"]: f"{node['kind']} {node['id']}" for node in graph["nodes"]}
        edges = {(names[e["source"]], e["relation"], names[e["target"]]) for e in graph["edges"]}
        job, training_set = f"job {made.job['job_id']}", f"training_set {made.training_set}"
        assert edges == {
            (job, "registered as", "model churn/1"),
            (f"source {made.job['source_id']}", "code", job),
            (training_set, "input train", job),
            ("dataset customers@1", "input customers", job),
            ("dataset asked@1", "entities", training_set),
            ("feature_view profile@1", "features", training_set),
            ("dataset customers@1", "source", "feature_view profile@1"),
        }

    def test_nodes_say_what_they_are(self, made: Made) -> None:
        graph = made.lineage("training_set", made.training_set, direction="upstream")
        nodes = {node["id"]: node for node in graph["nodes"]}
        assert nodes["customers@1"]["details"]["rows"] == 3
        assert nodes["profile@1"]["details"]["materialized_at"] is not None
        assert nodes["profile@1"]["created_by"] == made.caller.name
        assert [nodes[i]["distance"] for i in (made.training_set, "profile@1", "customers@1")] == [0, -1, -2]
        assert not graph["truncated"]
        assert all(node["expanded"] for node in graph["nodes"])

    def test_an_environment_is_known_by_its_requirements(self, platform: RunningPlatform) -> None:
        caller = platform.new_user(platform.new_team(), "ml_engineer")
        experiment = create_experiment(caller.client)
        jobs = []
        for text in ("# pinned\npolars==1.34.0\n", "polars == 1.34.0\n", "polars==1.35.0\n", ""):
            source = {"train.py": "print(1)", **({"requirements.txt": text} if text else {})}
            jobs.append(submit(caller.client, experiment, source=source))
        digests = [_requirements(platform, job) for job in jobs]
        assert digests[0] == digests[1] != digests[2]
        assert digests[3] == "none"
        answer = caller.client.get(f"/lineage/environment/{digests[0]}", params={"direction": "downstream"})
        assert {n["id"] for n in answer.json()["nodes"] if n["kind"] == "job"} == set(jobs[:2])
        for job in jobs:
            caller.client.post(f"/jobs/{job}/cancel")


def _requirements(platform: RunningPlatform, job_id: str) -> str:
    """The digest of a job's requirements when it was prepared."""
    deadline = time.monotonic() + 60
    while True:
        with platform.runtime.components.get(Database).read() as session:
            row = session.get_one(JobRow, job_id)
            if row.queued_at is not None:
                return row.requirements_digest or "none"
        assert time.monotonic() < deadline
        time.sleep(0.05)


class TestViewsThatMove:
    def test_a_training_set_keeps_the_version_that_it_was_joined_from(
        self, platform: RunningPlatform
    ) -> None:
        caller = platform.new_user(platform.new_team(), "ml_engineer")
        for name, content in (("customers", CUSTOMERS), ("asked", ASKED)):
            uploaded(caller, name, content)
        caller.client.post("/feature-views", json=VIEW)
        join = {"entities": "asked@1", "features": ["profile"]}
        before = caller.client.post("/training-sets", json=join).json()["training_set_id"]
        uploaded(caller, "customers", CUSTOMERS + b"a,2024-04-01T00:00:00Z,4,basic,0\n")
        assert materialize(caller, dataset_version=2)["status"] == "succeeded"
        after = caller.client.post("/training-sets", json=join).json()["training_set_id"]

        def data(kind: str, name: str) -> set[str]:
            graph = caller.client.get(f"/lineage/{kind}/{name}", params={"direction": "upstream"}).json()
            return {node["id"] for node in graph["nodes"] if node["kind"] == "dataset"}

        assert data("training_set", before) == {"customers@1", "asked@1"}
        assert data("training_set", after) == {"customers@2", "asked@1"}
        assert data("feature_view", "profile") == {"customers@2"}
        assert data("feature_view", "profile@1") == {"customers@1"}
        assert caller.client.get("/lineage/feature_view/profile@7").status_code == 404

    def test_a_deleted_view_stays_in_the_lineage_of_what_was_made_of_it(
        self, platform: RunningPlatform
    ) -> None:
        caller = platform.new_user(platform.new_team(), "ml_engineer")
        for name, content in (("customers", CUSTOMERS), ("asked", ASKED)):
            uploaded(caller, name, content)
        caller.client.post("/feature-views", json=VIEW)
        join = {"entities": "asked@1", "features": ["profile"]}
        training_set = caller.client.post("/training-sets", json=join).json()["training_set_id"]
        assert caller.client.delete("/feature-views/profile").status_code in (200, 204)
        graph = caller.client.get(f"/lineage/training_set/{training_set}").json()
        [view] = [node for node in graph["nodes"] if node["kind"] == "feature_view"]
        assert view["details"] == {"name": "profile@1", "deleted": True}
        assert "customers@1" in {node["id"] for node in graph["nodes"]}
        again = caller.client.get(f"/lineage/feature_view/{view['id']}").json()
        assert training_set in {node["id"] for node in again["nodes"]}


class TestDownstream:
    def test_data_leads_to_what_serves_it(self, made: Made) -> None:
        found = made.ids("dataset", "customers@1", direction="downstream")
        assert {("deployment", made.watched.deployment_id), ("model", "churn/1")} <= found
        assert ("dataset", "asked@1") not in found

    def test_both_ways_are_one_answer(self, made: Made) -> None:
        graph = made.lineage("job", made.job["job_id"])
        distances = {node["kind"]: node["distance"] for node in graph["nodes"]}
        assert distances["training_set"] == -1
        assert distances["job"] == 0
        assert distances["deployment"] == 3

    def test_depth_ends_it_and_says_where(self, made: Made) -> None:
        graph = made.lineage("job", made.job["job_id"], direction="downstream", depth=1)
        assert {node["kind"]: node["expanded"] for node in graph["nodes"] if node["kind"] != "run"} == {
            "job": True,
            "model": False,
        }
        assert not graph["truncated"]
        assert made.ids("model", "churn/1", depth=0) == {("model", "churn/1")}


class TestPredictions:
    def test_are_counted_by_revision_when_asked_for(self, platform: RunningPlatform, made: Made) -> None:
        made.watched.log(features().head(30))
        made.watched.log(features().head(4), status=503)
        start = made.lineage("model", "churn/1", direction="downstream", predictions=True)
        [node] = [node for node in start["nodes"] if node["kind"] == "predictions"]
        assert node["id"] == made.watched.revision_id
        assert node["details"]["predictions"] == 30
        assert node["details"]["failures"] == 4
        assert node["details"]["first_at"] <= node["details"]["last_at"]
        assert "predictions" not in {n["kind"] for n in made.lineage("model", "churn/1")["nodes"]}
        kinds = {k for k, _ in made.ids("deployment", made.watched.deployment_id, predictions=True)}
        assert "predictions" in kinds
        later = (utc_now() + timedelta(minutes=1)).isoformat()
        assert "predictions" not in {
            k for k, _ in made.ids("model", "churn/1", predictions=True, since=later)
        }

    def test_a_request_leads_back_to_data(self, made: Made) -> None:
        made.watched.log(features().head(3))
        graph = made.lineage("prediction", "req-1")
        kinds = {node["kind"] for node in graph["nodes"]}
        assert {"prediction", "revision", "model", "job", "source", "training_set", "dataset"} <= kinds
        assert graph["root"] == "prediction:req-1"
        edges = {(edge["source"], edge["relation"], edge["target"]) for edge in graph["edges"]}
        assert (f"revision:{made.watched.revision_id}", "answered", "prediction:req-1") in edges

    def test_of_a_revision_lead_back_as_well(self, made: Made) -> None:
        made.watched.log(features().head(3))
        found = made.ids("predictions", made.watched.revision_id, direction="upstream")
        assert {("model", "churn/1"), ("dataset", "customers@1")} <= found

    def test_of_another_team_are_not_found(
        self, platform: RunningPlatform, made: Made, tmp_path: Path
    ) -> None:
        made.watched.log(features().head(3))
        stranger = watch(platform, tmp_path, reference=pl.DataFrame()).caller
        for path in ("prediction/req-1", f"predictions/{made.watched.revision_id}", "prediction/nothing"):
            answer = stranger.client.get(f"/lineage/{path}", params={"predictions": True})
            assert answer.status_code == 404, answer.text


class TestTeams:
    def test_another_team_finds_nothing(self, platform: RunningPlatform, made: Made) -> None:
        stranger = platform.new_user(platform.new_team(), "ml_engineer")
        refs = made.lineage("job", made.job["job_id"])["nodes"]
        assert len({node["kind"] for node in refs}) >= 8
        for node in refs:
            for name in (node["id"], node["ref"].partition(":")[2]):
                answer = stranger.client.get(f"/lineage/{node['kind']}/{name}")
                assert answer.status_code == 404, (node, answer.text)

    def test_an_edge_into_another_team_shows_nothing_of_it(
        self, platform: RunningPlatform, made: Made
    ) -> None:
        stranger = platform.new_user(platform.new_team(), "ml_engineer")
        uploaded(stranger, "customers", CUSTOMERS)
        graph = stranger.client.get("/lineage/dataset/customers@1").json()
        assert [node["details"]["dataset"] for node in graph["nodes"]] == ["customers"]
        assert graph["edges"] == []

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_is_not_there_is_not_found(self, made: Made, kind: str) -> None:
        for name in ("nothing", "nothing@1", "nothing/1", "a/b/c", "x" * 300):
            assert made.caller.client.get(f"/lineage/{kind}/{name}").status_code == 404

    @pytest.mark.parametrize(
        "path",
        ["nothing/x", "dataset/" + "x" * 301, "job/a?depth=31", "job/a?limit=0", "job/a?x=1"],
    )
    def test_wrong_requests_are_refused(self, made: Made, path: str) -> None:
        assert made.caller.client.get(f"/lineage/{path}").status_code == 422


class TestTriggers:
    def test_a_retraining_is_shown_and_not_followed(self, platform: RunningPlatform, tmp_path: Path) -> None:
        """From the first model's deployment over drift to the second job: a loop as they come about."""
        caller = platform.new_user(platform.new_team(), "ml_engineer")
        first, second = _jobs(platform, caller, 2)
        watched = watch(platform, tmp_path, caller=caller, job_id=first, reference=pl.DataFrame())
        check, retraining = _retrained(platform, watched.deployment_id, first, second)

        def ids(kind: str, name: str, direction: str) -> set[str]:
            answer = caller.client.get(f"/lineage/{kind}/{name}", params={"direction": direction})
            return {node["id"] for node in answer.json()["nodes"]}

        assert {check, retraining, watched.deployment_id, first} <= ids("job", second, "upstream")
        assert "churn/1" not in ids("job", second, "upstream")
        assert {check, retraining, second} <= ids("model", "churn/1", "downstream")


class TestBounds:
    def test_loops_end(self, platform: RunningPlatform) -> None:
        caller = platform.new_user(platform.new_team(), "ml_engineer")
        sets = [new_id("ts") for _ in range(3)]
        _edges(platform, caller, [(sets[i], sets[(i + 1) % 3]) for i in range(3)] + [(sets[0], sets[0])])
        _edges(platform, caller, [(_dataset(platform, caller), sets[0])], kind="dataset")
        for direction in ("upstream", "downstream", "both"):
            answer = caller.client.get(
                "/lineage/dataset/loop", params={"direction": direction, "depth": 30}, timeout=60
            )
            assert answer.status_code == 200
            assert len(answer.json()["edges"]) == (0 if direction == "upstream" else 5)

    def test_ten_thousand_nodes_are_cut_honestly_and_in_time(self, platform: RunningPlatform) -> None:
        caller = platform.new_user(platform.new_team(), "ml_engineer")
        jobs = _jobs(platform, caller, 10_000)
        dataset = _dataset(platform, caller)
        _edges(platform, caller, [(dataset, job) for job in jobs], kind="dataset", target="job")
        began = time.monotonic()
        graph = caller.client.get("/lineage/dataset/loop", params={"limit": 5_000}).json()
        took = time.monotonic() - began
        assert (len(graph["nodes"]), graph["truncated"]) == (5_000, True)
        assert max(jobs) in {node["id"] for node in graph["nodes"]}, "the newest come first"
        assert not next(node for node in graph["nodes"] if node["distance"] == 0)["expanded"]
        assert took < 60
        for limit in (1, 2, 10):
            small = caller.client.get("/lineage/dataset/loop", params={"limit": limit}).json()
            assert (len(small["nodes"]), small["truncated"]) == (limit, True)


def _dataset(platform: RunningPlatform, caller: Caller) -> str:
    """The key of `loop@1`."""
    uploaded(caller, "loop", CUSTOMERS)
    [node] = caller.client.get("/lineage/dataset/loop", params={"depth": 0}).json()["nodes"]
    return str(node["ref"].partition(":")[2])


def _edges(
    platform: RunningPlatform,
    caller: Caller,
    pairs: list[tuple[str, str]],
    *,
    kind: str = "training_set",
    target: str = "training_set",
) -> None:
    team = team_id(platform, caller)
    rows = [
        {
            "id": new_id("lin"),
            "team_id": team,
            "source_kind": kind,
            "source_id": source,
            "source_name": source,
            "target_kind": target,
            "target_id": made_of_it,
            "target_name": made_of_it,
            "relation": "planted",
            "recorded_at": utc_now(),
        }
        for source, made_of_it in pairs
    ]
    with platform.runtime.components.get(Database).write() as session:
        session.execute(insert(LineageEdgeRow), rows)


def _jobs(platform: RunningPlatform, caller: Caller, count: int) -> list[str]:
    """Jobs that ended long ago, as rows."""
    answer = submit(caller.client, create_experiment(caller.client), source=SKLEARN_SOURCE)
    caller.client.post(f"/jobs/{answer}/cancel")
    with platform.runtime.components.get(Database).write() as session:
        model = session.get_one(JobRow, answer)
        values: dict[str, Any] = {c.key: getattr(model, c.key) for c in JobRow.__mapper__.column_attrs}
        ended = {"status": "succeeded", "finished_at": utc_now(), "run_id": None}
        rows = [values | ended | {"id": new_id("job")} for _ in range(count)]
        session.execute(insert(JobRow), rows)
    return [row["id"] for row in rows]


def _retrained(platform: RunningPlatform, deployment_id: str, first: str, second: str) -> tuple[str, str]:
    now = utc_now()
    with platform.runtime.components.get(Database).write() as session:
        deployment = session.get_one(DeploymentRow, deployment_id)
        common: dict[str, Any] = {
            "team_id": deployment.team_id,
            "deployment_id": deployment_id,
            "requested_by": "drift",
            "created_at": now,
        }
        check = DriftCheckRow(
            id=new_id("drc"),
            status="succeeded",
            trigger="schedule",
            reasons=[],
            drifted_features=[],
            notes=[],
            **common,
        )
        session.add(check)
        session.flush()
        retraining = RetrainingRow(
            id=new_id("rtr"),
            team_name=deployment.team_name,
            check_id=check.id,
            status="deployment_requested",
            source_job_id=first,
            job_id=second,
            **common,
        )
        session.add(retraining)
        return check.id, retraining.id

"""What was live at a moment, who answered for it, and the way back there."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ml_platform.contracts.deployments import DeploymentRestore
from ml_platform.kit.errors import ConflictError
from ml_platform.services.access import Actor
from ml_platform.services.deployments import TRAFFIC_ACTIONS
from ml_platform.services.deployments.history import DeploymentHistory
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow, RolloutRow
from tests.support.audit import Trail
from tests.support.rollouts import LOW, MEDIUM, Bench

AT_ONCE = {"steps": [100]}


class TestAsOf:
    @pytest.fixture
    def moments(self, bench: Bench) -> tuple[dict[str, Any], list[datetime]]:
        """Version 1 by the rule, version 2 by two people, then nothing; a moment before each and at the end."""
        moments = [datetime.now(UTC)]
        bench.plant("plain", bias=1.0)
        bench.assess("plain", LOW)
        accepted = bench.deploy("plain", "production", canary=AT_ONCE)
        bench.until(accepted, "succeeded")
        moments.append(datetime.now(UTC))
        bench.plant("plain", bias=2.0)
        bench.assess("plain", MEDIUM)
        accepted = bench.deploy("plain", "production", canary=AT_ONCE)
        approval = bench.approval(accepted)
        for role in ("manager", "senior_data_scientist"):
            assert bench.vote(approval, bench.person(role)).status_code == 200
        bench.until(accepted, "succeeded")
        moments.append(datetime.now(UTC))
        retired = bench.engineer.client.post(f"/deployments/{accepted['deployment_id']}/retire")
        assert retired.status_code == 200
        return accepted, [*moments, datetime.now(UTC)]

    def at(self, bench: Bench, accepted: dict[str, Any], moment: datetime) -> dict[str, Any]:
        answer = bench.engineer.client.get(
            f"/deployments/{accepted['deployment_id']}/as-of", params={"at": moment.isoformat()}
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def test_every_moment_has_its_answer(
        self, bench: Bench, moments: tuple[dict[str, Any], list[datetime]]
    ) -> None:
        accepted, (before, first, second, after) = moments
        assert self.at(bench, accepted, before)["revisions"] == []
        [live] = self.at(bench, accepted, first)["revisions"]
        assert (live["model_version"], live["weight"], live["approval"]["automatic"]) == (1, 100, True)
        found = self.at(bench, accepted, second)
        [live] = found["revisions"]
        assert (live["model_version"], live["requested_by"]) == (2, bench.engineer.name)
        people = {bench.person(role).name for role in ("manager", "senior_data_scientist")}
        assert set(live["approval"]["approvers"]) == people
        query = f"/audit/events?resource={accepted['deployment_id']}"
        events = {event["sequence"]: event for event in bench.platform.admin.get(query).json()["items"]}
        assert events[found["audit_sequence"]]["after"]["traffic"] == {live["revision_id"]: 100.0}
        gone = self.at(bench, accepted, after)
        assert (gone["revisions"], gone["action"]) == ([], "deployment.retire")

    def test_one_request_goes_back_through_the_gates(
        self, bench: Bench, moments: tuple[dict[str, Any], list[datetime]]
    ) -> None:
        accepted, (before, first, _, _) = moments
        url = f"/deployments/{accepted['deployment_id']}/restore"
        bench.assess("plain", LOW)
        answer = bench.engineer.client.post(url, json={"at": first.isoformat()})
        assert answer.status_code == 202, answer.text
        rollout = bench.until(answer.json(), "succeeded")
        assert (rollout["model_version"], "was live at" in rollout["justification"]) == (1, True)
        bench.answers_with(answer.json(), 2.0)
        again = bench.engineer.client.post(url, json={"at": datetime.now(UTC).isoformat()})
        assert again.status_code == 409
        nothing = bench.engineer.client.post(url, json={"at": before.isoformat()})
        assert nothing.status_code == 404
        odd = ["2026-03-01T12:00:00", "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
        for moment in odd:
            look = f"/deployments/{accepted['deployment_id']}/as-of"
            assert bench.engineer.client.get(look, params={"at": moment}).status_code == 422, moment
        for body in (*({"at": moment} for moment in odd), {}):
            assert bench.engineer.client.post(url, json=body).status_code == 422
        scientist = bench.person("data_scientist")
        assert scientist.client.post(url, json={"at": first.isoformat()}).status_code == 403


class TestBehindAPruning:
    """The log has forgotten what happened eight years ago; what was live then is still known."""

    @pytest.fixture
    def trail(self, tmp_path: Path) -> Iterator[Trail]:
        made = Trail(f"sqlite:///{tmp_path}/audit.db", tmp_path)
        with made.years_ago(8):
            self.plant(made)
            self.serves(made, "rev_1")
            made.append(3)
            self.serves(made, "rev_2")
            made.archiver.run()
        made.append(2)
        made.archiver.run()
        assert made.new_pruner(keep=TRAFFIC_ACTIONS).run() == 5
        yield made
        made.close()

    def plant(self, trail: Trail) -> None:
        """A deployment of two revisions, by two rollouts."""
        at, team = trail.clock(), {"team_id": "team_1", "team_name": "one"}
        model = {"model_name": "churn", "environment": "production", "config": {}}
        with trail.database.write() as session:
            session.add(
                DeploymentRow(
                    id="dep_1",
                    **team,
                    environment="production",
                    name="churn",
                    status="active",
                    replicas=2,
                    auto_scale=False,
                    created_by="usr_1",
                    created_by_name="ana",
                    updated_at=at,
                    created_at=at,
                )
            )
            session.flush()
            for number in (1, 2):
                session.add(
                    RevisionRow(
                        id=f"rev_{number}",
                        team_id="team_1",
                        deployment_id="dep_1",
                        rollout_id=f"rol_{number}",
                        model_name="churn",
                        model_version=number,
                        model_digest="d",
                        bundle_uri="file:///b",
                        bundle_digest=f"b{number}",
                        runtime="onnx",
                        config={},
                        status="serving" if number == 2 else "retired",
                        weight=100.0 if number == 2 else 0.0,
                        created_at=at,
                    )
                )
                session.add(
                    RolloutRow(
                        id=f"rol_{number}",
                        **team,
                        **model,
                        deployment_id="dep_1",
                        revision_id=f"rev_{number}",
                        model_version=number,
                        status="succeeded",
                        requested_by="usr_1",
                        requested_by_name="ana",
                        created_at=at,
                        finished_at=at,
                    )
                )

    def serves(self, trail: Trail, revision: str) -> None:
        """A moment after whatever was before."""
        assert trail.moment is not None
        trail.moment += timedelta(days=1)
        with trail.factory.begin(Actor.system("rollouts", team_id="team_1")) as work:
            work.record("rollout.canary.step", "deployment", "dep_1", after={"traffic": {revision: 100.0}})

    def test_every_moment_has_its_answer_and_one_can_go_back(self, trail: Trail) -> None:
        long_ago = datetime.now(UTC) - timedelta(days=8 * 365.25)
        with trail.factory.begin(Actor.system("test", team_id="team_1"), write=False) as work:
            history = DeploymentHistory(work)
            assert history.as_of("dep_1", long_ago).revisions == []
            for moment, version, sequence in (
                (long_ago + timedelta(days=1.5), 1, 1),
                (long_ago + timedelta(days=3), 2, 5),
                (datetime.now(UTC), 2, 5),
            ):
                found = history.as_of("dep_1", moment)
                [live] = found.revisions
                assert (live.model_version, live.requested_by) == (version, "ana")
                assert (found.audit_sequence, found.changed_by) == (sequence, "rollouts")
            model, request = history.request("dep_1", DeploymentRestore(at=long_ago + timedelta(days=1.5)))
            assert (model, request.name, request.replicas) == ("churn/1", "churn", 2)
            with pytest.raises(ConflictError):
                history.request("dep_1", DeploymentRestore(at=datetime.now(UTC)))

"""What a version must bring besides its files: asked by the plan beforehand, and by the stage `validate`."""

from pathlib import Path
from typing import Any

import pytest

from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.ids import new_id
from ml_platform.services.deployments import Inspection
from ml_platform.services.identity.tables import KeyRow, TeamRow
from ml_platform.services.training.tables import JobRow, SourceRow
from tests.support.platform import Caller
from tests.support.rollouts import CARD, HIGH, LOW, MEDIUM, Bench


def plan(bench: Bench, environment: str = "production", **body: Any) -> dict[str, Any]:
    answer = bench.engineer.client.post(
        "/models/plain/deploy/plan", json={"environment": environment, **body}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def planned(bench: Bench, environment: str = "production", **body: Any) -> str:
    """Why the plan says that `validate` would stop it."""
    found = plan(bench, environment, **body)
    assert (found["allowed"], found["stopped_by"]) == (False, "validate"), found
    return str(found["gates"][0]["detail"])


def stopped(bench: Bench, environment: str = "production", **body: Any) -> str:
    """Why `validate` stops it."""
    rollout = bench.until(bench.deploy("plain", environment, **body), "failed")
    assert rollout["stages"][0]["status"] == "failed"
    return str(rollout["stages"][0]["reason"])


def evidence(bench: Bench, accepted: dict[str, Any]) -> dict[str, Any]:
    """What `validate` found."""
    found: dict[str, Any] = bench.rollout(accepted)["stages"][0]["evidence"]
    return found


def cancel(bench: Bench, accepted: dict[str, Any]) -> None:
    answer = bench.engineer.client.post(f"/rollouts/{accepted['rollout_id']}/cancel")
    assert answer.status_code == 200, answer.text


def job(bench: Bench, inputs: dict[str, Any]) -> str:
    """A job that has ended, as its row."""
    now = utc_now()
    with bench.platform.runtime.components.get(Database).write() as session:
        team = session.query(TeamRow).filter_by(name=bench.team).one()
        source = SourceRow(
            id=new_id("src"),
            team_id=team.id,
            sha256="0" * 64,
            size_bytes=1,
            uri="file:///nowhere",
            files=[],
            files_complete=True,
            created_by="test",
            created_at=now,
        )
        session.add(source)
        session.flush()
        row = JobRow(
            id=new_id("job"),
            team_id=team.id,
            experiment_id="1",
            experiment_name="plain",
            source_id=source.id,
            request={},
            inputs=inputs,
            timeout_seconds=1,
            memory_bytes=1,
            status="succeeded",
            metrics={},
            created_by="test",
            created_by_id="usr_test",
            created_at=now,
            finished_at=now,
        )
        session.add(row)
        return row.id


class TestTheModelCard:
    def test_that_lacks_sections_stops_with_them_and_the_command_that_writes_them(self, bench: Bench) -> None:
        bench.plant("plain", model_card={"intended_use": "adding", "limitations": " ", "training_data": "x"})
        bench.assess("plain", HIGH)
        for reason in (planned(bench), stopped(bench)):
            assert "a model of high risk needs out_of_scope, ethical_considerations, limitations" in reason
            assert "mlops models card set plain 1 --file card.yaml" in reason

    def test_that_is_complete_lets_it_pass(self, bench: Bench) -> None:
        bench.plant("plain", model_card={})
        bench.assess("plain", MEDIUM)
        assert "intended_use, limitations" in planned(bench)
        written = bench.engineer.client.put("/models/plain/versions/1/card", json={"card": CARD})
        assert written.status_code == 200, written.text
        assert plan(bench)["allowed"]
        accepted = bench.deploy("plain", "production")
        bench.approval(accepted)
        found = evidence(bench, accepted)
        assert (found["model_card"], found["model_card_missing"]) == (CARD, [])
        cancel(bench, accepted)

    def test_is_evidence_alone_in_staging(self, bench: Bench) -> None:
        bench.plant("plain", model_card={})
        bench.assess("plain", MEDIUM)
        assert plan(bench, "staging")["allowed"]
        accepted = bench.deploy("plain", "staging")
        bench.until(accepted, "succeeded")
        assert evidence(bench, accepted)["model_card_missing"] == ["intended_use", "limitations"]

    def test_may_be_empty_at_low_risk(self, bench: Bench) -> None:
        bench.plant("plain", model_card={})
        bench.assess("plain", LOW)
        assert plan(bench)["allowed"]
        bench.until(bench.deploy("plain", "production"), "succeeded")

    @pytest.mark.parametrize("scores", [MEDIUM, HIGH])
    def test_of_the_tests_is_complete(self, bench: Bench, scores: dict[str, int]) -> None:
        bench.plant("plain")
        bench.assess("plain", scores)
        assert plan(bench)["allowed"]


class TestTheLineage:
    def test_without_a_run_or_data_stops_at_medium_risk_and_says_how_to_declare_them(
        self, bench: Bench
    ) -> None:
        bench.plant("plain", recorded=False, model_card={"intended_use": "adding", "limitations": "many"})
        bench.assess("plain", MEDIUM)
        for reason in (planned(bench), stopped(bench)):
            assert "the lineage of plain/1 lacks its run and its data" in reason
            assert "mlops models card set plain 1" in reason

    def test_that_is_declared_as_imported_passes_and_is_evidence(self, bench: Bench) -> None:
        card = {"intended_use": "adding", "limitations": "many", "imported": "bought from Acme in May"}
        bench.plant("plain", recorded=False, model_card=card)
        bench.assess("plain", MEDIUM)
        assert plan(bench)["allowed"]
        accepted = bench.deploy("plain", "production")
        bench.approval(accepted)
        found = evidence(bench, accepted)["lineage"]
        assert (found["imported"], found["missing"]) == ("bought from Acme in May", [])
        cancel(bench, accepted)

    def test_needs_both_what_ran_and_what_was_learnt_from(self, bench: Bench) -> None:
        bench.plant("plain", model_card={"intended_use": "adding", "limitations": "many"})
        bench.assess("plain", MEDIUM)
        assert "lacks its data:" in planned(bench)
        bench.plant("plain", recorded=False)
        assert "lacks its run:" in planned(bench)

    def test_of_a_job_is_its_run_and_its_inputs(self, bench: Bench) -> None:
        reference = "dataset:telco@2"
        job_id = job(bench, {"train": {"reference": reference}})
        bench.plant("plain", job_id=job_id, model_card={"intended_use": "adding", "limitations": "many"})
        bench.assess("plain", MEDIUM)
        assert plan(bench)["allowed"]
        accepted = bench.deploy("plain", "production")
        bench.approval(accepted)
        found = evidence(bench, accepted)["lineage"]
        assert (found["job_id"], found["data"], found["missing"]) == (job_id, [reference], [])
        cancel(bench, accepted)

    def test_that_is_missing_is_evidence_alone_at_low_risk_and_in_staging(self, bench: Bench) -> None:
        bench.plant("plain", recorded=False, model_card={})
        bench.assess("plain", LOW)
        assert plan(bench)["allowed"]
        accepted = bench.deploy("plain", "staging")
        bench.until(accepted, "succeeded")
        assert evidence(bench, accepted)["lineage"]["missing"] == ["run", "data"]


class TestTheName:
    def test_of_another_models_endpoint_is_not_taken_over(self, bench: Bench) -> None:
        bench.plant("first")
        accepted = bench.deploy("first", name="shop")
        bench.until(accepted, "succeeded")
        bench.plant("plain", bias=5.0)
        for reason in (
            planned(bench, environment="staging", name="shop"),
            stopped(bench, "staging", name="shop"),
        ):
            assert (
                f"the endpoint 'shop' in staging is 'first''s, which {bench.engineer.name} deployed" in reason
            )
            assert "--name" in reason
        bench.answers_with(accepted, 2.0)
        assert plan(bench, "staging")["allowed"]
        assert plan(bench, "dev", name="shop")["allowed"]

    def test_is_free_again_when_that_was_retired(self, bench: Bench) -> None:
        bench.plant("first")
        accepted = bench.deploy("first", name="shop")
        bench.until(accepted, "succeeded")
        assert (
            bench.engineer.client.post(f"/deployments/{accepted['deployment_id']}/retire").status_code == 200
        )
        bench.plant("plain", bias=5.0)
        taken = bench.deploy("plain", name="shop")
        bench.until(taken, "succeeded")
        assert evidence(bench, taken)["endpoint"] == {"name": "shop", "held_by": None}
        bench.answers_with(taken, 6.0)

    def test_may_get_another_model_that_was_tried_beside_it(self, bench: Bench) -> None:
        bench.plant("first")
        accepted = bench.deploy("first", name="shop")
        bench.until(accepted, "succeeded")
        bench.plant("plain", bias=5.0)
        begun = bench.engineer.client.post(
            f"/deployments/{accepted['deployment_id']}/shadow", json={"model_id": "plain/1"}
        )
        assert begun.status_code == 202, begun.text
        bench.until(begun.json(), "succeeded")
        shadow = begun.json()["shadow_id"]
        promoted = bench.engineer.client.post(f"/shadows/{shadow}/promote", json={})
        assert promoted.status_code == 202, promoted.text
        bench.until(promoted.json(), "succeeded")
        bench.answers_with(accepted, 6.0)


class TestTheQuota:
    def limit(self, bench: Bench, **limits: float | None) -> None:
        answer = bench.platform.admin.patch(f"/teams/{bench.team}", json=limits)
        assert answer.status_code == 200, answer.text

    def used(self, bench: Bench) -> dict[str, float]:
        found = bench.engineer.client.get("/quota").json()["limits"]
        return {item["name"]: item["used"] for item in found}

    def test_of_endpoints_stops_one_more_and_not_a_new_version(self, bench: Bench) -> None:
        self.limit(bench, max_deployments=1)
        bench.plant("plain")
        first = bench.deploy("plain")
        bench.until(first, "succeeded")
        for reason in (
            planned(bench, environment="staging", name="two"),
            stopped(bench, "staging", name="two"),
        ):
            assert "deployments: 1 of 1 are taken, and this makes it 2" in reason
            assert f"mlops teams set-quota {bench.team}" in reason
        bench.until(bench.deploy("plain"), "succeeded")
        assert evidence(bench, first)["quota"]["deployments"] == {"limit": 1, "used": 0, "needed": 1}

    def test_of_copies_counts_those_that_load_may_bring(self, bench: Bench) -> None:
        self.limit(bench, max_replicas=4)
        bench.plant("plain")
        assert "replicas: 0 of 4" in planned(
            bench, environment="staging", replicas=2, auto_scale=True, max_replicas=5
        )
        assert plan(bench, "staging", replicas=2, auto_scale=True, max_replicas=4)["allowed"]

    def test_of_cores_and_memory(self, bench: Bench) -> None:
        self.limit(bench, max_cpu=1.5, max_memory_mb=2048)
        bench.plant("plain")
        reason = planned(bench, environment="staging", replicas=3, resources={"cpu": 0.6, "memory_mb": 1024})
        assert "cpu: 0 cores of 1.5 cores are taken, and this makes it 1.8 cores" in reason
        assert "memory: 0 MiB of 2048 MiB are taken, and this makes it 3072 MiB" in reason

    def test_is_kept_for_who_asked_first(self, bench: Bench) -> None:
        self.limit(bench, max_replicas=3)
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        waiting = bench.deploy("plain", "production", replicas=2)
        bench.approval(waiting)
        assert self.used(bench)["replicas"] == 2
        assert "replicas: 2 of 3" in stopped(bench, "staging", replicas=2)
        cancel(bench, waiting)
        assert self.used(bench) == {"deployments": 0, "replicas": 0, "cpu": 0, "memory_mb": 0}
        bench.until(bench.deploy("plain", "staging", replicas=2), "succeeded")
        assert self.used(bench) == {"deployments": 1, "replicas": 2, "cpu": 2, "memory_mb": 2048}

    def test_that_was_lowered_does_not_stop_what_takes_no_more(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.until(bench.deploy("plain", replicas=3), "succeeded")
        self.limit(bench, max_replicas=1)
        assert plan(bench, "staging", replicas=3)["allowed"]
        assert "replicas: 3 of 1" in planned(bench, environment="staging", replicas=4)
        self.limit(bench, max_replicas=None)
        assert plan(bench, "staging", replicas=4)["allowed"]

    def test_of_a_shadow_is_counted_beside_what_serves(self, bench: Bench) -> None:
        bench.plant("plain")
        first = bench.deploy("plain", replicas=2)
        bench.until(first, "succeeded")
        self.limit(bench, max_replicas=3)
        begun = bench.engineer.client.post(
            f"/deployments/{first['deployment_id']}/shadow", json={"model_id": "plain/1"}
        )
        assert begun.status_code == 202, begun.text
        rollout = bench.until(begun.json(), "failed")
        assert "replicas: 2 of 3 are taken, and this makes it 4" in rollout["reason"]

    def test_that_was_lowered_meanwhile_stops_it_when_it_is_placed(self, bench: Bench) -> None:
        self.limit(bench, max_deployments=2)
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        waiting = bench.deploy("plain", "production")
        approval = bench.approval(waiting)
        later = bench.deploy("plain", "staging")
        bench.until(later, "succeeded")
        self.limit(bench, max_deployments=1)
        for role in ("manager", "senior_data_scientist"):
            assert bench.vote(approval, bench.person(role)).status_code == 200
        rollout = bench.until(waiting, "failed")
        assert {s["name"]: s["status"] for s in rollout["stages"]}["deploy"] == "failed"
        assert "deployments: 1 of 1 are taken, and this makes it 2" in rollout["reason"]
        assert f"mlops teams set-quota {bench.team}" in rollout["reason"]
        assert bench.deployment(waiting)["revisions"] == []
        bench.answers_with(later, 2.0)


class TestWhoAskedForIt:
    """Between the request and the placing days may pass, in which people come and go."""

    def waiting(self, bench: Bench) -> tuple[dict[str, Any], Caller]:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        ben = bench.person("ml_engineer", key="ben")
        answer = ben.client.post("/models/plain/deploy", json={"environment": "production"})
        assert answer.status_code == 202, answer.text
        bench.approval(answer.json())
        return answer.json(), ben

    def after(self, bench: Bench, accepted: dict[str, Any]) -> dict[str, Any]:
        """What becomes of it when it is approved."""
        approval = bench.approval(accepted)
        for role in ("manager", "senior_data_scientist"):
            assert bench.vote(approval, bench.person(role)).status_code == 200
        return bench.until(accepted, "failed", "succeeded")

    def test_lost_the_role_before_it_was_placed(self, bench: Bench) -> None:
        accepted, ben = self.waiting(bench)
        lead = bench.person("team_lead")
        demoted = lead.client.put(f"/teams/{bench.team}/members/{ben.name}", json={"roles": ["viewer"]})
        assert demoted.status_code == 200, demoted.text
        rollout = self.after(bench, accepted)
        assert (
            f"{ben.name}, who asked for it, does not hold the permission deploy_production"
            in rollout["reason"]
        )
        assert bench.deployment(accepted)["revisions"] == []

    def test_left_before_it_was_placed(self, bench: Bench) -> None:
        accepted, ben = self.waiting(bench)
        assert bench.platform.admin.post(f"/users/{ben.name}/deactivate").status_code == 200
        assert (
            f"{ben.name}, who asked for it, is not active any more" in self.after(bench, accepted)["reason"]
        )

    def test_used_a_key_that_was_revoked_before_it_was_placed(self, bench: Bench) -> None:
        accepted, ben = self.waiting(bench)
        [key] = ben.client.get("/keys").json()["items"]
        assert ben.client.delete(f"/keys/{key['key_id']}").status_code == 200
        assert (
            f"the key with which {ben.name} asked for it was revoked" in self.after(bench, accepted)["reason"]
        )

    def test_used_a_key_that_has_only_run_out(self, bench: Bench) -> None:
        accepted, ben = self.waiting(bench)
        [key] = ben.client.get("/keys").json()["items"]
        with bench.platform.runtime.components.get(Database).write() as session:
            session.get_one(KeyRow, key["key_id"]).expires_at = utc_now()
        assert self.after(bench, accepted)["status"] == "succeeded"

    def test_is_asked_at_the_beginning_already(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.plant("plain")
        ben, lead = bench.person("data_scientist", key="ben"), bench.person("team_lead")
        inspect = bench.tools.inspect

        def inspecting(source: Path) -> Inspection:
            """The request is through, and the first stage has begun."""
            answer = lead.client.put(f"/teams/{bench.team}/members/{ben.name}", json={"roles": ["viewer"]})
            assert answer.status_code == 200, answer.text
            return inspect(source)

        monkeypatch.setattr(bench.tools, "inspect", inspecting)
        answer = ben.client.post("/models/plain/deploy", json={"environment": "staging"})
        rollout = bench.until(answer.json(), "failed")
        assert rollout["stages"][0]["status"] == "failed"
        assert "does not hold the permission deploy_staging any more" in rollout["reason"]

    def test_is_in_the_evidence_with_the_policy_that_permits_it(self, bench: Bench) -> None:
        bench.plant("plain")
        accepted = bench.deploy("plain")
        bench.until(accepted, "succeeded")
        assert evidence(bench, accepted)["starter"] == {
            "permission": "deploy_staging",
            "asked_by": bench.engineer.name,
            "allowed": True,
            "policies": ["engineers-run-production"],
        }

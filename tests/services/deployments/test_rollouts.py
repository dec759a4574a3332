"""Rollouts from the request to traffic, through the nine stages, on a real inference server."""

import json
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml_platform.contracts.governance import RiskLevel
from ml_platform.integrations.supplychain import OsvAdvisories, SupplyChainInspector
from ml_platform.kit.db import Database
from ml_platform.kit.durable import WorkflowEngine, WorkflowNotFoundError
from ml_platform.kit.errors import UnavailableError
from ml_platform.services.access import Actor
from ml_platform.services.deployments import RolloutParts
from ml_platform.services.deployments.approving import ApprovalStage
from ml_platform.services.deployments.runner import StageRunner
from ml_platform.services.governance import RULES, ApprovalRow
from ml_platform.services.identity.tables import TeamRow
from ml_platform.services.registry.tables import ModelVersionRow
from tests.support.crash import eventually
from tests.support.platform import Caller
from tests.support.rollouts import HIGH, LOW, MEDIUM, Bench

STAGES = ["validate", "security", "test", "approval", "build", "deploy", "smoke_test", "audit", "notify"]
NO_CANARY = {"steps": [100]}


def quick(*steps: int, **changes: Any) -> dict[str, Any]:
    return {"steps": [*steps, 100], "step_seconds": 0.5, "min_requests": 20, "hold_seconds": 20} | changes


def statuses(rollout: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["status"] for stage in rollout["stages"]}


class TestStaging:
    def test_it_goes_through_nine_stages_and_serves(self, bench: Bench) -> None:
        bench.plant("plain")
        accepted = bench.deploy("plain")
        assert accepted["status"] == "deploying"
        assert accepted["endpoint"].endswith(f"/{bench.team}/staging/v1/models/plain:predict")
        rollout = bench.until(accepted, "succeeded")
        assert [stage["name"] for stage in rollout["stages"]] == STAGES
        assert set(statuses(rollout).values()) == {"passed"}
        assert all(stage["started_at"] and stage["finished_at"] for stage in rollout["stages"])
        assert all(stage["evidence"] for stage in rollout["stages"])
        bench.answers_with(accepted, 2.0)
        deployment = bench.deployment(accepted)
        assert (deployment["status"], deployment["active_rollout_id"]) == ("active", None)
        assert [(r["status"], r["weight"]) for r in deployment["revisions"]] == [("serving", 100.0)]

    def test_the_audit_log_says_who_and_binds_the_evidence(self, bench: Bench) -> None:
        bench.plant("plain")
        accepted = bench.deploy("plain")
        bench.until(accepted, "succeeded")
        events = bench.platform.admin.get(f"/audit/events?resource={accepted['rollout_id']}").json()["items"]
        actions = [event["action"] for event in events]
        assert actions.count("rollout.stage.passed") == 9
        assert actions.count("rollout.sealed") == 1
        [start] = [event for event in events if event["action"] == "rollout.start"]
        assert start["actor_name"] == bench.engineer.name

    def test_a_data_scientist_deploys_to_staging_and_not_to_production(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", LOW)
        ana = bench.person("data_scientist")
        answer = ana.client.post("/models/plain/deploy", json={"environment": "production"})
        assert (answer.status_code, answer.json()["permission"]) == (403, "deploy_production")
        answer = ana.client.post("/models/plain/deploy", json={"environment": "staging"})
        assert answer.status_code == 202
        bench.until(answer.json(), "succeeded")

    def test_an_unknown_model_and_another_teams_are_404(self, bench: Bench) -> None:
        bench.plant("secret-model")
        first = bench.team
        bench.new_team()
        assert first != bench.team
        for name in ("nobody", "secret-model", "secret-model/1", "nobody@champion"):
            answer = bench.engineer.client.post(f"/models/{name}/deploy", json={"environment": "staging"})
            assert answer.status_code == 404, name

    @pytest.mark.parametrize(
        "change",
        [
            {"environment": "moon"},
            {"environment": "staging", "replicas": 0},
            {"environment": "staging", "replicas": 5, "max_replicas": 2},
            {"environment": "staging", "canary": {"steps": [50]}},
            {"environment": "staging", "unknown": 1},
            {},
        ],
    )
    def test_bad_input_is_refused_before_anything_happens(self, bench: Bench, change: dict[str, Any]) -> None:
        bench.plant("plain")
        assert bench.engineer.client.post("/models/plain/deploy", json=change).status_code == 422
        assert bench.engineer.client.get("/deployments").json()["items"] == []


class TestWhatStopsIt:
    def stopped(self, bench: Bench, stage: str, **kwargs: Any) -> str:
        rollout = bench.until(bench.deploy("plain", **kwargs), "failed")
        found = statuses(rollout)
        place = STAGES.index(stage)
        assert [found[name] for name in STAGES] == (
            ["passed"] * place + ["failed"] + ["skipped"] * (len(STAGES) - place - 1)
        )
        return str(rollout["reason"])

    def test_an_artifact_that_was_changed(self, bench: Bench) -> None:
        version = bench.plant("plain")
        with bench.platform.runtime.components.get(Database).read() as session:
            team = session.query(TeamRow).filter_by(name=bench.team).one()
            row = session.query(ModelVersionRow).filter_by(
                team_id=team.id, model_name="plain", version=version
            )
            source = row.one().source_uri
        file = Path(source.removeprefix("file://")) / "model.json"
        file.chmod(0o644)
        file.write_text(file.read_text() + " ")
        assert "not the one that was registered" in self.stopped(bench, "validate")

    def test_production_without_an_answered_risk(self, bench: Bench) -> None:
        bench.plant("plain")
        assert "mlops models risk assess plain" in self.stopped(bench, "validate", environment="production")

    def test_a_pickle_that_reaches_the_operating_system(self, bench: Bench) -> None:
        bench.plant("plain", dangerous=True)
        assert "os.system" in self.stopped(bench, "security")

    def test_a_grave_advisory_of_a_requirement_and_a_secret_in_the_files(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        advisory = {
            "id": "GHSA-x",
            "affected": [{"package": {"ecosystem": "PyPI", "name": "numpy"}, "versions": ["2.0"]}],
            "database_specific": {"severity": "HIGH"},
        }
        (tmp_path / "osv.json").write_text(json.dumps(advisory))
        chain = SupplyChainInspector(OsvAdvisories(tmp_path / "osv.json"))
        parts = bench.platform.runtime.components.get(RolloutParts)
        monkeypatch.setattr(parts, "supply_chain", chain)
        bench.plant("plain")
        plan = bench.engineer.client.post("/models/plain/deploy/plan", json={"environment": "staging"}).json()
        assert plan["stopped_by"] == "security"
        assert "GHSA-x" in self.stopped(bench, "security")
        monkeypatch.setattr(parts, "supply_chain", SupplyChainInspector())
        bench.plant("plain", note="AKIA" + "ABCDEFGHIJKLMNOP")
        assert "AWS access key in model.json:1" in self.stopped(bench, "security")

    def test_a_missed_gate(self, bench: Bench) -> None:
        bench.plant("plain", accuracy=0.4)
        assert "0.4" in self.stopped(bench, "test")

    def test_a_group_that_is_treated_worse_than_the_card_allows(self, bench: Bench) -> None:
        groups = {
            name: {"rows": 200, "accuracy": 0.9, "positive_rate": rate}
            for name, rate in (("a", 0.2), ("b", 0.6))
        }
        card = {"fairness": {"attributes": ["group"], "max_parity_difference": 0.2}}
        bench.plant("plain", slices={"group": groups}, model_card=card)
        assert "demographic parity" in self.stopped(bench, "test")

    def test_a_slice_on_which_it_lost_against_the_champion(self, bench: Bench) -> None:
        for accuracy in (0.95, 0.5):
            bench.plant("plain", slices={"contract": {"monthly": {"rows": 500, "accuracy": accuracy}}})
            accepted = bench.deploy("plain")
            rollout = bench.until(accepted, "succeeded", "failed")
        assert rollout["status"] == "failed"
        assert "where contract is monthly" in rollout["reason"]

    def test_a_model_that_the_inference_server_cannot_load(self, bench: Bench) -> None:
        bench.plant("plain", unloadable=True)
        assert "could not load it" in self.stopped(bench, "deploy")

    def test_a_version_that_is_worse_than_what_serves_leaves_it_serving(self, bench: Bench) -> None:
        bench.plant("plain", accuracy=0.9)
        first = bench.deploy("plain")
        bench.until(first, "succeeded")
        bench.plant("plain", accuracy=0.8, bias=5.0)
        assert "plain/1, which serves now" in self.stopped(bench, "test")
        bench.answers_with(first, 2.0)
        assert bench.deployment(first)["status"] == "active"


class TestApproval:
    def test_low_risk_is_granted_by_the_rule_and_recorded_as_such(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", LOW)
        rollout = bench.until(bench.deploy("plain", "production"), "succeeded")
        approval = bench.engineer.client.get(f"/approvals/{rollout['approval_id']}").json()
        assert (approval["status"], approval["automatic"], approval["votes"]) == ("approved", True, [])

    def test_low_risk_without_an_evaluation_asks_the_team_lead(self, bench: Bench) -> None:
        bench.plant("plain", evaluated=False)
        bench.assess("plain", LOW)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        assert approval["missing"] == ["team_lead"]
        assert bench.vote(approval, bench.person("team_lead")).status_code == 200
        bench.until(accepted, "succeeded")

    def test_medium_risk_waits_for_both_and_then_goes_on(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        accepted = bench.deploy("plain", "production", justification="it is better")
        approval = bench.approval(accepted)
        assert (approval["status"], approval["justification"]) == ("pending", "it is better")
        assert {"stages", "risk", "config", "serving_now"} <= set(approval["evidence"])
        assert bench.deployment(accepted)["status"] == "pending_approval"
        answer = bench.vote(approval, bench.person("manager"))
        assert (answer.json()["status"], answer.json()["missing"]) == ("pending", ["senior_data_scientist"])
        assert bench.vote(approval, bench.person("senior_data_scientist")).json()["status"] == "approved"
        bench.until(accepted, "succeeded")
        bench.answers_with(accepted, 2.0)

    def test_while_a_new_version_waits_it_is_told_what_serves(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", LOW)
        first = bench.deploy("plain", "production")
        assert bench.until(first, "succeeded")
        alone = bench.deployment(first)
        assert (alone["serving_model_id"], alone["rollout_status"]) == ("plain/1", None)
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        second = bench.deploy("plain", "production")
        bench.approval(second)
        listed = bench.engineer.client.get("/deployments", params={"name": "plain"}).json()["items"]
        for found in (bench.deployment(second), *listed):
            assert found["status"] == "pending_approval"
            assert found["serving_model_id"] == "plain/1"
            assert (found["rollout_status"], found["rollout_model_id"]) == ("pending_approval", "plain/2")
        bench.answers_with(first, 2.0)

    def test_a_rejection_stops_it_with_its_reason(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", HIGH)
        accepted = bench.deploy("plain", "production")
        assert bench.vote(bench.approval(accepted), bench.person("board_chair"), "reject").status_code == 200
        rollout = bench.until(accepted, "failed")
        assert "I read it" in rollout["reason"]
        assert statuses(rollout)["approval"] == "failed"
        assert bench.deployment(accepted)["revisions"] == []

    def test_the_board_needs_four_with_the_chair(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", HIGH)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        for role in ("legal", "security", "product_owner", "ml_architect"):
            assert bench.vote(approval, bench.person(role)).json()["status"] == "pending", role
        assert bench.vote(approval, bench.person("board_chair")).json()["status"] == "approved"
        bench.until(accepted, "succeeded")

    def test_who_may_not_vote_is_told_why(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        both = bench.person("ml_engineer", "manager", "senior_data_scientist", key="requester")
        answer = both.client.post("/models/plain/deploy", json={"environment": "production"})
        approval = bench.approval(answer.json())
        own = bench.vote(approval, both)
        assert (own.status_code, own.json()["code"]) == (403, "self_approval")
        seatless = bench.vote(approval, bench.person("legal"))
        assert seatless.status_code == 403
        assert "manager" in seatless.json()["detail"]
        assert bench.vote(approval, bench.person("viewer")).status_code == 403
        assert bench.vote(approval, bench.person("manager")).status_code == 200
        twice = bench.vote(approval, bench.person("manager"))
        assert (twice.status_code, twice.json()["code"]) == (409, "conflict")
        stranger = bench.platform.new_user(bench.platform.new_team(), "manager")
        assert bench.vote(approval, stranger).status_code == 404
        bench.engineer.client.post(f"/rollouts/{answer.json()['rollout_id']}/cancel")
        late = bench.vote(approval, bench.person("senior_data_scientist"))
        assert (late.status_code, late.json()["code"]) == (409, "conflict")

    def test_one_that_nobody_decided_in_time_has_lapsed(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        parts = bench.platform.runtime.components.get(RolloutParts)
        with bench.platform.runtime.components.get(Database).write() as session:
            row = session.get(ApprovalRow, approval["approval_id"])
            assert row is not None
            assert row.expires_at - row.created_at == timedelta(hours=48)
            row.expires_at = row.created_at
            team_id = row.team_id
        url = f"/approvals/{approval['approval_id']}"
        assert bench.engineer.client.get(url).json()["status"] == "lapsed"
        late = bench.vote(approval, bench.person("manager"))
        assert late.status_code == 409
        assert "lapsed" in late.json()["detail"]
        actor = Actor.system("rollout", team_id=team_id, team_name=bench.team)
        runner = StageRunner(parts, accepted["rollout_id"], actor)
        assert ApprovalStage(runner).settle() is False
        rollout = bench.until(accepted, "failed")
        assert "lapsed" in rollout["reason"]


class TestReminders:
    def test_those_who_are_missing_are_told_twice_before_it_lapses(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[tuple[str, str]] = []

        class Teller:
            def send(self, title: str, body: str, *, severity: str = "info") -> int:
                told.append((title, severity))
                return 1

        monkeypatch.setattr(bench.platform.runtime.components.get(RolloutParts), "notifier", Teller())
        rule = replace(RULES[RiskLevel.MEDIUM], within=timedelta(seconds=4))
        monkeypatch.setitem(RULES, RiskLevel.MEDIUM, rule)  # type: ignore[arg-type]
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        assert "lapsed" in bench.until(accepted, "failed")["reason"]
        found = bench.engineer.client.get(f"/approvals/{approval['approval_id']}").json()
        assert (found["status"], found["reminders"]) == ("lapsed", 2)
        query = f"/audit/events?resource={approval['approval_id']}"
        events = [event["action"] for event in bench.platform.admin.get(query).json()["items"]]
        expected = ["approval.lapsed", "approval.escalate", "approval.remind", "approval.request"]
        assert events == expected
        eventually(lambda: len(told) == 4, within=20, what="four notifications")
        assert [severity for _, severity in told] == ["warning", "warning", "failure", "failure"]
        assert "about to lapse" in told[2][0]

    def test_a_failed_notification_is_tried_again_and_fails_nothing(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Away:
            def send(self, title: str, body: str, *, severity: str = "info") -> int:
                raise UnavailableError("the receiver is away")

        monkeypatch.setattr(bench.platform.runtime.components.get(RolloutParts), "notifier", Away())
        bench.plant("plain")
        rollout = bench.until(bench.deploy("plain"), "succeeded")
        [evidence] = [stage["evidence"] for stage in rollout["stages"] if stage["name"] == "notify"]
        assert evidence["failed"] == "the receiver is away"
        engine = bench.platform.runtime.components.get(WorkflowEngine)

        def known() -> bool:
            try:
                return bool(engine.status(evidence["tried_again_as"]).name == "alerts.send")
            except WorkflowNotFoundError:
                return False

        eventually(known, within=20, what="the workflow that tries again")


class TestBreakingTheGlass:
    def broken(self, bench: Bench) -> tuple[dict[str, Any], dict[str, Any]]:
        bench.plant("plain")
        bench.assess("plain", HIGH)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        answer = bench.person("team_lead").client.post(
            f"/approvals/{approval['approval_id']}/break-glass", json={"reason": "fraud is under way"}
        )
        assert answer.status_code == 200, answer.text
        return accepted, answer.json()

    def review(self, bench: Bench, approval: dict[str, Any], who: Caller) -> httpx.Response:
        return who.client.post(
            f"/approvals/{approval['approval_id']}/review",
            json={"verdict": "justified", "reason": "it was an emergency"},
        )

    def test_it_goes_out_at_once_and_is_loud(self, bench: Bench) -> None:
        accepted, approval = self.broken(bench)
        assert approval["status"] == "approved"
        assert approval["glass_broken"]["by"] == bench.person("team_lead").name
        assert approval["votes"] == []
        bench.until(accepted, "succeeded")
        alerts = bench.engineer.client.get("/alerts").json()["items"]
        [alert] = [item for item in alerts if item["resource_id"] == approval["approval_id"]]
        assert (alert["severity"], alert["status"]) == ("critical", "open")
        query = f"/audit/events?resource={approval['approval_id']}&action=approval.break_glass"
        [event] = bench.platform.admin.get(query).json()["items"]
        assert event["after"]["reason"] == "fraud is under way"

    def test_somebody_else_with_a_seat_reviews_it_once(self, bench: Bench) -> None:
        accepted, approval = self.broken(bench)
        bench.until(accepted, "succeeded")
        lead, engineer = bench.person("team_lead"), bench.engineer
        assert self.review(bench, approval, engineer).status_code == 403
        assert self.review(bench, approval, lead).status_code == 403
        found = self.review(bench, approval, bench.person("legal")).json()["glass_broken"]
        assert (found["verdict"], found["reviewed_by"]) == ("justified", bench.person("legal").name)
        assert self.review(bench, approval, bench.person("security")).status_code == 409
        alerts = bench.engineer.client.get("/alerts").json()["items"]
        [alert] = [item for item in alerts if item["resource_id"] == approval["approval_id"]]
        assert alert["status"] == "resolved"

    def test_an_overdue_review_stops_the_next_deployment_of_the_model(self, bench: Bench) -> None:
        accepted, approval = self.broken(bench)
        bench.until(accepted, "succeeded")
        with bench.platform.runtime.components.get(Database).write() as session:
            row = session.get(ApprovalRow, approval["approval_id"])
            assert row is not None
            row.review_due_at = row.created_at
        plan = bench.engineer.client.post("/models/plain/deploy/plan", json={"environment": "production"})
        assert plan.json()["stopped_by"] == "validate"
        assert "overdue" in bench.until(bench.deploy("plain", "production"), "failed")["reason"]
        bench.until(bench.deploy("plain", "staging"), "succeeded")
        assert self.review(bench, approval, bench.person("legal")).status_code == 200
        plan = bench.engineer.client.post("/models/plain/deploy/plan", json={"environment": "production"})
        assert plan.json()["stopped_by"] is None

    def test_only_leads_break_it_and_only_while_it_waits(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", HIGH)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        url = f"/approvals/{approval['approval_id']}/break-glass"
        for role in ("ml_engineer", "manager", "board_chair", "viewer"):
            assert bench.person(role).client.post(url, json={"reason": "now"}).status_code == 403, role
        assert self.review(bench, approval, bench.person("legal")).status_code == 409
        bench.engineer.client.post(f"/rollouts/{accepted['rollout_id']}/cancel")
        bench.until(accepted, "cancelled")
        assert bench.person("team_lead").client.post(url, json={"reason": "now"}).status_code == 409


class TestAVoidApproval:
    """Approved, and then something changed before it was used: the check right before deploying finds it."""

    def approved_then(self, bench: Bench, monkeypatch: pytest.MonkeyPatch, change: Any) -> dict[str, Any]:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        take = bench.tools.take  # the build stage takes the bundle that the test stage has built

        def changing(*args: Any, **kwargs: Any) -> Any:
            change()
            return take(*args, **kwargs)

        monkeypatch.setattr(bench.tools, "take", changing)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        bench.vote(approval, bench.person("manager"))
        bench.vote(approval, bench.person("senior_data_scientist"))
        rollout = bench.until(accepted, "failed")
        assert statuses(rollout)["deploy"] == "failed"
        assert "void" in rollout["reason"]
        assert bench.deployment(accepted)["revisions"] == []
        found = bench.engineer.client.get(f"/approvals/{approval['approval_id']}").json()
        assert found["status"] == "void"
        return found

    def test_the_risk_was_answered_anew(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.approved_then(
            bench, monkeypatch, lambda: bench.assess("plain", MEDIUM, "another reason")
        )
        assert "risk" in found["reason"]

    def test_an_approver_lost_the_role(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        def demote() -> None:
            name = bench.person("manager").name
            answer = bench.platform.client(bench.platform.admin_token, team=bench.team).put(
                f"/teams/{bench.team}/members/{name}", json={"roles": ["viewer"]}
            )
            assert answer.status_code == 200

        found = self.approved_then(bench, monkeypatch, demote)
        assert "manager" in found["reason"]


class TestCanary:
    def second(
        self, bench: Bench, canary: dict[str, Any], **model: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Version 1 serves in production; version 2 begins its canary."""
        bench.plant("plain")
        bench.assess("plain", LOW)
        first = bench.deploy("plain", "production")
        bench.until(first, "succeeded")
        bench.answers_with(first, 2.0)
        bench.plant("plain", **({"bias": 5.0} | model))
        return first, bench.deploy("plain", "production", canary=canary)

    def test_a_good_one_is_promoted_step_by_step_by_its_own_metrics(self, bench: Bench) -> None:
        first, accepted = self.second(bench, quick(30, 60))
        with bench.traffic(first) as traffic:
            rollout = bench.until(accepted, "succeeded")
            assert [step["status"] for step in rollout["canary"]] == ["passed", "passed"]
            assert all(step["evidence"]["candidate"]["requests"] >= 20 for step in rollout["canary"])
            bench.answers_with(accepted, 6.0)
        assert set(traffic.statuses) == {200}
        revisions = bench.deployment(accepted)["revisions"]
        assert [(r["status"], r["weight"]) for r in revisions] == [("serving", 100), ("standby", 0)]

    def test_a_bad_one_is_rolled_back_with_the_reason(self, bench: Bench) -> None:
        _, accepted = self.second(bench, quick(50, step_seconds=60), fragile=True)
        bench.until(accepted, "canary")
        with bench.traffic(accepted, value=500.0):
            rollout = bench.until(accepted, "rolled_back")
        assert "error rate" in rollout["reason"]
        bench.answers_with(accepted, 2.0)
        deployment = bench.deployment(accepted)
        assert (deployment["status"], len(deployment["revisions"])) == ("active", 1)

    def test_one_whose_answers_lie_elsewhere_is_rolled_back(self, comparing: Bench) -> None:
        bench = comparing
        _, accepted = self.second(bench, quick(50, step_seconds=60, hold_seconds=60))
        bench.until(accepted, "canary")
        with bench.traffic(accepted, inputs=100):
            rollout = bench.until(accepted, "rolled_back")
        assert "distributed differently" in rollout["reason"]
        [step] = rollout["canary"]
        answers = step["evidence"]["answers"]
        assert 30 <= answers["distinct"] <= 100
        bench.answers_with(accepted, 2.0)

    def test_a_handful_of_inputs_that_come_back_are_no_sample_of_its_answers(self, comparing: Bench) -> None:
        first, accepted = self.second(comparing, quick(50, step_seconds=6, min_requests=100))
        with comparing.traffic(first, inputs=8):
            rollout = comparing.until(accepted, "succeeded")
        [step] = rollout["canary"]
        answers = step["evidence"]["answers"]
        assert (answers["distinct"], answers["baseline_distinct"]) == (8, 8)
        assert answers["rows"] >= 30
        assert answers["psi"] > 1

    def test_one_that_is_paused_holds_and_still_goes_back_when_it_fails(self, bench: Bench) -> None:
        first, accepted = self.second(bench, quick(50, hold_seconds=1), fragile=True)
        bench.until(accepted, "canary")
        act = f"/deployments/{accepted['deployment_id']}"
        answer = bench.engineer.client.post(f"{act}/pause")
        assert (answer.status_code, answer.json()["rollout_paused"]) == (200, True)
        assert bench.engineer.client.post(f"{act}/pause").status_code == 200
        found = bench.rollout(accepted)
        assert found["paused_by"] == bench.engineer.name
        with bench.traffic(first) as traffic:
            begun = time.monotonic()
            eventually(lambda: len(traffic.statuses) > 100 and time.monotonic() > begun + 4, within=30)
        assert bench.rollout(accepted)["status"] == "canary"
        with bench.traffic(accepted, value=500.0):
            reason = bench.until(accepted, "rolled_back")["reason"]
        # Whichever limit the errors pass first, over all that was asked since the step began.
        assert "error rate" in reason or "availability" in reason
        assert bench.engineer.client.post(f"{act}/resume").status_code == 409

    def test_one_that_was_paused_goes_on_when_it_is_resumed(self, bench: Bench) -> None:
        first, accepted = self.second(bench, quick(50))
        bench.until(accepted, "canary")
        act = f"/deployments/{accepted['deployment_id']}"
        assert bench.engineer.client.post(f"{act}/pause").status_code == 200
        answer = bench.engineer.client.post(f"{act}/resume")
        assert (answer.status_code, answer.json()["rollout_paused"]) == (200, False)
        with bench.traffic(first):
            bench.until(accepted, "succeeded")
        query = f"/audit/events?resource={accepted['rollout_id']}"
        actions = [event["action"] for event in bench.platform.admin.get(query).json()["items"]]
        assert {"rollout.pause", "rollout.resume"} <= set(actions)

    def test_without_traffic_it_holds_and_then_goes_back(self, bench: Bench) -> None:
        _, accepted = self.second(bench, quick(50, hold_seconds=1))
        rollout = bench.until(accepted, "rolled_back")
        assert "no decision" in rollout["reason"]
        bench.answers_with(accepted, 2.0)

    def test_a_person_promotes_and_it_takes_effect_at_once(self, bench: Bench) -> None:
        _, accepted = self.second(bench, quick(10, step_seconds=60))
        bench.until(accepted, "canary")
        answer = bench.engineer.client.post(f"/deployments/{accepted['deployment_id']}/promote")
        assert answer.status_code == 200, answer.text
        eventually(
            lambda: {bench.predict(accepted).json()["predictions"][0] for _ in range(20)} == {6.0}, within=20
        )
        assert bench.rollout(accepted)["status"] == "succeeded"
        again = bench.engineer.client.post(f"/deployments/{accepted['deployment_id']}/promote")
        assert again.status_code == 409

    def test_a_person_rolls_back_during_and_after_a_canary(self, bench: Bench) -> None:
        _, accepted = self.second(bench, quick(50, step_seconds=60))
        bench.until(accepted, "canary")
        rollback = f"/deployments/{accepted['deployment_id']}/rollback"
        assert bench.engineer.client.post(rollback).status_code == 200
        assert bench.rollout(accepted)["status"] == "rolled_back"
        bench.answers_with(accepted, 2.0)
        again = bench.deploy("plain", "production", canary=NO_CANARY)
        bench.until(again, "succeeded")
        bench.answers_with(again, 6.0)
        assert bench.engineer.client.post(rollback).status_code == 200
        eventually(lambda: bench.predict(again).json()["predictions"] == [2.0], within=20)

    def test_metrics_come_by_revision(self, bench: Bench) -> None:
        first, accepted = self.second(bench, quick(50, step_seconds=60))
        bench.until(accepted, "canary")
        url = f"/deployments/{first['deployment_id']}/metrics"
        with bench.traffic(first):
            found = eventually(
                lambda: (
                    m
                    if len((m := bench.engineer.client.get(url).json())["revisions"]) == 2
                    and m["requests"] > 50
                    else None
                )
            )
        assert {item["model_version"] for item in found["revisions"]} == {1, 2}
        assert found["error_rate"] == 0.0
        for window in ("0s", "1x", "25h", "", "-1h"):
            assert bench.engineer.client.get(url, params={"window": window}).status_code == 422, window
        bench.engineer.client.post(f"/rollouts/{accepted['rollout_id']}/cancel")


class TestSteppingIn:
    def test_a_cancel_ends_it_and_leaves_nothing_behind(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        answer = bench.engineer.client.post(f"/rollouts/{accepted['rollout_id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert statuses(answer.json())["approval"] == "cancelled"
        found = bench.engineer.client.get(f"/approvals/{approval['approval_id']}").json()
        assert found["status"] == "cancelled"
        assert bench.deployment(accepted)["active_rollout_id"] is None
        assert bench.predict(accepted).status_code == 404
        again = bench.deploy("plain", "production")
        bench.engineer.client.post(f"/rollouts/{again['rollout_id']}/cancel")

    def test_a_second_rollout_is_refused_and_told_whose_runs(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        accepted = bench.deploy("plain", "production")
        other = bench.person("ml_engineer", "team_lead", key="other")
        answer = other.client.post("/models/plain/deploy", json={"environment": "production"})
        assert (answer.status_code, answer.json()["rollout_id"]) == (409, accepted["rollout_id"])
        assert bench.engineer.name in answer.json()["detail"]
        bench.engineer.client.post(f"/rollouts/{accepted['rollout_id']}/cancel")

    def test_a_retired_endpoint_is_gone_and_can_be_taken_up_again(self, bench: Bench) -> None:
        bench.plant("plain")
        accepted = bench.deploy("plain")
        bench.until(accepted, "succeeded")
        bench.answers_with(accepted, 2.0)
        answer = bench.engineer.client.post(f"/deployments/{accepted['deployment_id']}/retire")
        assert answer.json()["status"] == "retired"
        eventually(lambda: bench.predict(accepted).status_code == 404)
        again = bench.deploy("plain")
        assert again["deployment_id"] == accepted["deployment_id"]
        bench.until(again, "succeeded")
        bench.answers_with(again, 2.0)

    def test_a_revoked_key_stops_working_at_the_endpoint(self, bench: Bench) -> None:
        bench.plant("plain")
        accepted = bench.deploy("plain")
        bench.until(accepted, "succeeded")
        bench.answers_with(accepted, 2.0)
        [key] = bench.engineer.client.get("/keys").json()["items"]
        bench.engineer.client.delete(f"/keys/{key['key_id']}")
        eventually(lambda: bench.predict(accepted).status_code == 401, within=20)


class TestPlanning:
    def plan(self, bench: Bench, environment: str = "production", who: str = "ml_engineer") -> dict[str, Any]:
        answer = bench.person(who).client.post("/models/plain/deploy/plan", json={"environment": environment})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def test_it_names_the_gate_and_who_must_approve(self, bench: Bench) -> None:
        bench.plant("plain")
        found = self.plan(bench)
        assert (found["allowed"], found["stopped_by"]) == (False, "validate")
        bench.assess("plain", HIGH)
        found = self.plan(bench)
        assert (found["allowed"], found["risk_level"]) == (True, "high")
        assert found["approval"]["mandatory"] == ["board_chair"]
        assert found["approval"]["quorum"] == 4
        assert bench.engineer.client.get("/deployments").json()["items"] == []

    def test_it_says_when_a_permission_is_missing(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", LOW)
        found = self.plan(bench, who="data_scientist")
        assert not found["allowed"]
        assert "deploy_production" in found["gates"][0]["detail"]

    def test_by_stage_it_answers_success_pending_or_rejected(self, bench: Bench) -> None:
        bench.plant("plain")
        body = {"model_name": "plain", "model_version": 1, "target_stage": "Production"}
        client = bench.engineer.client
        rejected = client.post("/models/deploy", json=body).json()
        assert (rejected["status"], rejected["deployment_id"]) == ("rejected", None)
        assert "risk" in rejected["message"]
        bench.assess("plain", MEDIUM)
        pending = client.post("/models/deploy", json=body | {"justification": "better"}).json()
        assert (pending["status"], pending["approval"]["quorum"]) == ("pending_approval", 2)
        client.post(f"/rollouts/{pending['rollout_id']}/cancel")
        success = client.post("/models/deploy", json=body | {"target_stage": "staging"}).json()
        assert success["status"] == "success"
        bench.until(success, "succeeded")
        assert client.post("/models/deploy", json=body | {"model_version": 9}).status_code == 404

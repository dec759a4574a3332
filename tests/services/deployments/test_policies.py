"""An organisation's policies over deployments, votes and aliases: refusals, evidence, and the time between."""

from collections.abc import Iterator
from typing import Any

import pytest

from ml_platform.integrations.cedar import CedarAuthorizer
from ml_platform.services.access import Authorizer
from tests.support.platform import Caller
from tests.support.rollouts import CARD, LOW, MEDIUM, Bench


class Organisation:
    """Policies about one team alone: the others of this control plane are other tests'."""

    def __init__(self, bench: Bench) -> None:
        found = bench.platform.runtime.components.get(Authorizer)
        assert isinstance(found, CedarAuthorizer)
        self._bench = bench
        self._authorizer = found

    def forbids(self, action: str, condition: str, *, policy: str = "house-rule") -> None:
        team = f'resource.team has name && resource.team.name == "{self._bench.team}"'
        text = (
            f'@id("{policy}") @advice("not in this house")'
            f' forbid (principal, action == Action::"{action}", resource) when {{ {team} && {condition} }};'
        )
        checked = self._authorizer.check({"house.cedar": text}, {})
        assert checked.valid, checked.problems
        assert self._authorizer.use(self._authorizer.version + 1, {"house.cedar": text}) is None

    def withdraw(self) -> None:
        assert self._authorizer.use(0, {}) is None


@pytest.fixture
def organisation(bench: Bench) -> Iterator[Organisation]:
    found = Organisation(bench)
    yield found
    found.withdraw()


def permitted_by(rollout: dict[str, Any]) -> dict[str, Any]:
    stage = next(stage for stage in rollout["stages"] if stage["name"] == "validate")
    found: dict[str, Any] = stage["evidence"]["permitted_by"]
    return found


def events(bench: Bench, action: str, resource: str) -> list[dict[str, Any]]:
    auditor = bench.person("auditor")
    answer = auditor.client.get("/audit/events", params={"action": action, "resource": resource})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


class TestDeploying:
    def test_is_refused_by_risk_with_the_policy_and_its_advice(
        self, bench: Bench, organisation: Organisation
    ) -> None:
        bench.plant("risky")
        bench.assess("risky", MEDIUM)
        organisation.forbids("deploy_production", 'resource has risk && resource.risk != "low"')
        answer = bench.engineer.client.post("/models/risky/deploy", json={"environment": "production"})
        assert answer.status_code == 403
        assert answer.json()["policies"] == ["house-rule"]
        assert "not in this house" in answer.json()["detail"]
        assert bench.engineer.client.get("/deployments").json()["items"] == []
        bench.assess("risky", LOW)
        bench.deploy("risky", "production")

    def test_keeps_who_permitted_it_in_the_evidence_and_in_the_audit_log(self, bench: Bench) -> None:
        bench.plant("plain")
        accepted = bench.deploy("plain")
        rollout = bench.until(accepted, "succeeded")
        assert permitted_by(rollout) == {"allowed": True, "policies": ["engineers-run-production"]}
        [event] = events(bench, "rollout.start", accepted["rollout_id"])
        assert event["context"]["policies"] == ["engineers-run-production"]

    def test_is_refused_by_the_plan_beforehand(self, bench: Bench, organisation: Organisation) -> None:
        bench.plant("planned")
        organisation.forbids("deploy_staging", 'context.operation == "deploy"')
        answer = bench.engineer.client.post("/models/planned/deploy/plan", json={"environment": "staging"})
        plan = answer.json()
        assert not plan["allowed"]
        assert "forbidden by house-rule: not in this house" in plan["gates"][0]["detail"]

    def test_by_an_administrator_is_refused_too(self, bench: Bench, organisation: Organisation) -> None:
        bench.plant("plain")
        organisation.forbids("deploy_staging", "true")
        admin = bench.platform.client(bench.platform.admin_token, team=bench.team)
        assert admin.post("/models/plain/deploy", json={"environment": "staging"}).status_code == 403

    def test_that_is_forbidden_after_it_was_asked_for_is_not_placed(
        self, bench: Bench, organisation: Organisation
    ) -> None:
        bench.plant("late")
        bench.assess("late", MEDIUM)
        accepted = bench.deploy("late", "production")
        approval = bench.approval(accepted)
        organisation.forbids("deploy_production", "true", policy="freeze")
        for role in ("manager", "senior_data_scientist"):
            assert bench.vote(approval, bench.person(role)).status_code == 200
        rollout = bench.until(accepted, "failed")
        assert "forbidden by freeze: not in this house" in rollout["reason"]
        assert bench.deployment(accepted)["revisions"] == []


class TestSteppingIn:
    def test_back_is_always_possible_and_forward_is_not(
        self, bench: Bench, organisation: Organisation
    ) -> None:
        bench.plant("steps")
        first = bench.deploy("steps")
        bench.until(first, "succeeded")
        bench.plant("steps", bias=5.0)
        bench.until(bench.deploy("steps"), "succeeded")
        organisation.forbids("deploy_staging", "true")
        client, path = bench.engineer.client, f"/deployments/{first['deployment_id']}"
        assert client.post(f"{path}/promote").status_code == 403
        assert client.post(f"{path}/retire").status_code == 403
        assert client.post(f"{path}/rollback").status_code == 200
        bench.answers_with(first, 2.0)


class TestShadows:
    def test_are_ended_whatever_is_forbidden_and_not_begun(
        self, bench: Bench, organisation: Organisation
    ) -> None:
        bench.plant("shadowed")
        first = bench.deploy("shadowed")
        bench.until(first, "succeeded")
        bench.plant("shadowed", bias=5.0)
        client, path = bench.engineer.client, f"/deployments/{first['deployment_id']}/shadow"
        begun = client.post(path, json={"model_id": "shadowed/2"})
        assert begun.status_code == 202, begun.text
        organisation.forbids("deploy_staging", "true")
        refused = client.post(path, json={"model_id": "shadowed/1"})
        assert (refused.status_code, refused.json()["policies"]) == (403, ["house-rule"])
        assert client.post(f"/shadows/{begun.json()['shadow_id']}/stop").status_code == 200


class TestVoting:
    def test_four_eyes_hold_for_personal_data(self, bench: Bench, organisation: Organisation) -> None:
        bench.plant("personal", model_card=CARD | {"personal_data": True})
        bench.assess("personal", MEDIUM)
        approval = bench.approval(bench.deploy("personal", "production"))
        organisation.forbids(
            "approve",
            "resource has personal_data && resource.personal_data && resource has registered_by &&"
            ' resource.registered_by == "test" && principal.name == "' + bench.person("manager").name + '"',
        )
        refused = bench.vote(approval, bench.person("manager"))
        assert refused.status_code == 403
        assert refused.json()["policies"] == ["house-rule"]
        another: Caller = bench.person("manager", key="another")
        assert bench.vote(approval, another).status_code == 200
        [event] = events(bench, "approval.approve", approval["approval_id"])
        assert event["context"]["policies"] == ["approvers-decide"]

    def test_breaking_the_glass_can_be_forbidden(self, bench: Bench, organisation: Organisation) -> None:
        bench.plant("glass")
        bench.assess("glass", MEDIUM)
        approval = bench.approval(bench.deploy("glass", "production"))
        organisation.forbids("break_glass", 'resource has risk && resource.risk == "medium"')
        path = f"/approvals/{approval['approval_id']}/break-glass"
        refused = bench.person("team_lead").client.post(path, json={"reason": "fire"})
        assert (refused.status_code, refused.json()["policies"]) == (403, ["house-rule"])


class TestAliases:
    def test_are_asked_about_with_model_and_version(self, bench: Bench, organisation: Organisation) -> None:
        bench.plant("named")
        bench.plant("named")
        organisation.forbids(
            "train_model",
            'context.operation == "alias.set" && resource has alias && resource.alias like "prod*" &&'
            " resource has version && resource.version == 2",
        )
        client = bench.engineer.client
        refused = client.put("/models/named/aliases/production", json={"version": 2})
        assert (refused.status_code, refused.json()["policies"]) == (403, ["house-rule"])
        assert client.get("/models/named").json()["aliases"] == {}

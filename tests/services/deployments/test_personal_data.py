"""Personal data in what a model was trained on: its risk, the approval's evidence, and what it may take in."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

import polars as pl
import pytest
from sqlalchemy.orm import Session

from ml_platform.contracts.personaldata import PersonalDataGroup
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.deployments import RolloutParts
from ml_platform.services.deployments.permitting import facts_of_version, training_of
from ml_platform.services.deployments.tables import DeploymentRow
from ml_platform.services.governance import (
    InputRule,
    PersonalDataCheck,
    ProductionUse,
    ReviewWatch,
    TrainingFacts,
)
from ml_platform.services.identity.tables import TeamRow
from ml_platform.services.registry.tables import ModelVersionRow
from tests.integrations.personaldata.people import People
from tests.support.rollouts import CARD, LOW, MEDIUM, Bench
from tests.support.training import create_experiment, submit_script

ROWS = 60


def people() -> pl.DataFrame:
    drawn = People(ROWS)
    return pl.DataFrame(
        {
            "customer_id": [f"C{number:05d}" for number in range(ROWS)],
            "seen_at": ["2026-01-01T00:00:00Z"] * ROWS,
            "contact": drawn.emails(),
            "x0": [float(number) for number in range(ROWS)],
        }
    )


def upload(bench: Bench, name: str, frame: pl.DataFrame) -> None:
    client = bench.engineer.client
    client.post("/datasets", json={"name": name})
    answer = client.post(f"/datasets/{name}/versions", content=frame.write_csv().encode())
    assert answer.status_code == 201, answer.text


def trained_on(bench: Bench, model: str, number: int = 1, **inputs: str) -> str:
    """Makes the version the product of a job that was given these inputs; the job itself need not end."""
    client = bench.engineer.client
    job_id = submit_script(
        client, create_experiment(client, f"of-{model}"), "print('trained')", inputs=inputs
    )
    with bench.platform.runtime.components.get(Database).write() as session:
        team = session.query(TeamRow).filter_by(name=bench.team).one()
        row = (
            session.query(ModelVersionRow).filter_by(team_id=team.id, model_name=model, version=number).one()
        )
        row.job_id = job_id
    return job_id


def risk(bench: Bench, model: str) -> dict[str, Any]:
    answer = bench.engineer.client.get(f"/models/{model}/risk")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def sensitivity(bench: Bench, model: str) -> dict[str, Any]:
    return dict(risk(bench, model)["assessments"]["data_sensitivity"])


def mark(bench: Bench, dataset: str, column: str, kind: str, verdict: str) -> None:
    body = {"column": column, "kind": kind, "verdict": verdict, "reason": "I looked"}
    answer = bench.engineer.client.put(f"/datasets/{dataset}/personal-data", json=body)
    assert answer.status_code == 200, answer.text


def actor_of(bench: Bench) -> Actor:
    with bench.platform.runtime.components.get(Database).read() as session:
        team = session.query(TeamRow).filter_by(name=bench.team).one()
        return Actor.system("test", team_id=team.id, team_name=team.name)


def found_in(evidence: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(c["dataset"], c["column"], c["kind"]) for c in evidence["columns"]}


class TestTheRisk:
    def test_is_raised_whatever_was_answered(self, bench: Bench) -> None:
        bench.plant("raised")
        bench.assess("raised", LOW)
        assert (risk(bench, "raised")["level"], sensitivity(bench, "raised")["score"]) == ("low", 2)
        upload(bench, "people", people())
        trained_on(bench, "raised", train="dataset:people@1")
        found = sensitivity(bench, "raised")
        assert (found["score"], found["answered"]) == (7, 2)
        assert "people@1: contact holds email" in found["because"]
        assert risk(bench, "raised")["score"] == sum(LOW.values()) + 1 + 5

    def test_an_answer_above_the_floor_stays(self, bench: Bench) -> None:
        bench.plant("honest")
        bench.assess("honest", LOW | {"data_sensitivity": 8})
        upload(bench, "people", people())
        trained_on(bench, "honest", train="dataset:people@1")
        found = sensitivity(bench, "honest")
        assert (found["score"], found["answered"], found["because"]) == (8, None, [])

    def test_goes_by_the_columns_that_training_could_read(self, bench: Bench) -> None:
        bench.plant("careful")
        bench.assess("careful", LOW | {"data_sensitivity": 0})
        upload(bench, "people", people())
        client = bench.engineer.client
        view = {
            "name": "profile",
            "dataset": "people@1",
            "entities": [{"name": "customer_id"}],
            "timestamp_field": "seen_at",
            "exclude": ["contact"],
        }
        assert client.post("/feature-views", json=view).status_code == 201
        upload(bench, "asked", people().select("customer_id", event_timestamp="seen_at"))
        asked = client.post("/training-sets", json={"entities": "asked@1", "features": ["profile"]})
        assert asked.status_code == 201, asked.text
        trained_on(bench, "careful", train=f"training_set:{asked.json()['training_set_id']}")
        found = sensitivity(bench, "careful")
        assert found["score"] == 3
        assert found["because"] == [
            "asked@1: customer_id holds person_id",
            "people@1: customer_id holds person_id",
        ]

    def test_goes_by_the_feature_view_of_a_version_without_a_job(self, bench: Bench) -> None:
        bench.plant("viewed")
        bench.assess("viewed", LOW)
        upload(bench, "people", people())
        view = {
            "name": "profile",
            "dataset": "people@1",
            "entities": [{"name": "customer_id"}],
            "timestamp_field": "seen_at",
        }
        assert bench.engineer.client.post("/feature-views", json=view).status_code == 201
        with bench.platform.runtime.components.get(Database).write() as session:
            team = session.query(TeamRow).filter_by(name=bench.team).one()
            row = session.query(ModelVersionRow).filter_by(team_id=team.id, model_name="viewed").one()
            row.feature_view = "profile"
        assert sensitivity(bench, "viewed")["score"] == 7

    def test_falls_when_a_finding_is_wrong_and_rises_with_a_tag(self, bench: Bench) -> None:
        bench.plant("judged")
        bench.assess("judged", LOW)
        upload(bench, "people", people())
        trained_on(bench, "judged", train="dataset:people@1")
        mark(bench, "people", "contact", "email", "wrong")
        assert sensitivity(bench, "judged")["score"] == 3
        mark(bench, "people", "x0", "special_category", "personal")
        found = sensitivity(bench, "judged")
        assert (found["score"], found["because"][-1]) == (9, "people@1: x0 holds special_category")


class TestTheApproval:
    def test_needs_the_people_of_the_raised_risk_and_shows_them_why(self, bench: Bench) -> None:
        bench.plant("shown")
        bench.assess("shown", {**MEDIUM, "business_impact": 8, "customer_exposure": 9, "data_sensitivity": 0})
        assert risk(bench, "shown")["level"] == "medium"
        upload(bench, "people", people())
        trained_on(bench, "shown", train="dataset:people@1")
        approval = bench.approval(bench.deploy("shown", "production"))
        assert (approval["risk_level"], approval["risk_score"]) == ("medium", 29)
        evidence = approval["evidence"]["stages"]["validate"]["personal_data"]
        assert evidence["trained_on"] == ["people@1"]
        assert found_in(evidence) == {
            ("people@1", "contact", "email"),
            ("people@1", "customer_id", "person_id"),
        }
        raised = approval["evidence"]["risk"]["assessments"]["data_sensitivity"]
        assert (raised["score"], raised["answered"]) == (7, 0)
        assert "people@1: contact holds email" in raised["because"]

    def test_low_risk_is_not_granted_by_itself_once_evidence_makes_it_medium(self, bench: Bench) -> None:
        bench.plant("grown")
        bench.assess("grown", LOW | {"regulatory_scope": 4})
        upload(bench, "people", people())
        trained_on(bench, "grown", train="dataset:people@1")
        plan = bench.engineer.client.post(
            "/models/grown/deploy/plan", json={"environment": "production"}
        ).json()
        assert (plan["risk_level"], plan["risk_score"]) == ("medium", 16)
        approval = bench.approval(bench.deploy("grown", "production"))
        assert (approval["automatic"], approval["risk_level"]) == (False, "medium")

    def test_is_void_when_a_column_is_tagged_after_it_was_given(self, bench: Bench) -> None:
        bench.plant("late")
        bench.assess("late", MEDIUM)
        upload(bench, "people", people().drop("contact"))
        trained_on(bench, "late", train="dataset:people@1")
        accepted = bench.deploy("late", "production")
        approval = bench.approval(accepted)
        assert bench.vote(approval, bench.person("manager")).status_code == 200
        mark(bench, "people", "x0", "special_category", "personal")
        assert bench.vote(approval, bench.person("senior_data_scientist")).status_code == 200
        ended = bench.until(accepted, "failed")
        assert "risk is not what was approved" in ended["reason"]

    def test_says_that_nothing_is_known_without_lineage(self, bench: Bench) -> None:
        bench.plant("unknown")
        ended = bench.until(bench.deploy("unknown"), "succeeded")
        evidence = next(s["evidence"] for s in ended["stages"] if s["name"] == "validate")["personal_data"]
        assert (evidence["known"], evidence["trained_on"], evidence["columns"]) == (False, [], [])
        assert "no training data are known" in evidence["warnings"][0]


class TestWhatAModelTakesIn:
    def plan(self, bench: Bench, model: str, environment: str) -> dict[str, Any]:
        answer = bench.engineer.client.post(f"/models/{model}/deploy/plan", json={"environment": environment})
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["gates"][0])

    def test_a_direct_identifier_stops_production_and_says_what_to_do(self, bench: Bench) -> None:
        bench.plant("nosy", columns=["x0", "contact"])
        bench.assess("nosy", MEDIUM)
        upload(bench, "people", people())
        trained_on(bench, "nosy", train="dataset:people@1")
        planned = self.plan(bench, "nosy", "production")
        assert planned["outcome"] == "stops"
        assert "contact (email)" in planned["detail"]
        ended = bench.until(bench.deploy("nosy", "production"), "failed")
        assert "contact (email)" in ended["reason"]
        assert '{"personal_inputs": {"contact": "why"}}' in ended["reason"]
        stage = next(s for s in ended["stages"] if s["name"] == "validate")
        assert found_in(stage["evidence"]["personal_data"]) >= {("people@1", "contact", "email")}

    def test_by_its_name_alone_where_no_lineage_is_known(self, bench: Bench) -> None:
        bench.plant("named", columns=["x0", "email_address", "phone_service"])
        bench.assess("named", MEDIUM)
        assert "email_address (email)" in self.plan(bench, "named", "production")["detail"]

    def test_elsewhere_it_is_a_warning(self, bench: Bench) -> None:
        bench.plant("staged", columns=["x0", "email"])
        assert self.plan(bench, "staged", "staging")["outcome"] == "passes"
        ended = bench.until(bench.deploy("staged"), "succeeded")
        evidence = next(s["evidence"] for s in ended["stages"] if s["name"] == "validate")["personal_data"]
        assert evidence["inputs"] == [
            {"column": "email", "kind": "email", "group": "direct", "rule": "stop", "declared": None}
        ]
        assert "email (email)" in evidence["warnings"][0]

    def test_a_card_that_says_why_lets_it_through(self, bench: Bench) -> None:
        card = CARD | {"personal_inputs": {"email": "hashed and matched with the fraud list"}}
        bench.plant("explained", columns=["x0", "email"], model_card=card)
        bench.assess("explained", MEDIUM)
        assert self.plan(bench, "explained", "production")["outcome"] == "passes"
        approval = bench.approval(bench.deploy("explained", "production"))
        [told] = approval["evidence"]["stages"]["validate"]["personal_data"]["inputs"]
        assert told["declared"] == "hashed and matched with the fraud list"

    @pytest.mark.parametrize("said", [{"email": " "}, {"phone": "why"}, {"email": 1}, "email", None])
    def test_a_card_that_says_something_else_does_not(self, bench: Bench, said: Any) -> None:
        bench.plant("silent", columns=["x0", "email"], model_card=CARD | {"personal_inputs": said})
        bench.assess("silent", MEDIUM)
        assert self.plan(bench, "silent", "production")["outcome"] == "stops"

    def test_ids_and_quasi_identifiers_warn(self, bench: Bench) -> None:
        bench.plant("quasi", columns=["x0", "customer_id", "gender", "zip"])
        bench.assess("quasi", MEDIUM)
        planned = self.plan(bench, "quasi", "production")
        assert planned["outcome"] == "passes"
        assert "customer_id (person_id)" in planned["detail"]
        approval = bench.approval(bench.deploy("quasi", "production"))
        evidence = approval["evidence"]["stages"]["validate"]["personal_data"]
        assert {i["column"]: i["rule"] for i in evidence["inputs"]} == dict.fromkeys(
            ("customer_id", "gender", "zip"), "warn"
        )
        assert "customer_id (person_id), gender (gender), zip (postcode)" in evidence["warnings"][0]

    def test_a_finding_that_is_wrong_stops_nothing(self, bench: Bench) -> None:
        bench.plant("cleared", columns=["x0", "contact"])
        bench.assess("cleared", MEDIUM)
        upload(bench, "people", people())
        trained_on(bench, "cleared", train="dataset:people@1")
        mark(bench, "people", "contact", "email", "wrong")
        assert self.plan(bench, "cleared", "production")["outcome"] == "passes"

    def test_an_installation_has_rules_of_its_own(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check = bench.platform.runtime.components.get(RolloutParts).personal_data
        assert check is not None
        bench.plant("ruled", columns=["x0", "email", "zip"])
        bench.assess("ruled", MEDIUM)
        group = PersonalDataGroup
        monkeypatch.setitem(check.rules.inputs, group.DIRECT, InputRule.ALLOW)  # type: ignore[arg-type]
        assert self.plan(bench, "ruled", "production")["outcome"] == "passes"
        monkeypatch.setitem(check.rules.inputs, group.QUASI, InputRule.STOP)  # type: ignore[arg-type]
        assert "zip (postcode)" in self.plan(bench, "ruled", "production")["detail"]


class TestPolicies:
    def test_are_told_of_what_was_found_whatever_the_card_says(self, bench: Bench) -> None:
        parts = bench.platform.runtime.components.get(RolloutParts)
        bench.plant("told", model_card={"personal_data": False})
        bench.assess("told", LOW)
        upload(bench, "people", people())
        trained_on(bench, "told", train="dataset:people@1")

        def facts() -> dict[str, Any]:
            with parts.factory.begin(actor_of(bench), write=False) as work:
                version = parts.catalogue.resolve(work, "told")
                return facts_of_version(work, version, training_of(work, version, parts.personal_data))

        assert (facts()["personal_data"], facts()["data_sensitivity"]) == (True, 7)
        mark(bench, "people", "contact", "email", "wrong")
        assert (facts()["personal_data"], facts()["data_sensitivity"]) == (False, 3)

    def test_follow_the_lineage_once_for_all_that_goes_by_it(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check = bench.platform.runtime.components.get(PersonalDataCheck)
        real, followed = check.training, []

        def training(session: Session, team_id: str, model: str, version: int) -> TrainingFacts:
            followed.append(model)
            return real(session, team_id, model, version)

        monkeypatch.setattr(check, "training", training)
        bench.plant("once")
        answer = bench.engineer.client.post("/models/once/deploy/plan", json={"environment": "staging"})
        assert (answer.status_code, followed.count("once")) == (200, 1)
        followed.clear()
        bench.until(bench.deploy("once"), "succeeded")
        assert followed.count("once") == 3, "when it is asked for, validated and placed"


class TestTheRegister:
    """Of what serves, the reviews go by the risk that it would be deployed by today."""

    ANSWERED: ClassVar = LOW | {"business_impact": 4}
    DAYS = 15
    """A medium risk is reviewed every two weeks, a low one every month."""

    def served(self, bench: Bench, model: str) -> None:
        """In production at low risk for so many days; what was found in its data came to light later."""
        bench.plant(model)
        bench.assess(model, self.ANSWERED)
        accepted = bench.deploy(model, "production", canary={"steps": [100]})
        bench.until(accepted, "succeeded")
        with bench.platform.runtime.components.get(Database).write() as session:
            row = session.get_one(DeploymentRow, accepted["deployment_id"])
            row.created_at = utc_now() - timedelta(days=self.DAYS)
        assert self.line(bench, model)["risk_level"] == "low"

    def line(self, bench: Bench, model: str) -> dict[str, Any]:
        answer = bench.engineer.client.get(f"/governance/models/{model}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def review(self, bench: Bench, model: str, role: str) -> Any:
        body = {"verdict": "keep", "findings": "looked through"}
        return bench.person(role).client.post(f"/governance/models/{model}/reviews", json=body)

    def test_what_was_found_brings_the_review_forward_and_other_people_to_it(self, bench: Bench) -> None:
        parts = bench.platform.runtime.components
        watch = ReviewWatch(parts.get(WorkFactory), parts.get(ProductionUse), parts.get(PersonalDataCheck))
        self.served(bench, "aging")
        assert not self.line(bench, "aging")["overdue"]
        assert "aging" not in watch.run()
        upload(bench, "people", people())
        trained_on(bench, "aging", train="dataset:people@1")
        found = self.line(bench, "aging")
        assert (found["risk_level"], found["risk_score"], found["overdue"]) == ("medium", 15, True)
        [listed] = bench.engineer.client.get("/governance/models").json()["items"]
        assert listed == found
        assert "aging" in watch.run()
        alerts = bench.engineer.client.get("/alerts", params={"resource": "aging"}).json()["items"]
        assert "medium risk" in alerts[0]["detail"]
        assert self.review(bench, "aging", "team_lead").status_code == 403
        made = self.review(bench, "aging", "manager")
        assert (made.status_code, made.json()["risk_level"]) == (201, "medium")
        assert not self.line(bench, "aging")["overdue"]

    def test_a_newer_version_that_does_not_serve_changes_nothing(self, bench: Bench) -> None:
        self.served(bench, "steady")
        bench.plant("steady")
        upload(bench, "people", people())
        trained_on(bench, "steady", 2, train="dataset:people@1")
        assert risk(bench, "steady")["level"] == "medium"
        found = self.line(bench, "steady")
        assert (found["risk_level"], found["overdue"]) == ("low", False)

    def test_the_answers_say_when_the_raised_risk_is_reviewed(self, bench: Bench) -> None:
        bench.plant("dated")
        bench.assess("dated", self.ANSWERED)

        def every() -> timedelta:
            found = risk(bench, "dated")
            due, answered = (datetime.fromisoformat(found[name]) for name in ("review_due_at", "answered_at"))
            return due - answered

        assert every() == timedelta(days=30)
        upload(bench, "people", people())
        trained_on(bench, "dated", train="dataset:people@1")
        assert every() == timedelta(days=14)

    def test_the_card_asks_for_what_the_raised_risk_needs(self, bench: Bench) -> None:
        bench.plant("carded", model_card={"intended_use": "offers"})
        bench.assess("carded", self.ANSWERED)
        address = "/models/carded/versions/1/card"
        assert bench.engineer.client.get(address).json()["missing"] == []
        upload(bench, "people", people())
        trained_on(bench, "carded", train="dataset:people@1")
        assert bench.engineer.client.get(address).json()["missing"] == ["limitations"]

"""The register of models, reviews of what serves in production, and cards, over the API."""

from datetime import timedelta
from typing import Any

import pytest

from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.services.access import WorkFactory
from ml_platform.services.deployments.tables import DeploymentRow
from ml_platform.services.governance import ProductionUse, ReviewWatch
from tests.support.rollouts import CARD, HIGH, LOW, MEDIUM, Bench

AT_ONCE = {"steps": [100]}
REGISTER = "/governance/models/plain"


@pytest.fixture
def served(bench: Bench) -> dict[str, Any]:
    """A model of low risk in production."""
    bench.plant("plain", bias=1.0)
    bench.assess("plain", LOW)
    accepted = bench.deploy("plain", "production", canary=AT_ONCE)
    bench.until(accepted, "succeeded")
    return accepted


def line(bench: Bench) -> dict[str, Any]:
    answer = bench.engineer.client.get(REGISTER)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def review(bench: Bench, role: str, verdict: str = "keep", **more: Any) -> Any:
    body = {"verdict": verdict, "findings": "looked through"} | more
    return bench.person(role).client.post(f"{REGISTER}/reviews", json=body)


def age(bench: Bench, accepted: dict[str, Any], days: int) -> None:
    """Has the endpoint been there for so long already."""
    with bench.platform.runtime.components.get(Database).write() as session:
        row = session.get_one(DeploymentRow, accepted["deployment_id"])
        row.created_at = utc_now() - timedelta(days=days)


class TestTheRegister:
    def test_it_says_whose_how_risky_what_serves_and_when_it_is_reviewed(
        self, bench: Bench, served: dict[str, Any]
    ) -> None:
        bench.plant("idle")
        found = line(bench)
        assert (found["risk_level"], found["serving"], found["overdue"]) == ("low", ["plain/1"], False)
        assert found["review_due_at"] is not None
        names = {
            item["model_name"]: item
            for item in bench.engineer.client.get("/governance/models").json()["items"]
        }
        assert set(names) == {"plain", "idle"}
        assert (names["idle"]["risk_level"], names["idle"]["review_due_at"]) == (None, None)

    def test_it_is_paged_by_name(self, bench: Bench) -> None:
        for name in ("c", "a", "b"):
            bench.plant(name)
        first = bench.engineer.client.get("/governance/models?limit=2").json()
        rest = bench.engineer.client.get("/governance/models", params={"cursor": first["next_cursor"]}).json()
        assert [item["model_name"] for item in (*first["items"], *rest["items"])] == ["a", "b", "c"]

    def test_a_team_lead_names_an_owner_who_is_a_member(self, bench: Bench) -> None:
        bench.plant("plain")
        lead, ana = bench.person("team_lead"), bench.person("data_scientist")
        assert lead.client.put(f"{REGISTER}/owner", json={"user": ana.name}).json()["owner"] == ana.name
        refused = lead.client.put(f"{REGISTER}/owner", json={"user": "nobody-here"})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "user")
        assert ana.client.put(f"{REGISTER}/owner", json={"user": ana.name}).status_code == 403
        assert line(bench)["owner"] == ana.name


class TestReviewing:
    def test_a_review_moves_the_date_and_is_kept(self, bench: Bench, served: dict[str, Any]) -> None:
        age(bench, served, 31)
        assert line(bench)["overdue"]
        made = review(bench, "team_lead")
        assert made.status_code == 201, made.text
        assert (made.json()["serving"], made.json()["verdict"]) == (["plain/1"], "keep")
        assert not line(bench)["overdue"]
        [kept] = bench.engineer.client.get(f"{REGISTER}/reviews").json()["items"]
        assert kept == made.json()
        events = bench.platform.admin.get("/audit/events", params={"action": "model.review"}).json()["items"]
        assert any(event["after"]["review_id"] == kept["review_id"] for event in events)

    def test_nobody_without_a_seat_and_nobody_their_own(self, bench: Bench, served: dict[str, Any]) -> None:
        assert (
            bench.engineer.client.post(
                f"{REGISTER}/reviews", json={"verdict": "keep", "findings": "x"}
            ).status_code
            == 403
        )
        assert review(bench, "legal").status_code == 403
        lead = bench.person("team_lead")
        assert lead.client.put(f"{REGISTER}/owner", json={"user": lead.name}).status_code == 200
        refused = review(bench, "team_lead")
        assert (refused.status_code, refused.json()["code"]) == (403, "self_approval")

    def test_what_does_not_serve_is_not_reviewed(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", LOW)
        assert review(bench, "team_lead").status_code == 409

    def test_answering_the_risk_anew_does_not_stand_for_a_review(
        self, bench: Bench, served: dict[str, Any]
    ) -> None:
        age(bench, served, 31)
        bench.assess("plain", LOW, reason="answered again")
        assert line(bench)["overdue"]

    def test_a_model_that_is_to_go_gets_no_new_version_until_a_review_says_otherwise(
        self, bench: Bench, served: dict[str, Any]
    ) -> None:
        assert review(bench, "team_lead", "retire", findings="complaints").status_code == 201
        assert line(bench)["retired"]
        titles = [alert["title"] for alert in bench.engineer.client.get("/alerts").json()["items"]]
        assert "plain is to be retired" in titles
        bench.plant("plain", bias=2.0)
        plan = bench.engineer.client.post(
            "/models/plain/deploy/plan", json={"environment": "production"}
        ).json()
        assert (plan["allowed"], plan["stopped_by"]) == (False, "validate")
        refused = bench.deploy("plain", "production", canary=AT_ONCE)
        assert "complaints" in bench.until(refused, "failed")["reason"]
        assert review(bench, "team_lead", "conditions").status_code == 201
        bench.until(bench.deploy("plain", "production", canary=AT_ONCE), "succeeded")

    def test_high_risk_is_revalidated_on_rows(self, bench: Bench, served: dict[str, Any]) -> None:
        bench.assess("plain", HIGH)
        age(bench, served, 31)
        assert review(bench, "board_chair").status_code == 201
        assert line(bench)["overdue"], "a review without rows is no revalidation"
        unknown = review(bench, "board_chair", dataset="nothing@1")
        assert unknown.status_code == 404


class TestTheWatch:
    def watch(self, bench: Bench) -> list[str]:
        parts = bench.platform.runtime.components
        return ReviewWatch(parts.get(WorkFactory), parts.get(ProductionUse)).run()

    def open_alerts(self, bench: Bench) -> list[dict[str, Any]]:
        found = bench.engineer.client.get("/alerts", params={"resource": "plain"}).json()["items"]
        return [alert for alert in found if alert["status"] == "open" and "overdue" in alert["title"]]

    def test_an_overdue_review_raises_one_alert_which_the_review_resolves(
        self, bench: Bench, served: dict[str, Any]
    ) -> None:
        self.watch(bench)
        assert self.open_alerts(bench) == []
        age(bench, served, 31)
        for _ in range(3):
            self.watch(bench)
        [alert] = self.open_alerts(bench)
        assert (alert["severity"], alert["occurrences"]) == ("warning", 1)
        age(bench, served, 60)
        self.watch(bench)
        [alert] = self.open_alerts(bench)
        assert alert["severity"] == "critical"
        assert review(bench, "team_lead").status_code == 201
        assert self.open_alerts(bench) == []


class TestCards:
    PATH = "/models/plain/versions/1/card"

    def put(self, bench: Bench, **card: Any) -> Any:
        return bench.engineer.client.put(self.PATH, json={"card": card})

    def test_a_card_is_written_anew_and_says_what_is_missing(self, bench: Bench) -> None:
        bench.plant("plain", model_card={"intended_use": "offers"})
        bench.assess("plain", MEDIUM)
        first = bench.engineer.client.get(self.PATH).json()
        assert (first["revision"], first["missing"]) == (1, ["limitations"])
        second = self.put(bench, intended_use="offers", limitations="none known")
        assert second.status_code == 200, second.text
        found = bench.engineer.client.get(self.PATH).json()
        assert (found["revision"], found["missing"], found["written_by"]) == (2, [], bench.engineer.name)
        assert "none known" in found["markdown"]

    def test_it_is_exported_as_a_page_that_runs_nothing(self, bench: Bench) -> None:
        bench.plant("plain", model_card={"intended_use": "<script>alert(1)</script>"})
        answer = bench.engineer.client.get(f"{self.PATH}/export", params={"form": "html"})
        assert answer.headers["content-type"].startswith("text/html")
        assert "attachment" in answer.headers["content-disposition"]
        assert "<script" not in answer.text
        plain = bench.engineer.client.get(f"{self.PATH}/export")
        assert plain.text.startswith("# plain, version 1")

    def test_a_change_voids_the_approval_that_was_given_on_the_old_one(self, bench: Bench) -> None:
        bench.plant("plain", model_card=CARD)
        bench.assess("plain", MEDIUM)
        accepted = bench.deploy("plain", "production", canary=AT_ONCE)
        approval = bench.approval(accepted)
        assert self.put(bench, intended_use="everything").status_code == 200
        for role in ("manager", "senior_data_scientist"):
            assert bench.vote(approval, bench.person(role)).status_code == 200
        assert "void" in bench.until(accepted, "failed")["reason"]

    def test_another_team_sees_no_card_and_no_line(self, bench: Bench) -> None:
        bench.plant("plain")
        stranger = bench.platform.new_user(bench.platform.new_team(), "ml_engineer", "team_lead", "approver")
        assert stranger.client.get(self.PATH).status_code == 404
        assert stranger.client.get(REGISTER).status_code == 404
        assert stranger.client.put(self.PATH, json={"card": {}}).status_code == 404
        assert stranger.client.get("/governance/models").json()["items"] == []

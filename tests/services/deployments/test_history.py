"""What was live at a moment, who answered for it, and the way back there."""

from datetime import UTC, datetime
from typing import Any

import pytest

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

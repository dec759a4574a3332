"""The card with which a version begins."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from ml_platform.contracts.models import ModelVersion
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.registry import Candidate, LoggedModel, Prepared, Registrar, RegistryService
from ml_platform.services.registry.interfaces import InspectedModel
from tests.support.platform import RunningPlatform


@pytest.fixture
def team(platform: RunningPlatform) -> Actor:
    name = platform.new_team()
    teams = platform.admin.get("/teams?limit=500").json()["items"]
    team_id = next(item["team_id"] for item in teams if item["name"] == name)
    return Actor.system("test", team_id=team_id, team_name=name)


def register(
    platform: RunningPlatform, team: Actor, version: int, by: str, card: dict[str, Any] | None = None
) -> ModelVersion:
    parts = platform.runtime.components
    run = secrets.token_hex(16)
    candidate = Candidate(
        team_id=team.team_id,
        team_name=team.team_name,
        name="churn",
        key=run,
        logged=LoggedModel(run_id=run, experiment_id="1", name="model", source=f"models:/{run}"),
        created_by=by,
        model_card=card or {},
    )
    inspected = InspectedModel("0" * 64, 1, None, None, files={"MLmodel": "0" * 64})
    prepared = Prepared(candidate, version, inspected, None, None, Path("/nowhere").as_uri(), None)
    with parts.get(WorkFactory).begin(team) as work:
        return parts.get(Registrar).record(work, prepared)


class TestTheCardOfANewVersion:
    def test_is_that_of_the_version_before_with_who_wrote_it(
        self, platform: RunningPlatform, team: Actor
    ) -> None:
        register(platform, team, 1, "ana", {"limitations": "one market"})
        second = register(platform, team, 2, "ben")
        assert second.model_card == {"limitations": "one market"}
        with platform.runtime.components.get(WorkFactory).begin(team) as work:
            registry = RegistryService(work)
            assert registry.card_of("churn", 2).written_by == "ana"
            registry.set_card("churn", 2, {"limitations": "two markets"})
        assert register(platform, team, 3, "ben").model_card == {"limitations": "two markets"}

    def test_is_the_one_that_was_given(self, platform: RunningPlatform, team: Actor) -> None:
        assert register(platform, team, 1, "ana").model_card == {}
        register(platform, team, 2, "ana", {"limitations": "one market"})
        given = register(platform, team, 3, "ben", {"intended_use": "offers"})
        assert given.model_card == {"intended_use": "offers"}

    def test_says_in_the_audit_log_where_it_comes_from(self, platform: RunningPlatform, team: Actor) -> None:
        register(platform, team, 1, "ana", {"limitations": "one market"})
        register(platform, team, 2, "ben")
        client = platform.client(platform.admin_token, team=team.team_name)
        events = client.get("/audit/events?action=model.register").json()["items"]
        own = [event["after"] for event in events if event["team_id"] == team.team_id]
        found = {after["model_id"]: after["card_of"] for after in own}
        assert found == {"churn_v1": None, "churn_v2": "churn_v1"}

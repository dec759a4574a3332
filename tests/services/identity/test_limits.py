"""Limits of keys and teams: who sets them, and how the inference servers learn of them."""

import pytest
from tests.support.crash import eventually
from tests.support.platform import RunningPlatform

from ml_platform import Platform


def serving_keys(platform: RunningPlatform) -> dict[str, dict]:
    answer = platform.admin.get("/inference/snapshot?after=-1&wait=0").json()
    return {key["key_id"]: key for key in answer["keys"]}


class TestLimits:
    def test_a_keys_limit_and_its_teams_reach_the_inference_servers(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        ana = platform.new_user(team, "data_scientist")
        key = ana.client.post("/keys", json={"name": "app", "requests_per_second": 50}).json()
        assert key["requests_per_second"] == 50
        limited = platform.admin.patch(f"/teams/{team}", json={"requests_per_second": 200})
        assert (limited.status_code, limited.json()["requests_per_second"]) == (200, 200)

        def reaches(expected: tuple[float, float | None]) -> None:
            def there() -> bool:
                known = serving_keys(platform).get(key["key_id"], {})
                return (known.get("requests_per_second"), known.get("team_requests_per_second")) == expected

            eventually(there, what=f"limits of {expected} in the snapshot")

        reaches((50, 200))
        platform.admin.patch(f"/teams/{team}", json={"requests_per_second": None})
        reaches((50, None))

    def test_what_an_update_leaves_out_stays(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        platform.admin.patch(f"/teams/{team}", json={"requests_per_second": 10, "description": "red"})
        answer = platform.admin.patch(f"/teams/{team}", json={"description": "blue"}).json()
        assert (answer["requests_per_second"], answer["description"]) == (10, "blue")

    def test_nobody_lifts_the_limit_of_the_own_team(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        lead = platform.new_user(team, "team_lead")
        assert lead.client.patch(f"/teams/{team}", json={"requests_per_second": 9}).status_code == 403

    def test_a_limit_that_is_none_is_refused(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        for rate in (0, -1, 0.5, 1e9, "many"):
            answer = platform.admin.patch(f"/teams/{team}", json={"requests_per_second": rate})
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["field"] == "requests_per_second"

    def test_the_change_is_in_the_audit_log(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        platform.admin.patch(f"/teams/{team}", json={"requests_per_second": 10})
        events = platform.admin.get(
            "/audit/events?action=team.update&limit=1", headers={"mlops-team": team}
        ).json()["items"]
        assert events[0]["before"]["requests_per_second"] is None
        assert events[0]["after"]["requests_per_second"] == 10


QUOTA = ("max_deployments", "max_replicas", "max_cpu", "max_memory_mb")


class TestQuotas:
    def test_are_set_by_an_administrator_alone_and_are_in_the_audit_log(
        self, platform: RunningPlatform
    ) -> None:
        team = platform.new_team()
        lead = platform.new_user(team, "team_lead")
        assert lead.client.patch(f"/teams/{team}", json={"max_replicas": 9}).status_code == 403
        with Platform(url=platform.url, key=platform.admin_token) as admin:
            told = admin.identity.set_quota(team, replicas=9, cpu=2.5)
            assert (told.max_replicas, told.max_cpu, told.max_deployments) == (9, 2.5, None)
            told = admin.identity.set_quota(team, replicas=None)
        assert (told.max_replicas, told.max_cpu) == (None, 2.5)
        events = platform.admin.get(
            "/audit/events?action=team.update&limit=1", headers={"mlops-team": team}
        ).json()["items"]
        assert (events[0]["before"]["max_replicas"], events[0]["after"]["max_replicas"]) == (9, None)

    def test_come_with_a_new_team(self, platform: RunningPlatform) -> None:
        name = f"{platform.new_team()}-2"
        body = {"name": name, "max_deployments": 1, "max_replicas": 2, "max_cpu": 3, "max_memory_mb": 4}
        made = platform.admin.post("/teams", json=body)
        assert made.status_code == 201, made.text
        assert [made.json()[field] for field in QUOTA] == [1, 2, 3, 4]

    @pytest.mark.parametrize("field", QUOTA)
    def test_that_are_none_are_refused(self, platform: RunningPlatform, field: str) -> None:
        team = platform.new_team()
        for value in (-1, 1e18, "many"):
            answer = platform.admin.patch(f"/teams/{team}", json={field: value})
            assert answer.status_code == 422, value
            assert answer.json()["errors"][0]["field"] == field

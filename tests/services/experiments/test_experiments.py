"""Experiments and runs: MLflow's, in the team's own workspace."""

import pytest

from tests.support.platform import RunningPlatform
from tests.support.training import TrainedTeam, create_experiment


class TestCreating:
    def test_name_and_description_in_the_body(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        answer = ana.client.post("/experiments", json={"name": "Churn 2026", "description": "first try"})
        assert answer.status_code == 201
        made = answer.json()
        assert (made["name"], made["description"]) == ("Churn 2026", "first try")
        assert made["created_at"].endswith("Z")
        assert ana.client.get(f"/experiments/{made['experiment_id']}").json() == made
        assert ana.client.get("/experiments/Churn 2026").json() == made

    def test_name_and_description_in_the_query(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        answer = ana.client.post("/experiments", params={"name": "churn", "description": "by query"})
        assert (answer.status_code, answer.json()["description"]) == (201, "by query")

    def test_the_same_name_twice_is_a_conflict_but_not_in_another_team(
        self, platform: RunningPlatform
    ) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        bob = platform.new_user(platform.new_team(), "data_scientist")
        assert ana.client.post("/experiments", json={"name": "churn"}).status_code == 201
        assert ana.client.post("/experiments", json={"name": "churn"}).status_code == 409
        assert bob.client.post("/experiments", json={"name": "churn"}).status_code == 201

    @pytest.mark.parametrize(
        "body", [{}, {"name": ""}, {"name": "x" * 201}, {"nam": "x"}, {"name": "a\x07b"}]
    )
    def test_a_wrong_name_is_422(self, platform: RunningPlatform, body: dict[str, str]) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        assert ana.client.post("/experiments", json=body).status_code == 422

    @pytest.mark.parametrize("name", ["..", ".", " .. ", "../x", "a/b", "a\\b"])
    def test_a_name_that_would_be_another_address_is_422(self, platform: RunningPlatform, name: str) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        for sent in ({"json": {"name": name}}, {"params": {"name": name}}):
            answer = ana.client.post("/experiments", **sent)
            assert answer.status_code == 422
            assert "must be one part of an address" in answer.json()["detail"]

    def test_a_name_with_a_nul_is_refused(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        answer = ana.client.post("/experiments", json={"name": "a\x00b"})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")

    def test_a_viewer_may_not(self, platform: RunningPlatform) -> None:
        viewer = platform.new_user(platform.new_team(), "viewer")
        assert viewer.client.post("/experiments", json={"name": "churn"}).status_code == 403

    def test_it_is_in_the_audit_log(self, platform: RunningPlatform) -> None:
        lead = platform.new_user(platform.new_team(), "team_lead")
        made = create_experiment(lead.client)
        events = lead.client.get("/audit/events?action=experiment.create").json()["items"]
        assert [event["resource_id"] for event in events] == [made]


class TestListing:
    def test_pages_hold_all_and_only_the_teams_own(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        made = {create_experiment(ana.client, f"e{number}") for number in range(3)}
        seen, cursor = [], None
        while True:
            page = ana.client.get(
                "/experiments", params={"limit": 2, **({"cursor": cursor} if cursor else {})}
            )
            seen += [item["experiment_id"] for item in page.json()["items"] if item["name"] != "Default"]
            cursor = page.json()["next_cursor"]
            if cursor is None:
                break
        assert len(seen) == 3
        assert set(seen) == made

    def test_by_name(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        made = create_experiment(ana.client, "churn 2024")
        found = ana.client.get("/experiments", params={"name": "churn 2024"}).json()["items"]
        assert [item["experiment_id"] for item in found] == [made]
        assert ana.client.get("/experiments", params={"name": "other"}).json()["items"] == []

    def test_a_wrong_cursor_is_422(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        create_experiment(ana.client)
        for cursor in ("nonsense", "e30=", "eyJvZmZzZXQiOiAtMX0="):
            answer = ana.client.get("/experiments", params={"cursor": cursor})
            assert answer.status_code == 422, cursor
            answer = ana.client.get("/experiments/experiment/runs", params={"cursor": cursor})
            assert answer.status_code == 422, cursor

    def test_another_teams_experiment_is_not_found(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        bob = platform.new_user(platform.new_team(), "data_scientist")
        made = create_experiment(ana.client)
        for path in (f"/experiments/{made}", f"/experiments/{made}/runs", "/experiments/experiment"):
            assert bob.client.get(path).status_code == 404, path
        for wrong in ("0", "-1", "9" * 18, "9" * 30, "%F0%9F%92%A9"):
            assert ana.client.get(f"/experiments/{wrong}").status_code == 404, wrong


@pytest.mark.slow
class TestRuns:
    def test_the_jobs_run_with_its_metrics_and_job(self, trained: TrainedTeam) -> None:
        client = trained.caller.client
        run = client.get(f"/runs/{trained.job['run_id']}").json()
        assert run["job_id"] == trained.job["job_id"]
        assert run["status"] == "FINISHED"
        assert run["metrics"]["roc_auc"] > 0.9
        assert run["params"]["C"] == "1.0"

    def test_sorted_by_a_metric_which_others_lack(self, trained: TrainedTeam) -> None:
        client = trained.caller.client
        page = client.get(f"/experiments/{trained.experiment_id}/runs?sort_by=roc_auc").json()
        assert trained.job["run_id"] in [run["run_id"] for run in page["items"]]
        page = client.get(f"/experiments/{trained.experiment_id}/runs?sort_by=nothing").json()
        assert page["items"] == []

    def test_another_team_does_not_find_it(self, trained: TrainedTeam, platform: RunningPlatform) -> None:
        bob = platform.new_user(platform.new_team(), "data_scientist")
        assert bob.client.get(f"/runs/{trained.job['run_id']}").status_code == 404

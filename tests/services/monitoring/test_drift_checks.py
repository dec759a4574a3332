"""Drift checks over the prediction log, asked for by HTTP, on both databases."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import WorkFactory
from ml_platform.services.deployments.tables import RevisionRow
from ml_platform.services.monitoring import CheckSchedule, Deployments
from ml_platform.services.monitoring.tables import DriftCheckRow, MonitorRow
from ml_platform.services.registry.tables import ModelVersionRow
from tests.support.crash import eventually
from tests.support.monitoring import Watched, customers, drifted, features, watch
from tests.support.platform import RunningPlatform


@pytest.fixture
def watched(platform: RunningPlatform, tmp_path: Path) -> Watched:
    return watch(platform, tmp_path)


class TestACheck:
    def test_traffic_like_the_reference_has_not_drifted(
        self, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        watched = watch(platform, tmp_path, graph=True)
        watched.log(features().sample(2_000, seed=1))
        report = watched.check()
        assert (report["status"], report["verdict"], report["rows"]) == ("succeeded", "none", 2_000)
        assert report["data_quality_score"] > 0.99
        assert (report["alert_id"], report["notes"]) == (None, [])
        assert report["reference_rows"] == customers().height
        names = {feature["name"] for feature in report["features"]}
        assert names == {*features().columns, "prediction"}
        assert watched.alerts() == []
        assert watched.caller.client.get(f"{watched.path}/drift").json() == report

    def test_other_prices_and_contracts_have_drifted_and_so_have_the_predictions(
        self, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        watched = watch(platform, tmp_path, graph=True)
        watched.log(drifted().sample(2_000, seed=1))
        report = watched.check()
        assert report["verdict"] == "drift"
        assert set(report["drifted_features"]) == {"contract", "monthly_charges", "prediction"}
        assert report["data_quality_score"] < 0.99
        [alert] = watched.alerts()
        assert (alert["alert_id"], alert["status"]) == (report["alert_id"], "open")
        assert alert["severity"] == "warning"
        assert "has drifted" in alert["title"]
        assert report["retraining"]["started"] is False
        events = watched.platform.admin.get(
            "/audit/events", params={"resource": watched.deployment_id, "action": "drift.verdict"}
        ).json()["items"]
        assert [event["after"]["check_id"] for event in events] == [report["check_id"]]

    def test_too_few_rows_are_not_enough_data(self, watched: Watched) -> None:
        watched.log(drifted().head(999))
        report = watched.check()
        assert (report["verdict"], report["rows"]) == ("not_enough_data", 999)
        assert "at least 1000 are needed" in report["reasons"][0]
        assert watched.alerts() == []

    def test_no_log_at_all_is_not_enough_data(self, watched: Watched) -> None:
        report = watched.check()
        assert (report["verdict"], report["rows"]) == ("not_enough_data", 0)
        assert report["data_quality_score"] is None

    def test_a_version_without_reference_is_not_enough_data(
        self, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        watched = watch(platform, tmp_path, reference=customers().head(0))
        watched.log(features())
        report = watched.check()
        assert report["verdict"] == "not_enough_data"
        assert "has no reference rows" in report["reasons"][0]

    def test_only_answers_of_the_serving_version_within_the_window_count(self, watched: Watched) -> None:
        watched.log(features().sample(1_000, seed=1))
        watched.log(drifted(), at=utc_now() - timedelta(hours=25))
        watched.log(drifted(), version=2)
        watched.log(drifted(), status=500)
        report = watched.check()
        assert (report["verdict"], report["rows"]) == ("none", 1_000)
        watched.set_monitor(window_hours=26)
        assert watched.check()["verdict"] == "drift"

    def test_it_waits_for_what_was_answered_before_it_and_lies_in_the_spool(self, watched: Watched) -> None:
        segment = watched.segment(features().sample(1_200, seed=1))
        check_id = watched.request_check()
        eventually(lambda: self._status(watched, check_id) == "running", what="the check's start")
        segment.close()
        watched.roll()
        report = watched.finished(check_id)
        assert report["rows"] == 1_200
        assert "predictions are not compared" in report["notes"][0]
        assert len(report["notes"]) == 1

    def test_a_reference_that_was_changed_fails_the_check_and_is_said(
        self, watched: Watched, platform: RunningPlatform
    ) -> None:
        with platform.runtime.components.get(Database).read() as session:
            revision = session.get(RevisionRow, watched.revision_id)
            assert revision is not None
            query = session.query(ModelVersionRow.reference_uri).filter_by(team_id=revision.team_id)
            reference = platform.runtime.components.get(ObjectStorage).path(query.scalar())
        reference.chmod(0o644)
        reference.write_bytes(b"something else")
        report = watched.check()
        assert (report["status"], report["verdict"]) == ("failed", None)
        assert "reference rows are others" in report["reason"]
        [alert] = watched.alerts()
        assert "cannot be measured" in alert["title"]

    @staticmethod
    def _status(watched: Watched, check_id: str) -> str:
        return watched.caller.client.get(f"{watched.path}/drift/checks/{check_id}").json()["status"]


class TestAlertsOfDrift:
    def test_drift_that_goes_on_is_one_alert_until_it_is_over(self, watched: Watched) -> None:
        watched.log(drifted().sample(1_500, seed=1))
        first, second = watched.check(), watched.check()
        [alert] = watched.alerts()
        assert first["alert_id"] == second["alert_id"] == alert["alert_id"]
        assert alert["occurrences"] == 2
        path = f"/alerts/{alert['alert_id']}"
        assert watched.caller.client.post(f"{path}/acknowledge").json()["status"] == "acknowledged"
        assert watched.check()["alert_id"] == alert["alert_id"]
        resolved = watched.caller.client.post(f"{path}/resolve", json={"note": "new prices"}).json()
        assert (resolved["status"], resolved["note"]) == ("resolved", "new prices")
        assert watched.check()["alert_id"] != alert["alert_id"]
        assert len(watched.alerts()) == 2

    def test_it_is_resolved_when_a_check_finds_none_any_more(self, watched: Watched) -> None:
        now = utc_now()
        watched.log(drifted(), at=now - timedelta(hours=20))
        watched.log(features(), at=now - timedelta(hours=1))
        watched.check()
        watched.set_monitor(window_hours=2)
        assert watched.check()["verdict"] == "none"
        [alert] = watched.alerts()
        assert (alert["status"], alert["resolved_by"]) == ("resolved", "monitoring")


class TestAMonitor:
    def test_it_has_defaults_before_anything_was_set(self, watched: Watched) -> None:
        found = watched.caller.client.get(f"{watched.path}/monitor").json()
        assert (found["window_hours"], found["min_rows"], found["schedule_minutes"]) == (24, 1_000, 15)
        assert found["retrain"] == {"enabled": False, "cooldown_hours": 24, "max_per_week": 3}
        assert found["last_verdict"] is None

    def test_settings_are_kept_and_audited(self, watched: Watched) -> None:
        wanted = {"window_hours": 6, "min_rows": 500, "psi_warn": 0.05, "psi_act": 0.5}
        found = watched.set_monitor(**wanted)
        assert {name: found[name] for name in wanted} == wanted
        actions = [
            event["action"]
            for event in watched.platform.admin.get(
                "/audit/events", params={"resource": watched.deployment_id, "action": "monitor.*"}
            ).json()["items"]
        ]
        assert actions == ["monitor.update", "monitor.create"]

    @pytest.mark.parametrize(
        "body",
        [
            {"window_hours": 0},
            {"min_rows": 1},
            {"psi_warn": 0.5, "psi_act": 0.1},
            {"schedule_minutes": 0},
            {"retrain": {"cooldown_hours": -1}},
            {"colour": "red"},
        ],
    )
    def test_settings_that_make_no_sense_are_refused(self, watched: Watched, body: dict[str, object]) -> None:
        answer = watched.caller.client.put(f"{watched.path}/monitor", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")

    def test_letting_drift_retrain_in_production_needs_the_right_to_deploy_there(
        self, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        watched = watch(platform, tmp_path, environment="production")
        scientist = platform.new_user(watched.caller.team, "data_scientist").client
        body = {"retrain": {"enabled": True}}
        assert scientist.put(f"{watched.path}/monitor", json=body).status_code == 403
        assert watched.caller.client.put(f"{watched.path}/monitor", json=body).status_code == 200

    def test_another_team_finds_nothing(self, watched: Watched, platform: RunningPlatform) -> None:
        stranger = platform.new_user(platform.new_team(), "ml_engineer").client
        check_id = watched.check()["check_id"]
        for path in ("/monitor", "/drift", "/drift/checks", f"/drift/checks/{check_id}", "/retrainings"):
            assert stranger.get(watched.path + path).status_code == 404, path
        assert stranger.post(f"{watched.path}/drift/check").status_code == 404
        assert stranger.put(f"{watched.path}/monitor", json={}).status_code == 404
        assert stranger.get("/alerts").json()["items"] == []

    def test_a_viewer_reads_and_changes_nothing(self, watched: Watched, platform: RunningPlatform) -> None:
        viewer = platform.new_user(watched.caller.team, "viewer").client
        assert viewer.get(f"{watched.path}/monitor").status_code == 200
        assert viewer.put(f"{watched.path}/monitor", json={}).status_code == 403
        assert viewer.post(f"{watched.path}/drift/check").status_code == 403

    def test_before_the_first_check_there_is_no_report(self, watched: Watched) -> None:
        answer = watched.caller.client.get(f"{watched.path}/drift")
        assert answer.status_code == 404
        assert "drift/check" in answer.json()["hint"]

    def test_its_history_is_paged_newest_first(self, watched: Watched) -> None:
        ids = [watched.check()["check_id"] for _ in range(3)]
        first = watched.caller.client.get(f"{watched.path}/drift/checks?limit=2").json()
        rest = watched.caller.client.get(
            f"{watched.path}/drift/checks?limit=2&cursor={first['next_cursor']}"
        ).json()
        assert [check["check_id"] for check in first["items"] + rest["items"]] == ids[::-1]
        assert rest["next_cursor"] is None

    def test_its_newest_result_is_a_gauge(self, watched: Watched) -> None:
        watched.log(features().sample(1_000, seed=2))
        watched.check()
        text = httpx.get(
            watched.platform.url + "/metrics",
            headers={"authorization": f"Bearer {watched.platform.admin_token}"},
        ).text
        labels = f'{{deployment="churn",environment="staging",team="{watched.caller.team}"}}'
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if watched.caller.team in line)
        quality = [float(value) for name, value in lines.items() if name.startswith("data_quality_score")]
        assert len(quality) == 1, labels
        assert 0.99 < quality[0] <= 1


class TestTheSchedule:
    def test_a_deployment_that_serves_is_watched_and_checked_when_it_is_due(self, watched: Watched) -> None:
        schedule = watched.platform.runtime.components.get(CheckSchedule)
        schedule.run()
        self._make_due(watched)
        schedule.run()
        eventually(lambda: len(self._checks(watched)) == 1, what="a check on schedule")
        [row] = self._checks(watched)
        assert (row.trigger, row.requested_by) == ("schedule", "monitoring")
        assert watched.finished(row.id)["verdict"] == "not_enough_data"

    def test_of_many_who_try_at_once_one_starts_the_check(self, watched: Watched) -> None:
        parts = watched.platform.runtime.components
        watched.set_monitor()
        self._make_due(watched)
        barrier = threading.Barrier(6)

        def tick() -> int:
            schedule = CheckSchedule(parts.get(WorkFactory), parts.get(Deployments))
            barrier.wait()
            return schedule.run()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: tick(), range(6)))
        assert len(self._checks(watched)) == 1

    def test_what_serves_nothing_is_not_checked(self, watched: Watched) -> None:
        watched.set_monitor()
        with watched.platform.runtime.components.get(Database).write() as session:
            session.execute(
                update(RevisionRow)
                .where(RevisionRow.id == watched.revision_id)
                .values(status="retired", weight=0)
            )
        self._make_due(watched)
        watched.platform.runtime.components.get(CheckSchedule).run()
        assert self._checks(watched) == []
        answer = watched.caller.client.post(f"{watched.path}/drift/check")
        assert answer.status_code == 409

    @staticmethod
    def _make_due(watched: Watched) -> None:
        with watched.platform.runtime.components.get(Database).write() as session:
            session.execute(
                update(MonitorRow)
                .where(MonitorRow.deployment_id == watched.deployment_id)
                .values(next_check_at=utc_now() - timedelta(minutes=1))
            )

    @staticmethod
    def _checks(watched: Watched) -> list[DriftCheckRow]:
        with watched.platform.runtime.components.get(Database).read() as session:
            rows = session.query(DriftCheckRow).filter_by(deployment_id=watched.deployment_id).all()
            session.expunge_all()
            return rows

"""Alerts: raised once for each trouble, told to real receivers, acknowledged and resolved by people."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from ml_platform.contracts.monitoring import Alert, AlertSeverity
from ml_platform.kit.db import Database
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.alerts import AlertService, NewAlert
from ml_platform.services.identity.tables import TeamRow
from tests.support.crash import eventually
from tests.support.platform import Caller, RunningPlatform


class Receiver:
    """A web hook; `refusals` says how many requests it answers with 503 first."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.refusals = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.refusals > 0:
                    receiver.refusals -= 1
                    self.send_error(503)
                    return
                receiver.bodies.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/hook-secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver(platform: RunningPlatform) -> Iterator[Receiver]:
    found = Receiver()
    urls = platform.settings.alert_urls
    urls.append(SecretStr(found.url))
    yield found
    urls.pop()
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def ana(platform: RunningPlatform) -> Caller:
    return platform.new_user(platform.new_team("alerts"), "ml_engineer")


def raise_alert(platform: RunningPlatform, team: str, key: str = "fire", **changes: Any) -> Alert:
    parts = platform.runtime.components
    with parts.get(Database).read() as session:
        team_id = session.query(TeamRow).filter_by(name=team).one().id
    new = NewAlert(
        **{
            "key": key,
            "severity": AlertSeverity.WARNING,
            "title": "It burns",
            "detail": "in the kitchen",
            "resource_kind": "deployment",
            "resource_id": "dep_1",
            **changes,
        }
    )
    with parts.get(WorkFactory).begin(Actor.system("test", team_id=team_id, team_name=team)) as work:
        return AlertService(work).raise_alert(new)


def settled(ana: Caller, alert: Alert) -> str:
    return eventually(
        lambda: ana.client.get(f"/alerts/{alert.alert_id}").json()["notification"],
        within=60,
        what="the end of the notification",
    )


class TestRaising:
    def test_the_same_trouble_is_one_alert_and_people_are_told_once(
        self, platform: RunningPlatform, ana: Caller, receiver: Receiver
    ) -> None:
        first, second = (raise_alert(platform, ana.team) for _ in range(2))
        assert (first.alert_id, first.occurrences, second.occurrences) == (second.alert_id, 1, 2)
        assert settled(ana, first) == "told 1 receiver"
        [body] = receiver.bodies
        assert (body["title"], body["type"]) == ("It burns", "warning")
        assert first.alert_id in body["message"]

    def test_a_trouble_that_grew_is_told_again(
        self, platform: RunningPlatform, ana: Caller, receiver: Receiver
    ) -> None:
        first = raise_alert(platform, ana.team)
        settled(ana, first)
        worse = raise_alert(platform, ana.team, severity=AlertSeverity.CRITICAL)
        assert (worse.alert_id, worse.severity) == (first.alert_id, "critical")
        eventually(lambda: len(receiver.bodies) == 2, within=60, what="the second message")
        assert receiver.bodies[1]["type"] == "failure"

    def test_many_at_once_open_one(self, platform: RunningPlatform, ana: Caller) -> None:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: raise_alert(platform, ana.team).alert_id, range(16)))
        assert len(set(found)) == 1
        [alert] = ana.client.get("/alerts").json()["items"]
        assert alert["occurrences"] == 16

    def test_a_receiver_that_is_away_is_told_later_and_nothing_waits_for_it(
        self, platform: RunningPlatform, ana: Caller, receiver: Receiver
    ) -> None:
        receiver.refusals = 1
        alert = raise_alert(platform, ana.team)
        assert settled(ana, alert) == "told 1 receiver"
        assert len(receiver.bodies) == 1

    def test_without_receivers_that_is_said(self, platform: RunningPlatform, ana: Caller) -> None:
        assert settled(ana, raise_alert(platform, ana.team)) == "no receiver is configured"

    def test_the_receivers_address_is_in_no_answer_and_no_log(
        self,
        platform: RunningPlatform,
        ana: Caller,
        receiver: Receiver,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        receiver.refusals = 1
        settled(ana, raise_alert(platform, ana.team))
        captured = capfd.readouterr()
        for text in (ana.client.get("/alerts").text, caplog.text, captured.out, captured.err):
            assert "hook-secret" not in text


class TestForPeople:
    def test_it_is_acknowledged_and_resolved_with_a_note_and_audited(
        self, platform: RunningPlatform, ana: Caller
    ) -> None:
        path = f"/alerts/{raise_alert(platform, ana.team).alert_id}"
        found = ana.client.post(f"{path}/acknowledge", json={"note": "on it"}).json()
        assert (found["status"], found["acknowledged_by"], found["note"]) == (
            "acknowledged",
            ana.name,
            "on it",
        )
        again = ana.client.post(f"{path}/acknowledge").json()
        assert again["acknowledged_at"] == found["acknowledged_at"]
        found = ana.client.post(f"{path}/resolve").json()
        assert (found["status"], found["resolved_by"], found["note"]) == ("resolved", ana.name, "on it")
        assert ana.client.post(f"{path}/resolve").json()["resolved_at"] == found["resolved_at"]
        assert ana.client.post(f"{path}/acknowledge").status_code == 409
        events = platform.admin.get("/audit/events", params={"resource": path.removeprefix("/alerts/")})
        assert [event["action"] for event in events.json()["items"]] == [
            "alert.resolve",
            "alert.acknowledge",
            "alert.open",
        ]

    def test_after_it_was_resolved_the_same_trouble_is_a_new_alert(
        self, platform: RunningPlatform, ana: Caller
    ) -> None:
        first = raise_alert(platform, ana.team)
        ana.client.post(f"/alerts/{first.alert_id}/resolve")
        assert raise_alert(platform, ana.team).alert_id != first.alert_id

    def test_lists_are_filtered_and_paged(self, platform: RunningPlatform, ana: Caller) -> None:
        ids = [raise_alert(platform, ana.team, key=f"k{n}").alert_id for n in range(3)]
        ana.client.post(f"/alerts/{ids[0]}/resolve")
        assert [a["alert_id"] for a in ana.client.get("/alerts?status=open").json()["items"]] == ids[:0:-1]
        first = ana.client.get("/alerts?limit=2").json()
        rest = ana.client.get(f"/alerts?limit=2&cursor={first['next_cursor']}").json()
        assert [a["alert_id"] for a in first["items"] + rest["items"]] == ids[::-1]
        assert ana.client.get("/alerts?resource=dep_2").json()["items"] == []
        assert ana.client.get("/alerts?severity=critical").json()["items"] == []

    def test_another_team_finds_nothing_and_a_viewer_changes_nothing(
        self, platform: RunningPlatform, ana: Caller
    ) -> None:
        path = f"/alerts/{raise_alert(platform, ana.team).alert_id}"
        stranger = platform.new_user(platform.new_team(), "ml_engineer").client
        viewer = platform.new_user(ana.team, "viewer").client
        assert stranger.get(path).status_code == 404
        assert stranger.post(f"{path}/resolve").status_code == 404
        assert stranger.get("/alerts").json()["items"] == []
        assert viewer.get(path).status_code == 200
        assert viewer.post(f"{path}/acknowledge").status_code == 403

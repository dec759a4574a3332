"""The console is served behind the gate, with a policy that lets nothing foreign in."""

import gzip
import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.server.console import Console
from ml_platform.services.identity.tables import BrowserSessionRow
from tests.support.platform import Caller, RunningPlatform


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text('<meta name="style-nonce" content="%STYLE_NONCE%">')
    (tmp_path / "assets" / "main-abc.js").write_text("export {};" * 100)
    (tmp_path / "icon.svg").write_text("<svg/>")
    return tmp_path


def asked(accept: str = "gzip") -> Request:
    return Request(
        {"type": "http", "method": "GET", "path": "/", "headers": [(b"accept-encoding", accept.encode())]}
    )


def signed_in(platform: RunningPlatform, caller: Caller) -> httpx.Client:
    code = caller.client.post("/sign-in-links").json()["url"].partition("#code=")[2]
    browser = platform.client()
    assert browser.post(platform.url + "/login", json={"code": code}).status_code == 204
    return browser


class TestFiles:
    def test_each_page_has_a_nonce_of_its_own_and_no_other_style_or_script_is_let_in(
        self, built: Path
    ) -> None:
        console = Console(built)
        pages = [console.answer(asked(), "fraud/models/churn") for _ in range(2)]
        nonces = [re.search(r'content="([\w-]{20,})"', bytes(page.body).decode()) for page in pages]
        assert nonces[0]
        assert nonces[1]
        assert nonces[0][1] != nonces[1][1]
        policy = pages[0].headers["content-security-policy"]
        assert f"style-src 'self' 'nonce-{nonces[0][1]}'" in policy
        assert "script-src 'self';" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert pages[0].headers["cache-control"] == "no-store"

    def test_assets_are_kept_for_good_and_sent_packed(self, built: Path) -> None:
        console = Console(built)
        packed = console.answer(asked(), "assets/main-abc.js")
        assert gzip.decompress(bytes(packed.body)) == (built / "assets" / "main-abc.js").read_bytes()
        assert "immutable" in packed.headers["cache-control"]
        assert "javascript" in packed.headers["content-type"]
        plain = console.answer(asked("identity"), "assets/main-abc.js")
        assert bytes(plain.body).startswith(b"export")

    @pytest.mark.parametrize(
        "path", ["assets/gone.js", "assets/../../settings.py", "assets/%2e%2e/index.html"]
    )
    def test_an_asset_that_was_not_built_is_404(self, built: Path, path: str) -> None:
        assert Console(built).answer(asked(), path).status_code == 404

    @pytest.mark.parametrize("path", ["../settings.py", "..%2fsettings.py", "/etc/passwd", "index.html"])
    def test_any_other_address_is_the_page(self, built: Path, path: str) -> None:
        assert b"style-nonce" in bytes(Console(built).answer(asked(), path).body)

    def test_a_checkout_without_a_built_console_says_how_to_build_it(self, tmp_path: Path) -> None:
        answer = Console(tmp_path / "nothing").answer(asked(), "")
        assert answer.status_code == 503
        assert b"make console" in bytes(answer.body)


class TestTheGate:
    def test_who_is_not_signed_in_is_told_how_to(self, platform: RunningPlatform) -> None:
        answer = platform.client().get(platform.url + "/console/", headers={"accept": "text/html"})
        assert answer.status_code == 401
        assert "mlops login --web" in answer.text

    def test_the_files_of_the_console_are_for_who_is_signed_in(self, platform: RunningPlatform) -> None:
        assert platform.client().get(platform.url + "/console/icon.svg").status_code == 401

    def test_the_platforms_address_leads_to_the_console(self, platform: RunningPlatform) -> None:
        browser = signed_in(platform, platform.new_user(platform.new_team(), "viewer"))
        answer = browser.get(platform.url + "/", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, "/console/")


class TestAnswersOfTheApi:
    def test_are_kept_by_no_browser(self, platform: RunningPlatform) -> None:
        browser = signed_in(platform, platform.new_user(platform.new_team(), "viewer"))
        assert browser.get("/whoami").headers["cache-control"] == "no-store"


class TestIdleSessions:
    def test_end_by_the_rule_of_the_strictest_team(self, platform: RunningPlatform) -> None:
        team, other = platform.new_team(), platform.new_team()
        ana = platform.new_user(team, "viewer")
        assert (
            platform.admin.put(f"/teams/{other}/members/{ana.name}", json={"roles": ["viewer"]}).status_code
            == 200
        )
        browser = signed_in(platform, ana)
        self._unused_for(platform, timedelta(minutes=16))
        assert browser.get("/whoami").status_code == 200
        changed = platform.admin.patch(f"/teams/{other}", json={"session_idle_minutes": 15})
        assert changed.json()["session_idle_minutes"] == 15
        self._unused_for(platform, timedelta(minutes=16))
        answer = browser.get("/whoami")
        assert answer.status_code == 401
        assert "timed out" in answer.json()["detail"]

    def test_what_a_page_asks_by_itself_keeps_no_session_alive(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        browser = signed_in(platform, platform.new_user(team, "viewer"))
        platform.admin.patch(f"/teams/{team}", json={"session_idle_minutes": 15})
        self._unused_for(platform, timedelta(minutes=14))
        background = {"x-mlops-background": "1"}
        assert browser.get("/whoami", headers=background).status_code == 200
        self._unused_for(platform, timedelta(minutes=2), more=True)
        assert browser.get("/whoami", headers=background).status_code == 401

    def test_what_a_person_does_keeps_it_alive(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        browser = signed_in(platform, platform.new_user(team, "viewer"))
        platform.admin.patch(f"/teams/{team}", json={"session_idle_minutes": 15})
        self._unused_for(platform, timedelta(minutes=14))
        assert browser.get("/whoami").status_code == 200
        self._unused_for(platform, timedelta(minutes=2), more=True)
        assert browser.get("/whoami").status_code == 200

    def test_mlflows_pages_that_ask_by_themselves_keep_it_alive_as_little(
        self, platform: RunningPlatform
    ) -> None:
        team = platform.new_team()
        browser = signed_in(platform, platform.new_user(team, "viewer"))
        platform.admin.patch(f"/teams/{team}", json={"session_idle_minutes": 15})
        self._unused_for(platform, timedelta(minutes=14))
        search = f"{platform.url}/mlflow/ajax-api/2.0/mlflow/experiments/search?max_results=1"
        assert browser.get(search).status_code == 200
        self._unused_for(platform, timedelta(minutes=2), more=True)
        assert browser.get("/whoami").status_code == 401

    def test_of_an_administrator_end_by_the_rule_of_the_team_that_is_asked_for(
        self, platform: RunningPlatform
    ) -> None:
        team = platform.new_team()
        platform.admin.patch(f"/teams/{team}", json={"session_idle_minutes": 15})
        link = platform.admin.post("/sign-in-links").json()["url"]
        browser = platform.client()
        browser.post(platform.url + "/login", json={"code": link.partition("#code=")[2]})
        self._unused_for(platform, timedelta(minutes=16))
        assert browser.get("/whoami", headers={"mlops-team": team}).status_code == 401
        assert browser.get("/whoami").status_code == 200

    def test_minutes_below_five_are_refused(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        assert platform.admin.patch(f"/teams/{team}", json={"session_idle_minutes": 4}).status_code == 422

    def _unused_for(self, platform: RunningPlatform, idle: timedelta, *, more: bool = False) -> None:
        """Every session was last used so long ago, or so much longer ago than it was."""
        with platform.runtime.components.get(Database).write() as session:
            for row in session.query(BrowserSessionRow).filter(BrowserSessionRow.ended_at.is_(None)):
                row.last_seen_at = (row.last_seen_at if more else utc_now()) - idle

"""The audit log's copy in write-once storage, as the settings ask for it: route, metrics, health, command line."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from ml_platform.server.local import commands
from ml_platform.server.local.layout import Layout
from ml_platform.server.settings import Settings
from tests.cli.running import Mlops
from tests.support.platform import RunningPlatform, running_platform
from tests.support.s3 import Bucket, eventually

SOON = {"audit_archive_seconds": 0.1}


@pytest.fixture(scope="class")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "archive"


@pytest.fixture(scope="class")
def archived(where: Path) -> Iterator[RunningPlatform]:
    """One at a time in a process, since MLflow knows one database in a process."""
    home = where.parent / "home"
    with running_platform(
        home, audit_archive=str(where), audit_prune=True, inference={"port": 0}, **SOON
    ) as running:
        yield running


@pytest.fixture
def mlops(archived: RunningPlatform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mlops:
    command = Mlops(monkeypatch)
    command.use(MLOPS_API_URL=archived.url, MLOPS_API_KEY=archived.admin_token, MLOPS_TEAM=None)
    command.use(MLOPS_HOME=str(tmp_path / "elsewhere"), MLOPS_OUTPUT=None, MLOPS_DEBUG=None)
    return command


def status(platform: RunningPlatform) -> dict[str, Any]:
    answer = platform.admin.get("/audit/archive")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def up_to_date(platform: RunningPlatform) -> bool:
    found = status(platform)
    return found["state"] == "ok" and found["archived"] > 0 and found["backlog_events"] == 0


def metric(platform: RunningPlatform, name: str) -> float:
    answer = httpx.get(
        f"{platform.url}/metrics", headers={"authorization": f"Bearer {platform.admin_token}"}, timeout=30
    )
    [found] = re.findall(rf"^{name} (\S+)$", answer.text, re.MULTILINE)
    return float(found)


class TestAPlatformWithAnArchive:
    def test_copies_what_happens_and_shows_how_far_it_is(
        self, archived: RunningPlatform, mlops: Mlops, where: Path
    ) -> None:
        archived.new_team("watched")
        eventually(lambda: up_to_date(archived))
        assert metric(archived, "platform_audit_archive_backlog_events") == 0
        assert metric(archived, "platform_audit_archive_conflict") == 0
        shown = mlops.json("audit", "archive")
        assert (shown["location"], shown["prune"], shown["retention_days"]) == (str(where), True, 2557)

    def test_is_checked_by_the_command_line_with_and_without_the_platform(
        self, archived: RunningPlatform, mlops: Mlops, where: Path, tmp_path: Path
    ) -> None:
        archived.new_team("watched")
        eventually(lambda: up_to_date(archived))
        key = mlops.json("audit", "key")["public_key"]
        online = mlops.json("audit", "verify", "--archive", where, "--online", "--public-key", key)
        assert online["verified"] is True
        assert online["events"] > 0
        mlops.use(MLOPS_API_URL="http://127.0.0.1:9", MLOPS_API_KEY=None)
        copied = shutil.copytree(where, tmp_path / "copied")
        assert mlops.json("audit", "verify", "--archive", copied, "--public-key", key)["verified"] is True
        ran = mlops("audit", "verify", "--archive", copied, "--until", "2100-01-01")
        assert ran.code == 1
        assert "truncated" in ran.stdout
        for segment in (copied / "segments").iterdir():
            segment.unlink()
        assert mlops("audit", "verify", "--archive", copied).code == 1
        for wrong in (
            ["--archive", copied, "--file", copied],
            ["--online"],
            ["--until", "2100-01-01"],
            ["--archive", copied / "nowhere"],
        ):
            assert mlops("audit", "verify", *wrong).code == 2, wrong

    def test_an_archive_cut_short_with_its_checkpoints_is_found_beside_the_platform(
        self, archived: RunningPlatform, mlops: Mlops, where: Path, tmp_path: Path
    ) -> None:
        archived.new_team("watched")
        eventually(lambda: len(list((where / "segments").iterdir())) > 1)
        eventually(lambda: up_to_date(archived))
        newest = max((where / "segments").iterdir())
        late = [
            path for path in (where / "checkpoints").iterdir() if int(path.name[:20]) >= int(newest.name[:20])
        ]
        for path in (newest, *late):
            path.rename(tmp_path / path.name)
        ran = mlops("audit", "verify", "--archive", where, "--online")
        for path in (newest, *late):
            (tmp_path / path.name).rename(path)
        assert ran.code == 1
        assert "truncated" in ran.stdout or "missing" in ran.stdout
        assert mlops("audit", "verify", "--archive", where, "--online").code == 0

    def test_an_auditor_of_a_team_may_look_and_compare(
        self, archived: RunningPlatform, mlops: Mlops, where: Path
    ) -> None:
        auditor = archived.new_user(archived.new_team("watched"), "auditor")
        viewer = archived.new_user(auditor.team, "viewer")
        assert viewer.client.get("/audit/archive").status_code == 403
        eventually(lambda: up_to_date(archived))
        mlops.use(MLOPS_API_KEY=auditor.token)
        assert mlops.json("audit", "verify", "--archive", where, "--online")["verified"] is True

    def test_storage_in_the_way_is_said_everywhere_and_stops_nobody(
        self, archived: RunningPlatform, mlops: Mlops, where: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        eventually(lambda: up_to_date(archived))
        where.rename(where.with_name("away"))
        where.write_text("in the way")
        archived.new_team("watched")
        eventually(lambda: status(archived)["state"] == "failing")
        assert metric(archived, "platform_audit_archive_backlog_events") > 0
        assert metric(archived, "platform_audit_archive_failures") > 0
        assert mlops("audit", "archive").code == 1
        key = {"url": archived.url, "key": archived.admin_token}
        monkeypatch.setattr(commands, "_profile", lambda _layout: key)
        layout = Layout(archived.settings.home)
        with pytest.raises(RuntimeError, match="failing"):
            commands._audit_archive(archived.url, layout, asked=True)
        where.unlink()
        where.with_name("away").rename(where)
        eventually(lambda: up_to_date(archived))
        assert "wait" in commands._audit_archive(archived.url, layout, asked=True)


class TestAPlatformWithABucket:
    def test_goes_on_while_the_bucket_is_away_and_sends_the_rest_afterwards(
        self, locked_s3: Bucket, tmp_path: Path
    ) -> None:
        with running_platform(
            tmp_path / "home", audit_archive=locked_s3.uri, inference={"port": 0}, **SOON
        ) as running:
            eventually(lambda: up_to_date(running))
            with locked_s3.server.away():
                running.new_team("watched")
                eventually(lambda: status(running)["state"] == "failing")
                running.new_team("watched")
            eventually(lambda: up_to_date(running))
            assert status(running)["mode"] == "COMPLIANCE"


class TestSettings:
    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"audit_prune": True}, "MLOPS_AUDIT_ARCHIVE"),
            ({"audit_archive": "s3://Not A Bucket"}, "s3://bucket/prefix"),
            ({"audit_archive": "/a", "audit_archive_mode": "maybe"}, "audit_archive_mode"),
            ({"audit_retention_days": 0}, "audit_retention_days"),
        ],
    )
    def test_that_cannot_be_meant_are_refused(self, tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            Settings(home=tmp_path, **wrong)

    def test_nothing_is_removed_unless_it_is_asked_for(self, tmp_path: Path) -> None:
        found = Settings(home=tmp_path)
        assert (found.audit_archive, found.audit_prune, found.audit_retention_days) == (None, False, 2557)

"""The commands of an installation on this machine, as far as they need no running platform."""

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_platform.kit.secrets import write_private
from ml_platform.server.local import commands
from ml_platform.server.local.commands import CommandError
from ml_platform.server.local.layout import Layout
from ml_platform.server.local.profiles import settle_profile
from ml_platform.server.settings import ApiSettings, Settings
from tests.support.platform import RunningPlatform


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def api() -> Iterator[socket.socket]:
    """Something that takes connections at the API's port and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent


@pytest.fixture
def settings(home: Path, api: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Settings:
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("MLOPS_INFERENCE__PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MLOPS_API__PORT", str(api.getsockname()[1]))
    monkeypatch.setenv("MLOPS_HOME", str(home))
    monkeypatch.setattr(commands, "_PROBE_SECONDS", 0.3)
    return Settings()


def findings(settings: Settings) -> dict[str, str]:
    checks = commands.doctor(settings, print)["checks"]
    return {check["check"]: check["detail"] for check in checks if not check["ok"]}


class TestUp:
    def test_a_directory_of_something_else_is_refused_and_left_as_it_is(
        self, settings: Settings, api: socket.socket, home: Path
    ) -> None:
        api.close()
        home.mkdir()
        home.chmod(0o755)
        (home / "thesis.txt").write_text("years of work")
        with pytest.raises(CommandError, match=r"thesis\.txt"):
            commands.up(settings, print)
        with pytest.raises(CommandError, match="not an installation"):
            commands.reset(settings, print)
        assert [path.name for path in home.iterdir()] == ["thesis.txt"]
        assert stat.S_IMODE(home.stat().st_mode) == 0o755

    def test_an_empty_directory_becomes_private(self, settings: Settings, home: Path) -> None:
        home.mkdir()
        home.chmod(0o755)
        (home / "profile.json").write_text("{}")  # `mlops login` was there before
        commands._prepare_home(settings, Layout(home))
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        (home / "platform.db").touch()
        commands._prepare_home(settings, Layout(home))  # it is an installation now


class TestProfile:
    """What `mlops up` leaves signed in, asked of a platform that runs."""

    @pytest.fixture
    def here(self, platform: RunningPlatform, home: Path) -> Settings:
        port = int(platform.url.rpartition(":")[2])
        write_private(home / "secrets" / "admin.key", platform.admin_token)
        return Settings(home=home, api=ApiSettings(port=port))

    def settled(self, settings: Settings, kept: dict[str, str] | None) -> tuple[dict[str, str], str]:
        """The profile afterwards, and what was said."""
        layout, said = Layout(settings.home), []
        if kept is not None:
            write_private(layout.profile, json.dumps(kept))
        settle_profile(settings, layout, said.append)
        assert stat.S_IMODE(layout.profile.stat().st_mode) == 0o600
        return json.loads(layout.profile.read_text()), "\n".join(said)

    def test_without_one_the_administrator_is_signed_in(
        self, platform: RunningPlatform, here: Settings
    ) -> None:
        found, said = self.settled(here, None)
        assert found == {"url": platform.url, "key": platform.admin_token}
        assert said == ""

    @pytest.mark.parametrize(
        "address", ["http://127.0.0.1:{port}", "http://localhost:{port}/", "http://localhost:1"]
    )
    def test_somebody_else_whose_key_is_valid_stays_signed_in(
        self, platform: RunningPlatform, here: Settings, address: str
    ) -> None:
        ana = platform.new_user(platform.new_team(), "viewer")
        url = address.format(port=here.api.port)
        found, said = self.settled(here, {"url": url, "key": ana.token, "team": ana.team})
        assert found == {"url": platform.url, "key": ana.token, "team": ana.team}
        assert said == f"the profile stays signed in as {ana.name} in team {ana.team}"

    def test_a_key_that_is_not_known_gives_way(self, platform: RunningPlatform, here: Settings) -> None:
        found, said = self.settled(here, {"url": platform.url, "key": "mlops_gone_with_the_old_data"})
        assert found == {"url": platform.url, "key": platform.admin_token}
        assert "not known here any more" in said

    def test_one_of_another_platform_is_kept_beside(self, platform: RunningPlatform, here: Settings) -> None:
        other = {"url": "https://ml.example.org", "key": "mlops_a_b"}
        found, said = self.settled(here, other)
        assert found["key"] == platform.admin_token
        aside = here.home / "profile.previous.json"
        assert json.loads(aside.read_text()) == other
        assert stat.S_IMODE(aside.stat().st_mode) == 0o600
        assert str(aside) in said


class TestDoctor:
    def test_a_port_of_another_program_is_told_from_a_platform_that_is_down(self, settings: Settings) -> None:
        found = findings(settings)
        assert f"another program has taken {settings.api_url}" in found["control plane"]
        assert found["inference server"] == "not running: mlops up"

    def test_a_process_that_hangs_is_said_to_hang_once(self, settings: Settings, home: Path) -> None:
        layout = Layout(home)
        layout.set_desired(up=True)
        layout.profile.write_text(json.dumps({"url": settings.api_url, "key": "mlops_a_b"}))
        layout.profile.chmod(0o600)
        with layout.hold("api"):
            found = findings(settings)
        assert "it hangs: mlops logs" in found["control plane"]
        assert "while the control plane does not answer" in found["key"]
        assert found["key"] == found["audit log"]

    @pytest.mark.parametrize("content", [b"{", b"[1]", b'{"url": 5, "key": {}}', b"\xff\xfe"])
    def test_a_damaged_profile_is_named_with_its_remedy(
        self, settings: Settings, home: Path, content: bytes
    ) -> None:
        home.mkdir()
        (home / "profile.json").write_bytes(content)
        (home / "profile.json").chmod(0o600)
        found = findings(settings)
        assert "is damaged: mlops up writes it anew" in found["key"]
        assert found["key"] == found["audit log"]

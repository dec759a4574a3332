"""The commands of an installation on this machine, as far as they need no running platform."""

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_platform.server.local import commands
from ml_platform.server.local.commands import CommandError
from ml_platform.server.local.layout import Layout
from ml_platform.server.settings import Settings


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

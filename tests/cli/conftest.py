"""A command line with a home of its own, and one that acts for a user of a running platform."""

from pathlib import Path

import pytest

from tests.cli.running import Mlops
from tests.support.platform import Caller, RunningPlatform

ON_SQLITE = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)


@pytest.fixture
def mlops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mlops:
    """Nobody is signed in."""
    command = Mlops(monkeypatch)
    command.use(
        MLOPS_HOME=str(tmp_path / "home"),
        MLOPS_API_URL=None,
        MLOPS_API_KEY=None,
        MLOPS_TEAM=None,
        MLOPS_OUTPUT=None,
    )
    command.use(MLOPS_DEBUG=None)
    return command


@pytest.fixture
def ana(platform: RunningPlatform) -> Caller:
    return platform.new_user(platform.new_team(), "ml_engineer")


@pytest.fixture
def as_ana(mlops: Mlops, platform: RunningPlatform, ana: Caller) -> Mlops:
    """The command line of an ML engineer in a fresh team."""
    mlops.use(MLOPS_API_URL=platform.url, MLOPS_API_KEY=ana.token)
    return mlops

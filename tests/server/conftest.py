"""A team with one of everything, once for each database."""

import pytest

from tests.server.estate import Estate, settle
from tests.server.table import Route, routes_of
from tests.support.platform import RunningPlatform


@pytest.fixture(scope="session")
def estate(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Estate:
    return settle(platform, tmp_path_factory.mktemp("estate"))


@pytest.fixture(scope="session")
def routes(platform: RunningPlatform) -> list[Route]:
    return routes_of(platform.app)

"""A team with one of everything, once for each database."""

import pytest

from tests.server.estate import ALL_ROLES, Estate, settle
from tests.server.table import Route, routes_of
from tests.support.platform import Caller, RunningPlatform


@pytest.fixture(scope="session")
def estate(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Estate:
    return settle(platform, tmp_path_factory.mktemp("estate"))


@pytest.fixture(scope="session")
def routes(platform: RunningPlatform) -> list[Route]:
    return routes_of(platform.app)


@pytest.fixture(scope="session")
def outsider(platform: RunningPlatform) -> Caller:
    """Somebody who may do everything, in another team."""
    return platform.new_user(platform.new_team("outside"), *ALL_ROLES)

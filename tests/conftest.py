"""Fixtures of the whole suite. Control-plane tests run on SQLite and on PostgreSQL alike."""

from collections.abc import Iterator

import pytest
import structlog

from tests.support.platform import RunningPlatform, running_platform
from tests.support.postgres import PostgresServer, postgres_server  # noqa: F401 - a fixture
from tests.support.redis import redis_server, redis_url  # noqa: F401 - fixtures
from tests.support.s3 import locked_s3, s3, s3_server  # noqa: F401 - fixtures

# By default structlog draws tracebacks with all locals, which takes it most of a minute for a request's.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPlatform]:
    """A control plane that all tests of a session share; each test makes the teams that it needs."""
    home = tmp_path_factory.mktemp(f"home-{request.param}")
    if request.param == "sqlite":
        with running_platform(home) as running:
            yield running
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with (
        server.fresh_database() as database_url,
        server.fresh_database() as workflow_url,
        running_platform(home, database_url=database_url, workflow_url=workflow_url) as running,
    ):
        yield running

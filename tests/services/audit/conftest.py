"""Logs with an archive, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.audit import Trail
from tests.support.postgres import PostgresServer

ON_SQLITE = pytest.mark.parametrize("trail", ["sqlite"], indirect=True)
"""For what the database has no part in."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def trail(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trail]:
    if request.param == "sqlite":
        made = Trail(f"sqlite:///{tmp_path}/audit.db", tmp_path)
        yield made
        made.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.fresh_database() as url:
        made = Trail(url, tmp_path)
        yield made
        made.close()

"""An empty database of each kind, with the kit's own tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_platform.kit.db import Base, Database


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    with request.getfixturevalue("postgres_server").fresh_database() as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    Base.metadata.create_all(made.engine)
    yield made
    made.close()

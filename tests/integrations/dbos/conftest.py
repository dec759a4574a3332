"""The engine on both databases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ml_platform.integrations.dbos import DbosEngine
from ml_platform.kit.durable import Workflow
from tests.support.postgres import postgres_server  # noqa: F401

LaunchEngine = Callable[..., DbosEngine]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'dbos.db'}"
    else:
        with request.getfixturevalue("postgres_server").fresh_database() as url:
            yield url


@pytest.fixture
def launch(database_url: str) -> Iterator[LaunchEngine]:
    """Launches an engine with the given workflows; a second call shuts the first engine down."""
    launched: list[DbosEngine] = []

    def start(*workflows: Workflow, **settings: object) -> DbosEngine:
        for previous in launched:
            previous.shutdown()
        engine = DbosEngine(database_url, **{"poll_interval": 0.05, **settings})
        for workflow in workflows:
            engine.register(workflow)
        engine.launch()
        launched.append(engine)
        return engine

    yield start
    for engine in launched:
        engine.shutdown()

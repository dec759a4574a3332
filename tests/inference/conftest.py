"""Fixtures of the inference plane: models are built once a session, servers once where tests can share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .support.bundles import Bundle, Churn, build_churn, build_linear, build_mischief, build_types
from .support.control import ControlPlane
from .support.server import Server


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="session")
def churn(storage: Path) -> Churn:
    return build_churn(storage / "churn")


@pytest.fixture(scope="session")
def one(storage: Path) -> Bundle:
    return build_linear(storage / "one", [1.0], bias=1.0)


@pytest.fixture(scope="session")
def two(storage: Path) -> Bundle:
    return build_linear(storage / "two", [1.0], bias=2.0)


@pytest.fixture(scope="session")
def types(storage: Path) -> Bundle:
    return build_types(storage / "types")


@pytest.fixture(scope="session")
def mischief(storage: Path) -> Bundle:
    return build_mischief(storage / "mischief")


@pytest.fixture
def control() -> Iterator[ControlPlane]:
    control = ControlPlane()
    yield control
    control.stop()


@pytest.fixture
def make_server(tmp_path: Path, storage: Path, control: ControlPlane) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(**options: object) -> Server:
        server = Server(
            tmp_path / f"inference-{len(servers)}", options.pop("control", control), storage, **options
        )
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.close()

"""What the tests share: the real table, a model trained on it once, and a way to run an ASGI app for real."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from churn_mlops.data import load_customers
from churn_mlops.models.train import Config, Training, train


@pytest.fixture(scope="session")
def customers() -> pd.DataFrame:
    return load_customers()


@pytest.fixture(scope="session")
def training(customers: pd.DataFrame) -> Training:
    return train(customers, Config())


@pytest.fixture(scope="session")
def model_path(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.model.save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Start an ASGI app on a free port and return its address; all are stopped after the test."""
    with _servers() as start:
        yield start


@contextmanager
def _servers() -> Iterator[Callable[[Any], str]]:
    uvicorn = pytest.importorskip("uvicorn")
    running: list[tuple[Any, threading.Thread]] = []

    def start(app: Any) -> str:
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server stopped while starting"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    try:
        yield start
    finally:
        for server, thread in running:
            server.should_exit = True
            thread.join(timeout=10)

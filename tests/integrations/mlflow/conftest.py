"""One real tracking server for the tests of this folder, and MLflow's own client signed in to it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.integrations.mlflow.tokens import TOKENS

SERVE = Path(__file__).with_name("serve.py")


class TrackingServer:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen | None = None
        (home / "tokens.json").write_text(json.dumps(TOKENS))

    def start(self) -> None:
        address = self.home / "address"
        address.unlink(missing_ok=True)
        clean = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
        with (self.home / "log").open("a") as log:
            self.process = subprocess.Popen([sys.executable, SERVE, self.home], stderr=log, env=clean)
        deadline = time.monotonic() + 90
        while not address.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.home / "log").read_text()[-3000:])
            time.sleep(0.05)
        self.url = f"{address.read_text()}/mlflow"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def http(self, token: str | None = None, workspace: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if workspace:
            headers["X-MLFLOW-WORKSPACE"] = workspace
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = TrackingServer(tmp_path_factory.mktemp("mlflow"))
    running.start()
    yield running
    running.kill()


@pytest.fixture
def sign_in(server, monkeypatch):
    """Be somebody with MLflow's client: `sign_in(ANN)` or `sign_in(CAT, "team-b")`."""
    import mlflow

    def be(token, workspace=None):
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
        if workspace:
            monkeypatch.setenv("MLFLOW_WORKSPACE", workspace)
        else:
            monkeypatch.delenv("MLFLOW_WORKSPACE", raising=False)
        mlflow.set_tracking_uri(server.url)
        mlflow.set_registry_uri(server.url)
        return mlflow.MlflowClient(server.url, server.url)

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    # Retries would only make refusals slow.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield be
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture
def unique():
    """A name that no other test uses."""
    return f"n{time.time_ns()}"

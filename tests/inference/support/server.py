"""A real inference server: its own process tree, asked over HTTP."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from ml_platform.contracts.serving import InferenceMetrics, InferenceStatus, Snapshot

from .control import ADMIN, CALLER, TOKEN, ControlPlane


def eventually(check: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Polls until the check gives something true; fails with what was waited for and the last error."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = check()
        except (httpx.TransportError, AssertionError, OSError, KeyError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}; last: {last!r}")


class Server:
    """Started with `start`, and again after a stop; always on port 0 of the loopback address."""

    def __init__(self, state: Path, control: ControlPlane | None, root: Path, **options: object) -> None:
        self.state = state
        state.mkdir(parents=True, exist_ok=True)
        token_file = state / "token"
        token_file.write_text(TOKEN)
        settings: dict[str, object] = {
            "port": 0,
            "workers": 1,
            "state_dir": state,
            "storage_roots": root,
            "log_roll_seconds": 0.5,
            "pyfunc_nice": 0,  # beside other tests a model that stands back takes minutes to start
            **options,
        }
        if control is not None:
            settings |= {"control_url": control.url, "token_file": token_file, "poll_wait": 5}
        self.arguments = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(timeout=30)
        self.log = state / "server.log"

    def start(self, *, wait: bool = True) -> "Server":
        (self.state / "address.json").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ml_platform.inference.main", *self.arguments],
                stderr=log,
                env=os.environ | self.environment,
            )
        address = eventually(self._address, "an address")
        self.base = f"http://{address['host']}:{address['port']}"
        self.port = address["port"]
        self.grpc_port = address["grpc_port"]
        if wait:
            eventually(lambda: self.client.get(f"{self.base}/health/live").status_code == 200, "health")
        return self

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def close(self) -> None:
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def predict(self, instances: Any, name: str = "churn", token: str | None = CALLER, **headers: str):
        return self.post(json.dumps({"instances": instances}).encode(), name, token, **headers)

    def post(self, body: bytes, name: str = "churn", token: str | None = CALLER, **headers: str):
        sent = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        return self.client.post(f"{self.base}/v1/models/{name}:predict", content=body, headers=sent)

    def get(self, path: str, token: str | None = ADMIN) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return self.client.get(self.base + path, headers=headers)

    def status(self) -> InferenceStatus:
        response = self.get("/internal/status")
        assert response.status_code == 200, response.text
        return msgspec.json.decode(response.content, type=InferenceStatus)

    def metrics(self, window: float = 60) -> InferenceMetrics:
        response = self.get(f"/internal/metrics?window={window:g}")
        assert response.status_code == 200, response.text
        return msgspec.json.decode(response.content, type=InferenceMetrics)

    def has_applied(self, snapshot: Snapshot) -> InferenceStatus:
        """Waits until every worker has the snapshot and nothing is loading any more."""

        def check() -> InferenceStatus | None:
            status = self.status()
            revisions = [r for worker in status.workers for r in worker.revisions]
            settled = all(r.state != "loading" for r in revisions)
            complete = len(status.workers) == status.workers_expected
            return status if status.snapshot_version == snapshot.version and settled and complete else None

        return eventually(check, f"snapshot {snapshot.version} applied")

    def worker_pids(self) -> list[int]:
        return [worker.pid for worker in self.status().workers]

    def kill_worker(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # the parent has just not noticed yet that it is gone
            os.kill(pid, signal.SIGKILL)

    def _address(self) -> dict[str, Any]:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(
                f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-2000:]}"
            )
        return json.loads((self.state / "address.json").read_text())

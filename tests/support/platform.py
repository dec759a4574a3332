"""A real control plane for the tests: uvicorn in a thread, on a free port, in a home of its own."""

import itertools
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from ml_platform.server.app import create_app
from ml_platform.server.compose import compose
from ml_platform.server.runtime import Runtime
from ml_platform.server.settings import Settings

_numbers = itertools.count(1)


class RunningPlatform:
    """Where it listens, what it is made of, and clients for whoever asks."""

    def __init__(self, settings: Settings, runtime: Runtime, app: FastAPI) -> None:
        self.app = app
        self.settings = settings
        self.runtime = runtime
        self.url = settings.api_url
        self._clients: list[httpx.Client] = []
        self.admin_token = (settings.home / "secrets" / "admin.key").read_text()
        self.admin = self.client(self.admin_token)

    def client(self, token: str | None = None, *, team: str | None = None) -> httpx.Client:
        """An HTTP client with its base at `/api/v1`."""
        headers = {}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        if team is not None:
            headers["mlops-team"] = team
        client = httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=60)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Gives every client's connections back."""
        for client in self._clients:
            client.close()

    def new_team(self, prefix: str = "team") -> str:
        """A fresh team; answers its name."""
        name = f"{prefix}-{next(_numbers)}-{time.time_ns() % 10**9}"
        answer = self.admin.post("/teams", json={"name": name})
        assert answer.status_code == 201, answer.text
        return name

    def new_user(self, team: str, *roles: str) -> "Caller":
        """A fresh user with these roles in the team, and a key of theirs."""
        name = f"user-{next(_numbers)}-{time.time_ns() % 10**9}"
        admin = self.client(self.admin_token, team=team)
        assert admin.post("/users", json={"name": name}).status_code == 201
        answer = admin.put(f"/teams/{team}/members/{name}", json={"roles": list(roles)})
        assert answer.status_code == 200, answer.text
        answer = admin.post("/keys", json={"name": "test", "user": name})
        assert answer.status_code == 201, answer.text
        token = answer.json()["token"]
        return Caller(name, team, token, self.client(token))


class Caller:
    """A user of one team, with a client that acts for them."""

    def __init__(self, name: str, team: str, token: str, client: httpx.Client) -> None:
        self.name = name
        self.team = team
        self.token = token
        self.client = client


@contextmanager
def running_platform(
    home: Path, *, database_url: str | None = None, workflow_url: str | None = None, **changes: Any
) -> Iterator[RunningPlatform]:
    """Starts a control plane and stops it at the end of the block."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    changes.setdefault("api", {})["port"] = port
    if database_url is not None:
        changes["database"] = {
            "url": SecretStr(database_url),
            "workflow_url": SecretStr(workflow_url) if workflow_url else None,
        }
    changes.setdefault("jobs", {}).setdefault("environments_dir", shared_environments())
    settings = Settings(home=home, **changes)
    runtime = compose(settings)
    app = create_app(settings, runtime)
    config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_keep_alive=75)  # as in server.main
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the control plane did not start"
        assert time.monotonic() < deadline, "the control plane did not start in time"
        time.sleep(0.01)
    running = RunningPlatform(settings, runtime, app)
    try:
        yield running
    finally:
        running.close()
        server.should_exit = True
        thread.join(timeout=30)


def shared_environments() -> Path:
    """One cache of environments for every platform of the tests: what one has built, the next one has."""
    path = Path(tempfile.gettempdir()) / f"ml-platform-test-environments-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path

"""A whole installation, as a user has it: `mlops demo` in an empty home, then whatever a test does to it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Installation:
    """An installation of its own, the command that started it, and how to run `mlops` in it."""

    environment: dict[str, str]
    home: Path
    started: "subprocess.CompletedProcess[str]"

    @property
    def url(self) -> str:
        return str(self.profile["url"])

    @property
    def inference_url(self) -> str:
        return f"http://127.0.0.1:{self.environment['MLOPS_INFERENCE__PORT']}"

    @property
    def profile(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.home / "profile.json").read_text())
        return value

    def run(self, *arguments: str, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        """`mlops ...`; nothing is asked, both streams are captured."""
        return mlops(self.environment, *arguments, timeout=timeout)

    def json(self, *arguments: str) -> Any:
        """The data of a command that must succeed."""
        done = self.run(*arguments, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def mlops(
    environment: dict[str, str], *arguments: str, timeout: float = 300
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(BIN / "mlops"), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def fresh_environment(home: Path) -> dict[str, str]:
    """A user with an empty home directory and none of our settings."""
    api, inference = free_ports(2)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "MLFLOW_", "PYTHONDONTWRITE"))}
    return {
        **kept,
        "HOME": str(home),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path("~/.cache/uv").expanduser())),
        "MLOPS_HOME": str(home / ".mlops"),
        "MLOPS_API__PORT": str(api),
        "MLOPS_INFERENCE__PORT": str(inference),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation in which the demo was run; it is stopped at the end."""
    home = tmp_path_factory.mktemp("user")
    environment = fresh_environment(home)
    demo = mlops(environment, "demo", "--output", "json", timeout=900)
    made = Installation(environment, home / ".mlops", demo)
    try:
        yield made
    finally:
        mlops(environment, "down")

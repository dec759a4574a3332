"""Where an installation keeps what, and which of its processes live.

A process of ours lives exactly as long as it holds its lock: the kernel gives the lock back when the
process dies, however it dies, so no stale pid file can lie.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_platform.kit.locks import LockHeldError, file_lock

PROCESSES = ("api", "inference")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below `MLOPS_HOME`."""

    home: Path

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def profile(self) -> Path:
        return self.home / "profile.json"

    @property
    def marker(self) -> Path:
        """Says that the directory is an installation's; `reset` deletes nothing without it."""
        return self.home / ".mlops-installation"

    def log_file(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    # -- what should run

    def set_desired(self, *, up: bool) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        temporary = self.run / f".desired.{os.getpid()}"
        temporary.write_text("up" if up else "down")
        temporary.replace(self.run / "desired")

    def desired_up(self) -> bool:
        try:
            return (self.run / "desired").read_text() == "up"
        except FileNotFoundError:
            return False

    # -- what does run

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Says that this process is `name`, until the block ends or the process dies.

        Raises:
            LockHeldError: another process is.
        """
        with file_lock(self.run / f"{name}.lock", wait=False):
            yield

    def alive(self, name: str) -> bool:
        """Whether some process is `name`."""
        if not (self.run / f"{name}.lock").exists():
            return False
        try:
            with file_lock(self.run / f"{name}.lock", wait=False):
                return False
        except LockHeldError:
            return True

    def write_process(self, name: str, **facts: Any) -> None:
        """Leaves this process's pid and facts for `status` and `down`."""
        self.run.mkdir(parents=True, exist_ok=True)
        temporary = self.run / f".{name}.{os.getpid()}"
        temporary.write_text(json.dumps({"pid": os.getpid(), **facts}))
        temporary.replace(self.run / f"{name}.json")

    def process(self, name: str) -> dict[str, Any]:
        """What the process `name` left; empty when there is nothing."""
        try:
            value = json.loads((self.run / f"{name}.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def beat(self, name: str) -> None:
        """Says that the process `name` gets on with its work."""
        (self.run / f"{name}.beat").touch()

    def last_beat(self, name: str) -> int | None:
        """Changes with every beat of the process `name`."""
        try:
            return (self.run / f"{name}.beat").stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def pid(self, name: str) -> int | None:
        """The pid of a living process `name`."""
        if not self.alive(name):
            return None
        pid = self.process(name).get("pid")
        return pid if isinstance(pid, int) else None

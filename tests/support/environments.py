"""Stock clients whose dependencies conflict with ours: environments of their own, made by uv.

They are kept in the user's cache, so that only the first run on a machine asks the package registry.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ml_platform.kit.environments import EnvironmentCache, EnvironmentFailedError

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ml-platform" / "stock-clients"


class StockClient:
    """A program and the packages that it needs."""

    def __init__(self, program: Path, *requirements: str) -> None:
        self._program = program
        self._requirements = "\n".join(requirements)
        self._cache = EnvironmentCache(_CACHE)

    @property
    def is_installed(self) -> bool:
        return (_CACHE / self._cache.key(self._requirements)).is_dir()

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        """Those of its tests: slow where its packages have to be installed first."""
        return (
            [pytest.mark.timeout(900)] if self.is_installed else [pytest.mark.timeout(900), pytest.mark.slow]
        )

    def install(self) -> Path:
        """Its interpreter. Skips the test, with what uv said, where there is no registry to install from."""
        lines: list[str] = []
        try:
            return self._cache.ensure(self._requirements, log=lines.append, timeout=800)
        except EnvironmentFailedError as error:
            said = " ".join(lines)[-600:]
            pytest.skip(f"NOT TESTED, {self._requirements!r} cannot be installed here: {error} {said}")

    def ask(self, task: dict[str, Any]) -> dict[str, Any]:
        """What the program answers to a task, both JSON."""
        done = subprocess.run(
            [self.install(), "-I", self._program],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

"""The reference project as the demo uses it: its data, its drifted traffic, its source folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ml_platform.sdk.errors import PlatformError


class ChurnProject:
    """`examples/churn`, run with this environment's Python and never imported here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def find(cls) -> "ChurnProject":
        """The project in the checkout, from the working directory upwards.

        Raises:
            PlatformError: it is not there.
        """
        here = Path.cwd()
        for start in (here, *here.parents, *Path(__file__).resolve().parents):
            if (start / "examples" / "churn" / "train.py").is_file():
                return cls(start / "examples" / "churn")
        raise PlatformError(
            "the reference project examples/churn was not found",
            hint="run the demo in a checkout of the platform",
        )

    def export(self, target: Path) -> dict[str, Path]:
        """Writes the real tables as Parquet: `customers`, `customer_profile`, `churn_labels`."""
        lines = self._run("churn_mlops.data.export", "--out", str(target)).splitlines()
        return {Path(line).stem: Path(line) for line in lines}

    def drifted_rows(self, customers: Path, target: Path, limit: int) -> list[dict[str, Any]]:
        """Rows of drifted traffic, ready to be sent as instances."""
        self._run("churn_mlops.drift", "--data", str(customers), "--out", str(target), "--limit", str(limit))
        rows: list[dict[str, Any]] = json.loads(target.read_text())
        return rows

    def _run(self, module: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, "PYTHONPATH": str(self.folder / "src")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != 0:
            raise PlatformError(f"{module} failed: {done.stderr.strip()[-1000:]}")
        return done.stdout

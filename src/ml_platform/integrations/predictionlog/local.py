"""Finds the files of the prediction log, and knows whether the newest predictions are in them yet."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from ml_platform.inference.predictionlog.schema import FEATURE_PREFIX
from ml_platform.integrations.predictionlog.arrival import Arrival
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.services.monitoring import ServedDeployment


class LocalPredictionLog:
    """The log below one directory.

    Args:
        root: of the Parquet files, `team=../environment=../endpoint=../date=..`.
        spool: of the segments that wait to become Parquet; None when they are not on this machine.
        flush: has the inference server make Parquet of everything now; whether it did.
    """

    def __init__(
        self,
        root: Path,
        spool: Path | None,
        *,
        flush: Callable[[], bool] | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._root = root
        self._arrival = Arrival(spool, flush=flush, clock=clock)

    def is_complete(self, until: datetime) -> bool:
        return self._arrival.is_complete(until)

    def refresh(self) -> None:
        self._arrival.refresh()

    def files(self, deployment: ServedDeployment, since: datetime, until: datetime) -> list[Path]:
        found: list[Path] = []
        for folder in partitions(deployment, since, until):
            # A draft that is being written begins with a dot.
            directory = self._root / folder
            found += sorted(p for p in directory.glob("*.parquet") if not p.name.startswith("."))
        return found

    def feature_column(self, name: str) -> str:
        return FEATURE_PREFIX + name


def partitions(deployment: ServedDeployment, since: datetime, until: datetime) -> list[str]:
    """The folders of the log that may hold its predictions of that time, oldest first."""
    parts = (
        ("team", deployment.team_name),
        ("environment", deployment.environment),
        ("endpoint", deployment.name),
    )
    base = "/".join(f"{name}={quote(value, safe='')}" for name, value in parts)
    first, last = since.astimezone(UTC).date(), until.astimezone(UTC).date()
    return [f"{base}/date={first + timedelta(days=number)}" for number in range((last - first).days + 1)]

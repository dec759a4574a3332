"""Finds the files of the prediction log, and knows whether the newest predictions are in them yet."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from ml_platform.inference.predictionlog.schema import FEATURE_PREFIX
from ml_platform.inference.predictionlog.spool import has_begun_before
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.services.monitoring import ServedDeployment

_REFRESH_SECONDS = 2.0
_IN_MEMORY = timedelta(seconds=1)
"""A worker hands its records to the spool within a quarter of a second."""


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
        self._spool = spool
        self._flush = flush
        self._clock = clock
        self._refreshing = threading.Lock()
        self._refreshed = -_REFRESH_SECONDS

    def is_complete(self, until: datetime) -> bool:
        """It is when nothing waits, or the server says so; while it does not answer, time tells.

        A segment is named after the nanosecond at which it was begun, and goes once it is Parquet.
        """
        settled = until + _IN_MEMORY
        if self._clock() >= settled:
            if self._spool is None or not self._spool.is_dir():
                return True
            if not has_begun_before(self._spool, int(settled.timestamp() * 1e9)):
                return True
        return self._flush is not None and self._clock() >= until and self._flush()

    def refresh(self) -> None:
        """Asks for a flush, and soon after for no other: many readers would only make many small files."""
        with self._refreshing:
            now = time.monotonic()
            if self._flush is not None and now - self._refreshed > _REFRESH_SECONDS:
                self._flush()
                self._refreshed = time.monotonic()

    def files(self, deployment: ServedDeployment, since: datetime, until: datetime) -> list[Path]:
        parts = (
            ("team", deployment.team_name),
            ("environment", deployment.environment),
            ("endpoint", deployment.name),
        )
        base = self._root.joinpath(*(f"{name}={quote(value, safe='')}" for name, value in parts))
        day, last = since.astimezone(UTC).date(), until.astimezone(UTC).date()
        found: list[Path] = []
        while day <= last:
            directory = base / f"date={day.isoformat()}"
            # A draft that is being written begins with a dot.
            found += sorted(p for p in directory.glob("*.parquet") if not p.name.startswith("."))
            day += timedelta(days=1)
        return found

    def feature_column(self, name: str) -> str:
        return FEATURE_PREFIX + name

"""Whether the newest predictions are in the files of the log yet, and having them brought there."""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from ml_platform.inference.predictionlog.outgoing import waits_from_before
from ml_platform.inference.predictionlog.spool import has_begun_before
from ml_platform.kit.clock import Clock, utc_now

_REFRESH_SECONDS = 2.0
_IN_MEMORY = timedelta(seconds=1)
"""A worker hands its records to the spool within a quarter of a second."""


class Arrival:
    """What stands between an answer and its row in the log.

    Args:
        spool: of the segments that wait to become Parquet; None when they are not on this machine.
        outgoing: of the Parquet files that wait to be sent to a bucket; None when there is no bucket.
        flush: has the inference server bring everything to the log now; whether it did.
    """

    def __init__(
        self,
        spool: Path | None,
        *,
        outgoing: Path | None = None,
        flush: Callable[[], bool] | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._spool = spool
        self._outgoing = outgoing
        self._flush = flush
        self._clock = clock
        self._refreshing = threading.Lock()
        self._refreshed = -_REFRESH_SECONDS

    def is_complete(self, until: datetime) -> bool:
        """It is when nothing waits, or the server says so; while it does not answer, time tells.

        A segment is named after the nanosecond at which it was begun, and goes once it is Parquet; so is its file.
        """
        settled = until + _IN_MEMORY
        if self._clock() >= settled and not self._waits(int(settled.timestamp() * 1e9)):
            return True
        return self._flush is not None and self._clock() >= until and self._flush()

    def refresh(self) -> None:
        """Asks for a flush, and soon after for no other: many readers would only make many small files."""
        with self._refreshing:
            now = time.monotonic()
            if self._flush is not None and now - self._refreshed > _REFRESH_SECONDS:
                self._flush()
                self._refreshed = time.monotonic()

    def _waits(self, moment_ns: int) -> bool:
        """The spool is asked first: what leaves it meanwhile is found among what is to be sent."""
        if self._spool is not None and self._spool.is_dir() and has_begun_before(self._spool, moment_ns):
            return True
        return self._outgoing is not None and waits_from_before(self._outgoing, moment_ns)

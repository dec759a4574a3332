"""The parent's side of a prediction log in a bucket: has sent what waits, with growing pauses while it cannot be."""

from __future__ import annotations

import asyncio
import logging
import sys
import time

import msgspec

from ml_platform.inference.predictionlog.metrics import LogMetrics
from ml_platform.inference.predictionlog.outgoing import Shipped, any_waits
from ml_platform.inference.settings import Settings

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_PRUNE_SECONDS = 3600.0
_LIMIT_SECONDS = 600.0


class DeliveryError(Exception):
    """Not everything has arrived; the message says why. It waits here."""


class Delivery:
    """One process at a time sends; whoever waits for it knows that what waited before has arrived."""

    def __init__(self, settings: Settings, metrics: LogMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._outgoing = settings.prediction_log
        self._sending = asyncio.Lock()
        self._pause = self._not_before = 0.0
        self._pruned = -_PRUNE_SECONDS

    async def keep(self) -> None:
        """Until it is cancelled."""
        while self._settings.log_bucket:
            await asyncio.sleep(min(max(self._settings.log_roll_seconds / 4, 0.25), 5.0))
            if time.monotonic() < self._not_before:
                continue
            try:
                await self.send()
            except (DeliveryError, OSError) as error:
                self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
                self._not_before = time.monotonic() + self._pause
                _log.warning("the prediction log waits, next try in %.0f s: %s", self._pause, error)
            else:
                self._pause = 0.0

    async def send(self) -> None:
        """Sends everything that waits now; raises DeliveryError."""
        if not self._settings.log_bucket:
            return
        async with self._sending:
            prune = time.monotonic() - self._pruned >= _PRUNE_SECONDS
            if not prune and not await asyncio.to_thread(any_waits, self._outgoing):
                return
            self._outgoing.mkdir(parents=True, exist_ok=True)
            told = await self._run(self._settings.log_retention_days if prune else 0.0)
            if prune and told.error is None:
                self._pruned = time.monotonic()
            self._metrics.uploads += told.files
            self._metrics.uploaded_bytes += told.bytes
            self._metrics.days_deleted += told.days_deleted
            if told.error is not None:
                self._metrics.upload_failures += 1
                raise DeliveryError(told.error)

    async def _run(self, keep_days: float) -> Shipped:
        settings = self._settings
        command = [sys.executable, "-m", "ml_platform.inference.predictionlog.ship"]
        arguments = ["--outgoing", str(self._outgoing), "--root", settings.log_bucket]
        arguments += ["--endpoint", settings.s3_endpoint, "--region", settings.s3_region]
        arguments += ["--keep-days", str(keep_days)]
        process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=asyncio.subprocess.PIPE)
        try:
            told, _ = await asyncio.wait_for(process.communicate(), _LIMIT_SECONDS)
        except BaseException:
            # Whatever it was doing can be done again.
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        if not told:
            return Shipped(error=f"the process that sends ended with {process.returncode}")
        return msgspec.json.decode(told, type=Shipped)

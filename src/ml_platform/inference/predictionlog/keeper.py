"""The parent's side of the prediction log: rolls what is complete, everything when it is asked to, and emits.

Rolls come one after the other: whoever waits for one knows that what was complete before is Parquet then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

import msgspec

from ml_platform.inference.channel import Flush, Flushed, write_message
from ml_platform.inference.predictionlog.delivery import Delivery, DeliveryError
from ml_platform.inference.predictionlog.metrics import LogMetrics
from ml_platform.inference.predictionlog.outbox import read_state
from ml_platform.inference.predictionlog.outgoing import waiting_bytes
from ml_platform.inference.predictionlog.retention import prune
from ml_platform.inference.predictionlog.sink import MODES, URL_VARIABLE, check_url
from ml_platform.inference.predictionlog.spool import has_begun_before, has_complete, spooled_bytes
from ml_platform.inference.settings import Settings
from ml_platform.kit.s3 import S3Address

_log = logging.getLogger(__name__)
_WORKER_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_TRIES = 5
_LONGEST_PAUSE = 60.0
_FIRST_PAUSE = 0.5
_PRUNE_SECONDS = 600.0
_SINK_SECONDS = 3.0
_LAST_SECONDS = 10.0
_SEND_SECONDS = 8.0


class FlushError(Exception):
    """Not everything is Parquet; the message says what stands in the way. Nothing is lost by it."""


class LogKeeper:
    """Starts the process that rolls, makes workers let go of what they write, deletes what is old."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rolling = asyncio.Lock()
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._dropped: dict[int, int] = {}
        self._pause = self._not_before = 0.0
        self._pruned = -_PRUNE_SECONDS
        self._metrics = LogMetrics()
        self._delivery = Delivery(settings, self._metrics)
        for bucket in filter(None, (settings.log_bucket, *settings.buckets)):
            S3Address.parse(bucket)
        if settings.events_url:
            check_url(settings.events_url)
            if settings.events_mode not in MODES:
                raise ValueError(f"events_mode: expected one of {', '.join(MODES)}")
            settings.events.mkdir(parents=True, exist_ok=True)

    async def keep(self) -> None:
        """What is to be done now and then; after a failed roll, with growing pauses."""
        now = time.monotonic()
        if now >= self._not_before:
            try:
                await self.roll()
            except FlushError:
                self._pause = min(max(self._pause * 2, 1.0), _LONGEST_PAUSE)
                self._not_before = time.monotonic() + self._pause
                raise
            self._pause = 0.0
        if now - self._pruned >= _PRUNE_SECONDS:
            self._pruned = now
            await asyncio.to_thread(self._prune)

    async def deliver(self) -> None:
        """Sends Parquet to the bucket of the log, where it has one; until cancelled."""
        await self._delivery.keep()

    async def close(self) -> None:
        """Once the workers are gone: everything that was answered, as far as it can be brought home now."""
        await self.roll()
        with contextlib.suppress(
            DeliveryError, OSError, TimeoutError
        ):  # what has not arrived waits for a start
            await asyncio.wait_for(self._delivery.send(), _LAST_SECONDS)

    async def emit(self) -> None:
        """Keeps the process alive that sends events, where there is somebody to send them to; until cancelled."""
        pause = _FIRST_PAUSE
        while self._settings.events_url:
            began = time.monotonic()
            code = await self._run_sink()
            lived = time.monotonic() - began
            pause = _FIRST_PAUSE if lived > _LONGEST_PAUSE else min(pause * 2, _LONGEST_PAUSE)
            _log.error("the process that sends events ended with %d; starting it again", code)
            await asyncio.sleep(pause)

    async def _run_sink(self) -> int:
        settings = self._settings
        command = [sys.executable, "-m", "ml_platform.inference.predictionlog.sink"]
        arguments = ["--spool", str(settings.spool), "--events", str(settings.events)]
        arguments += ["--mode", settings.events_mode]
        if settings.events_token_file:
            arguments += ["--token-file", settings.events_token_file]
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            env=os.environ | {URL_VARIABLE: settings.events_url},
        )
        assert process.stdin is not None
        try:
            return await process.wait()
        except asyncio.CancelledError:
            process.stdin.close()  # it ends then, also when we are killed; what has not arrived stays
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _SINK_SECONDS)
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise

    async def roll(self) -> None:
        """Turns complete segments into Parquet; raises FlushError when they could not be."""
        settings = self._settings
        async with self._rolling:
            if not await asyncio.to_thread(has_complete, settings.spool):
                return
            command = [sys.executable, "-m", "ml_platform.inference.predictionlog.roll"]
            arguments = ["--spool", str(settings.spool), "--root", str(settings.prediction_log)]
            if settings.events_url:
                arguments += ["--events", str(settings.events)]
                arguments += ["--events-bytes", str(settings.events_bytes)]
            process = await asyncio.create_subprocess_exec(
                *command, *arguments, stdout=asyncio.subprocess.PIPE
            )
            ending = asyncio.ensure_future(process.communicate())
            try:
                told, _ = await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending  # it is short, and what it has begun is better ended
                raise
            if process.returncode != 0:
                self._metrics.failures += 1
                raise FlushError(f"the prediction log could not be written (exit code {process.returncode})")
            done = msgspec.json.decode(told)
            self._metrics.rows += done["rows"]
            self._metrics.unreadable += done["unreadable"]
            self._metrics.events_dropped += 2 * done["unsent"]

    async def flush(self, workers: Sequence[asyncio.StreamWriter]) -> None:
        """Makes Parquet of everything that was answered until now; raises FlushError."""
        began = time.time_ns()
        asked: dict[asyncio.Future[bool], asyncio.StreamWriter] = {}
        numbers = [next(self._numbers) for _ in workers]
        for number, writer in zip(numbers, workers, strict=True):
            future = self._asked[number] = asyncio.get_running_loop().create_future()
            asked[future] = writer
            write_message(writer, Flush(number=number))
        try:
            await _answers(asked)
        finally:
            for number in numbers:
                del self._asked[number]
        for _ in range(_TRIES):
            await self.roll()
            if not await asyncio.to_thread(has_begun_before, self._settings.spool, began):
                await self._send()
                return
            await asyncio.sleep(_LOOK_SECONDS)  # a process that is just being started can hold a lock
        raise FlushError("a segment of the prediction log is still being written")

    async def _send(self) -> None:
        """Waits for the bucket for so long only: what is being sent goes on."""
        sending = asyncio.create_task(self._delivery.send())
        await asyncio.wait({sending}, timeout=_SEND_SECONDS)
        if not sending.done():
            sending.add_done_callback(lambda task: task.cancelled() or task.exception())
            raise FlushError("the prediction log is still being sent to its bucket")
        try:
            sending.result()
        except (DeliveryError, OSError) as error:
            raise FlushError(f"the prediction log has not arrived in its bucket: {error}") from error

    def flushed(self, message: Flushed) -> None:
        """A worker has let go of its segment."""
        future = self._asked.get(message.number)
        if future is not None and not future.done():
            future.set_result(message.written)

    def dropped(self, pid: int, predictions: int) -> None:
        """What a worker has dropped in all its life so far."""
        before = self._dropped.get(pid, 0)
        self._metrics.dropped += predictions - (before if predictions >= before else 0)
        self._dropped[pid] = predictions

    def metrics(self) -> LogMetrics:
        self._metrics.spool_bytes = spooled_bytes(self._settings.spool)
        if self._settings.log_bucket:
            self._metrics.waiting_bytes = waiting_bytes(self._settings.prediction_log)
        if self._settings.events_url:
            self._metrics.events_bytes = spooled_bytes(self._settings.events)
            self._metrics.events = read_state(self._settings.events)
        return self._metrics

    def _prune(self) -> None:
        settings = self._settings
        if settings.log_bucket:
            return  # what is here waits, and the days that are there are deleted there
        gone = prune(
            settings.prediction_log,
            days=settings.log_retention_days,
            most_bytes=settings.log_max_bytes,
            now=datetime.now(UTC),
        )
        self._metrics.days_deleted += len(gone)


async def _answers(asked: dict[asyncio.Future[bool], asyncio.StreamWriter]) -> None:
    """Waits for all who live; what the dead have written is complete without a word of theirs."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WORKER_SECONDS
    waiting = set(asked)
    while waiting:
        done, waiting = await asyncio.wait(waiting, timeout=_LOOK_SECONDS)
        if not all(future.result() for future in done):
            raise FlushError("a worker cannot write its part of the prediction log")
        waiting = {future for future in waiting if not asked[future].is_closing()}
        if waiting and loop.time() > deadline:
            raise FlushError("a worker does not answer")

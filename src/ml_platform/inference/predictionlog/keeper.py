"""The parent's side of the prediction log: rolls what is complete, and everything when it is asked to.

Rolls come one after the other: whoever waits for one knows that what was complete before is Parquet then.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from itertools import count

from ml_platform.inference.channel import Flush, write_message
from ml_platform.inference.predictionlog.spool import has_begun_before, has_complete
from ml_platform.inference.settings import Settings

FLUSH_SECONDS = 60.0
"""The longest that a flush takes, all its parts included."""

_WORKER_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_TRIES = 5


class FlushError(Exception):
    """Not everything is Parquet; the message says what stands in the way. Nothing is lost by it."""


class LogKeeper:
    """Starts the process that rolls, and makes workers let go of what they are writing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rolling = asyncio.Lock()
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[None]] = {}

    async def roll(self) -> None:
        """Turns complete segments into Parquet; raises FlushError when they could not be."""
        settings = self._settings
        async with self._rolling:
            if not await asyncio.to_thread(has_complete, settings.spool):
                return
            command = [sys.executable, "-m", "ml_platform.inference.predictionlog.roll"]
            arguments = ["--spool", str(settings.spool), "--root", str(settings.prediction_log)]
            process = await asyncio.create_subprocess_exec(*command, *arguments)
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await process.wait()  # it is short, and what it has begun is better ended
                raise
        if code != 0:
            raise FlushError(f"the prediction log could not be written (exit code {code})")

    async def flush(self, workers: Sequence[asyncio.StreamWriter]) -> None:
        """Makes Parquet of everything that was answered until now; raises FlushError."""
        began = time.time_ns()
        asked: dict[asyncio.Future[None], asyncio.StreamWriter] = {}
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
                return
            await asyncio.sleep(_LOOK_SECONDS)  # a process that is just being started can hold a lock
        raise FlushError("a segment of the prediction log is still being written")

    def flushed(self, number: int) -> None:
        """A worker has let go of its segments."""
        future = self._asked.get(number)
        if future is not None and not future.done():
            future.set_result(None)


async def _answers(asked: dict[asyncio.Future[None], asyncio.StreamWriter]) -> None:
    """Waits for all who live; what the dead have written is complete without a word of theirs."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WORKER_SECONDS
    waiting = set(asked)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=_LOOK_SECONDS)
        waiting = {future for future in waiting if not asked[future].is_closing()}
        if waiting and loop.time() > deadline:
            raise FlushError("a worker does not answer")

"""The parent's side of traces: keeps the process that sends them, and passes on what the workers noted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time

import msgspec

from ml_platform.inference.channel import Spans
from ml_platform.inference.settings import Settings
from ml_platform.inference.traces.counts import TraceCounts
from ml_platform.inference.traces.standard import AUTO, COMPRESSIONS, check_endpoint, headers_of, pairs

_log = logging.getLogger(__name__)
_VARIABLE = "MLOPS_INFERENCE_TRACES_SETTINGS"
_STOP_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_MOST_BYTES = 8 * 1024 * 1024


class TraceKeeper:
    """Traces that cannot be passed on are dropped and counted in `counts`; nothing waits for them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._input: asyncio.StreamWriter | None = None
        self.counts = TraceCounts()
        if settings.traces_endpoint:
            _check(settings)

    async def run(self) -> None:
        """Keeps the process alive, where there is a collector; until cancelled, and then until it has ended."""
        pause = _FIRST_PAUSE
        while self._settings.traces_endpoint:
            began = time.monotonic()
            try:
                code = await self._run_exporter()
            except OSError as error:  # no memory, no descriptors: that may pass
                _log.error("the process that sends traces cannot be started: %s", error)
                code = -1
            lived = time.monotonic() - began
            pause = _FIRST_PAUSE if lived > _LONGEST_PAUSE else min(pause * 2, _LONGEST_PAUSE)
            _log.error("the process that sends traces ended with %d; starting it again", code)
            await asyncio.sleep(pause)

    def take(self, message: Spans) -> None:
        """What a worker noted."""
        self.counts.dropped += message.dropped
        if not message.count:
            return
        writer = self._input
        if writer is None or writer.is_closing() or writer.transport.get_write_buffer_size() > _MOST_BYTES:
            self.counts.dropped += message.count
            return
        writer.write(bytes(message.requests) + b"\n")

    async def _run_exporter(self) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ml_platform.inference.traces.exporter",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {_VARIABLE: self._settings.to_json()},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._input = process.stdin
        hearing = asyncio.create_task(self._hear(process.stdout))
        try:
            return await process.wait()
        except asyncio.CancelledError:
            process.stdin.close()  # it sends what it has and ends then, also when we are killed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        finally:
            self._input = None
            await hearing

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        before = TraceCounts()
        async for line in reader:
            try:
                now = msgspec.json.decode(line, type=TraceCounts)
            except msgspec.DecodeError:  # it was killed in the middle of it
                continue
            self.counts.add(now, before)
            before = now


def _check(settings: Settings) -> None:
    """Raises ValueError for settings with which no trace would be sent."""
    check_endpoint(settings.traces_endpoint)
    headers_of(settings.traces_headers)
    pairs(settings.traces_attributes, "traces_attributes")
    if settings.traces_compression not in COMPRESSIONS:
        raise ValueError(f"traces_compression: expected one of {', '.join(COMPRESSIONS)}")
    if settings.traces_ratio != AUTO and not 0 <= settings.traces_ratio <= 1:
        raise ValueError("traces_ratio: expected a number from 0 to 1, or -1")
    if not 0 < settings.traces_per_second <= 1_000_000:
        raise ValueError("traces_per_second: expected a number above 0, at most 1000000")
    if settings.traces_ca_file and not os.access(settings.traces_ca_file, os.R_OK):
        raise ValueError(f"traces_ca_file: {settings.traces_ca_file} cannot be read")

"""An isolated model: an MLflow pyfunc in processes and an environment of its own.

Whatever the model does, raise, hang, exit, crash, fork, leak or print, ends at the pipe. A process that
hangs is ended; one that is gone is started again, after a pause that doubles with each failure. Meanwhile
requests are refused at once, and after that one batch at a time tries the new one (`breaker`), so that a
broken model costs its callers no waiting. One that has grown too large is replaced between two batches,
by a process that has loaded the model before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_platform.contracts.bundles import PYFUNC_DIRECTORY, BundleError, BundleManifest
from ml_platform.inference.decoding import InputColumn, Row
from ml_platform.inference.errors import DeadlineExceeded, ModelFailed, Unavailable, Unexplainable
from ml_platform.inference.runtimes.base import PLAIN, Manner
from ml_platform.inference.runtimes.breaker import Breaker, Health
from ml_platform.inference.runtimes.pyfunc_process import ModelProcess, ProcessBrokeError, PyfuncLimits

_log = logging.getLogger(__name__)
_WHY = {
    "exit": "its process exited",
    "signal": "its process crashed",
    "memory": "its processes took more memory than they may",
    "processes": "it had more processes than it may",
}


class PyfuncRuntime:
    """One model in one process at a time. `start` must have succeeded before it predicts.

    Args:
        held: closed with the runtime; keeps the environment of `python` while it is used.
    """

    inline_rows = 0

    def __init__(
        self,
        directory: Path,
        manifest: BundleManifest,
        python: Path,
        limits: PyfuncLimits,
        held: contextlib.ExitStack,
        health: Health,
    ) -> None:
        self.columns = pyfunc_columns(manifest)
        self._python = python
        self._limits = limits
        self._held = held
        self._health = health
        self._breaker = Breaker(health)
        self._setup = {
            "model": str(directory / PYFUNC_DIRECTORY),
            "columns": [column.name for column in self.columns],
            "types": [column.type for column in self.columns],
            "tensor": manifest.signature.layout == "tensor",
            "probability": manifest.output == "probability",
        }
        self._name = f"the isolated model {directory.name[:12]}"
        self._process: ModelProcess | None = None
        self._successor: ModelProcess | None = None
        self._busy = False
        self._closed = False
        self._repair: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Starts the model; raises BundleError with the reason when it does not load."""
        try:
            self._install(await self._launch())
        except (ModelFailed, DeadlineExceeded, Unavailable) as error:
            raise BundleError(str(error)) from error

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        raise NotImplementedError("an isolated model never runs on the event loop")

    def refusal(self, busy: bool) -> Unavailable | None:
        return self._breaker.refusal(busy)

    async def predict_apart(self, rows: Sequence[Row], manner: Manner = PLAIN) -> list[Any]:
        self._take_over()
        process = self._process
        if process is None:
            raise self._breaker.unavailable()
        self._busy = True
        try:
            predictions = await process.ask(rows, manner)
        except TimeoutError:
            message = f"the model gave no answer within {self._limits.request_timeout:g} s"
            await self._replace(process, "timeout", message)
            raise DeadlineExceeded(message) from None
        except ProcessBrokeError as error:
            why = await self._replace(process, None, str(error))
            raise Unavailable(
                f"the model failed during the request: {why}; it is started again",
                self._breaker.unavailable().retry_after,
            ) from None
        except (ModelFailed, Unexplainable):
            self._breaker.answered()
            raise
        finally:
            self._busy = False
            self._take_over()
            if process.ended.done():
                self._noticed(process)
        self._breaker.answered()
        return predictions

    def memory(self) -> int:
        process = self._process
        return process.memory() if process is not None else 0

    def renew(self) -> None:
        """Has the process replaced by a fresh one without a gap, unless that is under way."""
        if self._repair is None and self._process is not None and not self._closed:
            self._repair = asyncio.get_running_loop().create_task(self._prepare_successor())

    async def close(self) -> None:
        self._closed = True
        if self._repair is not None:
            self._repair.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._repair
        for process in (self._process, self._successor):
            if process is not None:
                self._later(process.end())
        self._process = self._successor = None
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self._held.close()

    async def _launch(self) -> ModelProcess:
        """A process that has loaded the model."""
        try:
            process = await ModelProcess.launch(self._python, self._limits, self._name)
        except OSError as error:
            raise Unavailable(f"the model's process cannot be started: {error.strerror}") from error
        try:
            await process.load(self._setup)
        except TimeoutError:
            await process.end()
            message = f"the model did not start within {self._limits.start_timeout:g} s"
            raise DeadlineExceeded(message) from None
        except ProcessBrokeError as error:
            why = _WHY[await process.end()]
            raise Unavailable(f"the model failed while it started: {why} ({error})") from error
        except BaseException:
            await process.end()
            raise
        return process

    def _install(self, process: ModelProcess) -> None:
        self._process = process
        process.ended.add_done_callback(lambda _: self._noticed(process))

    def _noticed(self, process: ModelProcess) -> None:
        """A process has ended: between two batches, nobody else finds that out."""
        if process is self._process and not self._busy and not self._closed:
            self._later(self._replace(process, None, "between two requests"))

    async def _replace(self, process: ModelProcess, kind: str | None, what: str) -> str:
        """Ends a process that is of no use any more, and has another one started; says why."""
        if process is not self._process:
            return what
        self._process = None
        pause = self._breaker.failed()
        kind_then = await process.end()
        why = _WHY.get(kind or kind_then, what)
        _log.warning("%s: %s (%s)", self._name, why, what)
        self._health.restarts[kind or kind_then] += 1
        self._take_over()
        if not (self._answering() or self._closed):
            if self._repair is not None:  # a successor that is not there yet; it takes its turn with a pause
                self._repair.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._repair
            self._repair = asyncio.get_running_loop().create_task(self._restart(pause))
        return why

    def _answering(self) -> bool:
        return self._process is not None

    async def _restart(self, pause: float) -> None:
        try:
            while True:
                await asyncio.sleep(pause)
                try:
                    process = await self._launch()
                except (ModelFailed, DeadlineExceeded, Unavailable) as error:
                    pause = self._breaker.failed()
                    _log.warning("%s did not start again: %s", self._name, error)
                else:
                    self._install(process)
                    self._breaker.started()
                    return
        finally:
            self._repair = None

    async def _prepare_successor(self) -> None:
        try:
            self._successor = await self._launch()
            if not self._busy:
                self._take_over()
        except (ModelFailed, DeadlineExceeded, Unavailable) as error:
            _log.warning("%s cannot be replaced: %s", self._name, error)
        finally:
            self._repair = None

    def _take_over(self) -> None:
        """Puts the successor into its place, between two batches."""
        if self._successor is None or self._closed:
            return
        before, self._process, successor = self._process, None, self._successor
        self._successor = None
        self._install(successor)
        if before is None:
            self._breaker.started()
        else:
            _log.info("%s was replaced, having grown to more memory than others need", self._name)
            self._health.restarts["growth"] += 1
            self._later(before.end())

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def pyfunc_columns(manifest: BundleManifest) -> tuple[InputColumn, ...]:
    """The inputs as the decoder must enforce them."""
    return tuple(
        InputColumn(column.name, column.type, nullable=not column.required)
        for column in manifest.signature.inputs
    )

"""An isolated model: an MLflow pyfunc in a process and an environment of its own.

Whatever the model does, raise, hang, exit, crash or print, ends at the pipe. A process that hangs is
killed; one that is gone is started again, after a pause that doubles with each failure. During the pause
requests are refused at once (the breaker), so that a broken model costs its callers no waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import struct
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ml_platform.contracts.bundles import PYFUNC_DIRECTORY, BundleError, BundleManifest
from ml_platform.inference.decoding import InputColumn, Row
from ml_platform.inference.errors import DeadlineExceeded, ModelFailed, Unavailable
from ml_platform.inference.runtimes.memory import resident_tree
from ml_platform.kit.processes import openmp_variables, scrubbed_environment

_log = logging.getLogger(__name__)
_PROGRAM = Path(__file__).with_name("pyfunc_child.py")
_MAX_ANSWER = 256 * 1024 * 1024
_MAX_PAUSE = 30.0
_FIRST_PAUSE = 0.5
_HEALTHY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PyfuncLimits:
    """Seconds for the start and for one batch; bytes of data memory, 0 for no limit."""

    start_timeout: float
    request_timeout: float
    memory_bytes: int


class PyfuncRuntime:
    """One model in one child process. `start` must have succeeded before it predicts.

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
    ) -> None:
        self.columns = pyfunc_columns(manifest)
        self._python = python
        self._limits = limits
        self._held = held
        self._setup = {
            "model": str(directory / PYFUNC_DIRECTORY),
            "columns": [column.name for column in self.columns],
            "types": [column.type for column in self.columns],
            "tensor": manifest.signature.layout == "tensor",
            "probability": manifest.output == "probability",
            "memory_bytes": limits.memory_bytes,
            "parent": os.getpid(),
        }
        self._child: _Child | None = None
        self._starting: asyncio.Task[None] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._started_at = 0.0
        self._closed = False

    async def start(self) -> None:
        """Starts the model; raises BundleError with the reason when it does not load."""
        try:
            await self._spawn()
        except (ModelFailed, DeadlineExceeded, Unavailable) as error:
            raise BundleError(str(error)) from error

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        raise NotImplementedError("an isolated model never runs on the event loop")

    async def predict_apart(self, rows: Sequence[Row]) -> list[Any]:
        process = self._child.process if self._child is not None else None
        if process is None or process.returncode is not None:
            if process is not None:
                await self._fail("exited by itself")  # between two requests: nobody's fault but its own
            raise self._unavailable()
        try:
            async with asyncio.timeout(self._limits.request_timeout):
                answer = await _exchange(process, {"rows": rows})
        except TimeoutError:
            await self._fail(f"gave no answer within {self._limits.request_timeout:g} s")
            raise DeadlineExceeded(
                f"the model gave no answer within {self._limits.request_timeout:g} s"
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError, ValueError) as error:
            await self._fail(f"broke off ({type(error).__name__})")
            raise Unavailable("the model's process ended during the request; it is started again") from None
        if time.monotonic() - self._started_at > _HEALTHY_SECONDS:
            self._failures = 0
        if "error" in answer:
            raise ModelFailed(f"the model raised {answer['error']}")
        predictions = answer.get("predictions")
        if not isinstance(predictions, list) or len(predictions) != len(rows):
            raise ModelFailed("the model did not give one prediction for each instance")
        return predictions

    def memory(self) -> int:
        child = self._child
        process = child.process if child is not None else None
        return resident_tree(process.pid) if process is not None and process.returncode is None else 0

    async def close(self) -> None:
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._starting
        await self._kill()
        self._held.close()

    async def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.kill()

    def _unavailable(self) -> Unavailable:
        wait = max(self._retry_at - time.monotonic(), 0.0)
        return Unavailable("the model's process is being started again", retry_after=int(wait) + 1)

    async def _fail(self, what: str) -> None:
        _log.warning("the isolated model %s %s", self._setup["model"], what)
        await self._kill()
        self._failures += 1
        pause = min(_FIRST_PAUSE * 2 ** (self._failures - 1), _MAX_PAUSE)
        self._retry_at = time.monotonic() + pause
        if not self._closed and self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._restart(pause))

    async def _restart(self, pause: float) -> None:
        try:
            while not self._closed:
                await asyncio.sleep(pause)
                try:
                    await self._spawn()
                except (ModelFailed, DeadlineExceeded, Unavailable) as error:
                    self._failures += 1
                    pause = min(_FIRST_PAUSE * 2 ** (self._failures - 1), _MAX_PAUSE)
                    self._retry_at = time.monotonic() + pause
                    _log.warning("the isolated model did not start again: %s", error)
                else:
                    return
        finally:
            self._starting = None

    async def _spawn(self) -> None:
        """Starts a process; it becomes the one that answers only once it has loaded its model."""
        home = Path(tempfile.mkdtemp(prefix="mlops-model-"))
        (home / "tmp").mkdir()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        child = _Child(home)
        try:
            child.process = process = await asyncio.create_subprocess_exec(
                str(self._python),
                "-I",
                str(_PROGRAM),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=home,
                env=scrubbed_environment(home, threads | openmp_variables(self._python)),
                start_new_session=True,
                limit=_MAX_ANSWER,
            )
            async with asyncio.timeout(self._limits.start_timeout):
                _check_loaded(await _exchange(process, self._setup))
        except TimeoutError:
            await child.kill()
            message = f"the model did not start within {self._limits.start_timeout:g} s"
            raise DeadlineExceeded(message) from None
        except (asyncio.IncompleteReadError, ConnectionError, OSError, ValueError) as error:
            code = await child.kill()
            raise Unavailable(f"the model's process ended while it started (exit {code})") from error
        except BaseException:
            await child.kill()
            raise
        self._child = child
        self._started_at = time.monotonic()


@dataclass(slots=True)
class _Child:
    """A process and its home directory; both end together."""

    home: Path
    process: asyncio.subprocess.Process | None = None

    async def kill(self) -> int | None:
        """Ends the process and all that it started; gives its exit code."""
        code = None
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # the whole session
            code = await self.process.wait()
        await asyncio.to_thread(shutil.rmtree, self.home, ignore_errors=True)
        return code


def pyfunc_columns(manifest: BundleManifest) -> tuple[InputColumn, ...]:
    """The inputs as the decoder must enforce them."""
    return tuple(
        InputColumn(column.name, column.type, nullable=not column.required)
        for column in manifest.signature.inputs
    )


def _check_loaded(answer: dict[str, Any]) -> None:
    if "error" in answer:
        raise ModelFailed(f"the model did not load: {answer['error']}")


async def _exchange(process: asyncio.subprocess.Process, message: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    data = msgspec.json.encode(message)
    process.stdin.write(struct.pack(">I", len(data)) + data)
    await process.stdin.drain()
    (length,) = struct.unpack(">I", await process.stdout.readexactly(4))
    if length > _MAX_ANSWER:
        raise ValueError(f"an answer of {length} bytes")
    return msgspec.json.decode(await process.stdout.readexactly(length), type=dict[str, Any])

"""The processes of an isolated model: a guard (`pyfunc_guard`), below it the program that holds the model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import struct
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ml_platform.inference.decoding import Row
from ml_platform.inference.errors import ModelFailed, Unexplainable
from ml_platform.inference.runtimes.base import PLAIN, Manner
from ml_platform.inference.runtimes.memory import resident_tree
from ml_platform.inference.runtimes.pyfunc_guard import OUT_OF_MEMORY, TOO_MANY_PROCESSES
from ml_platform.inference.runtimes.pyfunc_output import Output
from ml_platform.kit.processes import openmp_variables, scrubbed_environment

_GUARD = Path(__file__).with_name("pyfunc_guard.py")
_PROGRAM = Path(__file__).with_name("pyfunc_child.py")
_GUARD_SECONDS = 15.0
_SINGLE_THREADED = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PyfuncLimits:
    """Seconds for the start and for one batch; bytes and numbers, 0 for no limit.

    `memory_bytes` and `processes` are for all processes of the model, `data_bytes` for each; `nice` is how
    far they stand back behind the workers.
    """

    start_timeout: float
    request_timeout: float
    memory_bytes: int
    data_bytes: int
    processes: int
    answer_bytes: int
    nice: int


class ProcessBrokeError(Exception):
    """The model's process is gone, or said what nobody asked: it must be replaced."""


class _Reply(msgspec.Struct):
    number: int | None = None
    ready: bool = False
    error: str | None = None
    unsupported: str | None = None
    predictions: list[Any] | None = None


class ModelProcess:
    """Made by `launch`, before the model is loaded; `ended` is done when the model's program is gone."""

    def __init__(
        self, home: Path, output: Output, guard: asyncio.subprocess.Process, limits: PyfuncLimits
    ) -> None:
        self._home = home
        self._output = output
        self._guard = guard
        self._limits = limits
        self._number = 0
        self.ended = asyncio.get_running_loop().create_task(guard.wait())

    @classmethod
    async def launch(cls, python: Path, limits: PyfuncLimits, name: str) -> ModelProcess:
        """Starts the processes; raises OSError."""
        home = Path(tempfile.mkdtemp(prefix="mlops-model-"))
        output = None
        try:
            (home / "tmp").mkdir()
            output = Output(name)
            setup = {
                "program": [str(python), "-I", str(_PROGRAM)],
                "parent": os.getpid(),
                "home": str(home),
                "memory_bytes": limits.memory_bytes,
                "processes": limits.processes,
                "nice": limits.nice,
            }
            threads = dict.fromkeys(_SINGLE_THREADED, "1")
            guard = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(_GUARD), json.dumps(setup)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output.theirs,
                cwd=home,
                env=scrubbed_environment(home, threads | openmp_variables(python)),
                start_new_session=True,
                limit=max(limits.answer_bytes, 65_536),
            )
        except BaseException:
            if output is not None:
                output.close()
            shutil.rmtree(home, ignore_errors=True)
            raise
        output.started()
        return cls(home, output, guard, limits)

    async def load(self, setup: dict[str, Any]) -> None:
        """Has the model loaded; raises ModelFailed, ProcessBrokeError, TimeoutError."""
        more = {"answer_bytes": self._limits.answer_bytes, "data_bytes": self._limits.data_bytes}
        async with asyncio.timeout(self._limits.start_timeout):
            reply = await self._exchange(setup | more)
        if reply.error is not None:
            raise ModelFailed(f"the model did not load: {reply.error}")
        if not reply.ready:
            raise ProcessBrokeError("it did not say that it is ready")

    async def ask(self, rows: Sequence[Row], manner: Manner = PLAIN) -> list[Any]:
        """One prediction for each row; raises ModelFailed, Unexplainable, ProcessBrokeError, TimeoutError."""
        self._number += 1
        async with asyncio.timeout(self._limits.request_timeout):
            reply = await self._exchange({"number": self._number, "rows": rows, **manner._asdict()})
        if reply.number != self._number:
            raise ProcessBrokeError("it answered what was not asked")
        if reply.error is not None:
            raise ModelFailed(f"the model raised {reply.error}")
        if reply.unsupported is not None:
            raise Unexplainable(reply.unsupported)
        if reply.predictions is None or len(reply.predictions) != len(rows):
            raise ModelFailed("the model did not give one prediction for each instance")
        return reply.predictions

    async def end(self) -> str:
        """Ends all processes, those that the model started too, and says how the model's own had ended."""
        with contextlib.suppress(ProcessLookupError):
            self._guard.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self.ended}, timeout=_GUARD_SECONDS)
        if not done:
            with contextlib.suppress(ProcessLookupError):
                self._guard.kill()  # its death is the model's
            await asyncio.wait({self.ended})
        self._output.close()
        await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)
        return _ending(self.ended.result())

    def memory(self) -> int:
        return 0 if self.ended.done() else resident_tree(self._guard.pid)

    async def _exchange(self, message: dict[str, Any]) -> _Reply:
        pipe, answers = self._guard.stdin, self._guard.stdout
        assert pipe is not None
        assert answers is not None
        data = msgspec.json.encode(message)
        try:
            pipe.write(struct.pack(">I", len(data)) + data)
            await pipe.drain()
            (length,) = struct.unpack(">I", await answers.readexactly(4))
            if length > max(self._limits.answer_bytes, 65_536):
                raise ProcessBrokeError(f"it announced an answer of {length} bytes")
            return msgspec.json.decode(await answers.readexactly(length), type=_Reply)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise ProcessBrokeError("it wrote into its pipe itself") from error
        except (asyncio.IncompleteReadError, OSError, RuntimeError) as error:  # uvloop's for a closed pipe
            raise ProcessBrokeError("it closed its pipe") from error


def _ending(code: int) -> str:
    if code == OUT_OF_MEMORY:
        return "memory"
    if code == TOO_MANY_PROCESSES:
        return "processes"
    return "signal" if code < 0 or code > 128 else "exit"

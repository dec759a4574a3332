"""The worker's side of explanations: one program, started at the first question, ended when nobody asks.

It is bounded in time, memory, rows and questions that wait; whatever it does, the worker goes on serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import struct
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ml_platform.inference.decoding import Row
from ml_platform.inference.errors import (
    DeadlineExceeded,
    ModelFailed,
    ServingError,
    TooLarge,
    Unavailable,
    Unexplainable,
    Unsupported,
)
from ml_platform.inference.explaining.classes import by_class
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.settings import Settings
from ml_platform.kit.processes import openmp_variables, scrubbed_environment

Predict = Callable[[Sequence[Row], bool], Awaitable[list[Any]]]
"""Asks an isolated model; the second argument says whether for the scores of all classes."""

_log = logging.getLogger(__name__)
_PROGRAM = "ml_platform.inference.explaining.program"
_MAX_MESSAGE = 64 * 1024 * 1024
_MAX_WAITING = 4


class Explainer:
    """Explains predictions of any revision of one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._child: _Child | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def check(self, revision: LiveRevision, rows: int) -> None:
        """What can be said without work.

        Raises:
            Unsupported: there is nothing to explain the revision by.
            Unexplainable: it answers with labels; the message says so.
            TooLarge: there are more rows than may be asked for at once.
        """
        manifest = revision.manifest
        if manifest.explain is None:
            raise Unsupported(
                "this revision cannot be explained: its bundle holds no background rows; they are taken from the"
                " rows that the version was judged on, or its input example, when a revision is built"
            )
        labels = manifest.task == "classification" and manifest.output == "prediction"
        if labels and manifest.runtime == "onnx" and not by_class(manifest):
            raise Unexplainable(
                "this revision cannot be explained: it answers with labels, and only numbers are explained"
            )
        if rows > self._settings.explain_max_rows:
            raise TooLarge(
                f"instances: at most {self._settings.explain_max_rows} are explained at once, got {rows}"
            )

    async def explain(
        self, revision: LiveRevision, rows: Sequence[Row], predict: Predict
    ) -> list[dict[str, Any]]:
        """`{"base_value": ..., "values": {column: ...}}` for each row, or `{"classes": [...]}` of one for each class.

        `predict` is asked where the model runs in a process of its own.

        Raises:
            DeadlineExceeded: it took too long.
            Unavailable: the program ended, or too many wait.
            Unexplainable, ModelFailed: as the program said.
        """
        if self._waiting >= _MAX_WAITING:
            raise Unavailable("other explanations are being computed; try again shortly", retry_after=5)
        self._waiting += 1
        seconds = self._settings.explain_timeout
        try:
            async with asyncio.timeout(seconds), self._turn:
                return await self._attempt(revision, rows, predict)
        except TimeoutError:
            raise DeadlineExceeded(f"no explanation within {seconds:g} s") from None
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._child is not None:
            await self._child.kill()
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _attempt(
        self, revision: LiveRevision, rows: Sequence[Row], predict: Predict
    ) -> list[dict[str, Any]]:
        if self._idle is not None:
            self._idle.cancel()
        whole = False
        try:
            child = self._child
            if child is None or child.process.returncode is not None:
                child = self._child = await self._start()
            answer = await self._converse(child, revision, rows, predict)
            whole = True
        except (asyncio.IncompleteReadError, OSError, RuntimeError, msgspec.DecodeError, ValueError) as error:
            _log.warning("the explaining program broke off: %s", type(error).__name__)
            raise Unavailable("the explaining program ended; it is started again", retry_after=5) from None
        finally:
            if whole:
                loop = asyncio.get_running_loop()
                self._idle = loop.call_later(self._settings.explain_idle_seconds, self._let_go)
            else:  # in the middle of a conversation nobody knows what comes next
                self._let_go()
        return answer

    async def _converse(
        self, child: _Child, revision: LiveRevision, rows: Sequence[Row], predict: Predict
    ) -> list[dict[str, Any]]:
        digest = revision.spec.bundle_digest
        bundle = str((self._settings.bundle_cache / digest).absolute())
        answer = await child.ask({"bundle": bundle, "digest": digest, "rows": rows})
        while "predict" in answer:
            try:
                predictions = await predict(answer["predict"], answer["scores"])
                answer = await child.ask({"predictions": predictions})
            except Unexplainable as error:
                answer = await child.ask({"unsupported": str(error)})
            except ServingError as error:
                answer = await child.ask({"error": str(error)})
        if "unsupported" in answer:
            raise Unexplainable(f"this revision cannot be explained: {answer['unsupported']}")
        if "error" in answer:
            raise ModelFailed(f"the explanation failed: {answer['error']}")
        found: list[dict[str, Any]] = answer["explanations"]
        return found

    async def _start(self) -> _Child:
        home = Path(tempfile.mkdtemp(prefix="mlops-explain-"))
        (home / "tmp").mkdir()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        python = Path(sys.executable)
        arguments = (str(self._settings.explain_memory_bytes), str(os.getpid()))
        try:
            process = await asyncio.create_subprocess_exec(
                str(python),
                "-I",
                "-m",
                _PROGRAM,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=home,
                env=scrubbed_environment(home, threads | openmp_variables(python)),
                start_new_session=True,
                limit=_MAX_MESSAGE,
            )
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise
        return _Child(home, process)

    def _let_go(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.signal()
            task = asyncio.get_running_loop().create_task(child.kill())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


@dataclass(slots=True)
class _Child:
    """The program's process and its home directory; both end together."""

    home: Path
    process: asyncio.subprocess.Process

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        data = msgspec.json.encode(message)
        self.process.stdin.write(struct.pack(">I", len(data)) + data)
        await self.process.stdin.drain()
        (length,) = struct.unpack(">I", await self.process.stdout.readexactly(4))
        if length > _MAX_MESSAGE:
            raise ValueError(f"an answer of {length} bytes")
        return msgspec.json.decode(await self.process.stdout.readexactly(length), type=dict[str, Any])

    def signal(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # the whole session

    async def kill(self) -> None:
        self.signal()
        await self.process.wait()
        await asyncio.to_thread(shutil.rmtree, self.home, ignore_errors=True)

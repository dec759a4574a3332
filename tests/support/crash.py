"""Killing a program at a chosen or a random moment, starting it again, and waiting until it is done.

A program runs to its good end by itself when nobody kills it, however often it was killed before: one
that builds the engine, starts a workflow, waits for its result and shuts down. It is a file (`Script`) or
a function (`Function`: starts within milliseconds, since its modules are imported beforehand).
"""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from ml_platform.integrations.dbos.crash import VARIABLE

T = TypeVar("T")


@dataclass(frozen=True)
class Ended:
    returncode: int
    output: str

    @property
    def killed(self) -> bool:
        return self.returncode == -signal.SIGKILL


class Program(Protocol):
    def run(
        self, *, crash_at: str | None = None, kill_after: float | None = None, timeout: float = 60
    ) -> Ended:
        """Runs it to its end, to its crash point, or until it is killed from outside."""
        ...


@dataclass(frozen=True)
class Script:
    """A Python file, its arguments and what its environment has beyond ours."""

    path: Path
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] | None = None

    def run(
        self, *, crash_at: str | None = None, kill_after: float | None = None, timeout: float = 60
    ) -> Ended:
        environment = {**os.environ, **(self.environment or {}), VARIABLE: crash_at or ""}
        with subprocess.Popen(
            [sys.executable, str(self.path), *self.arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=timeout if kill_after is None else kill_after)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
                assert kill_after is not None, f"{self.path.name} did not end in {timeout} s:\n{output}"
        return Ended(process.returncode, output)


@dataclass(frozen=True)
class Function:
    """A module-level function with picklable arguments, run in a forked process; `log` takes its output."""

    target: Callable[..., None]
    arguments: tuple[object, ...]
    log: Path

    def run(
        self, *, crash_at: str | None = None, kill_after: float | None = None, timeout: float = 60
    ) -> Ended:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([self.target.__module__])
        process = context.Process(
            target=_run_function, args=(self.target, self.arguments, self.log, crash_at)
        )
        process.start()
        process.join(timeout if kill_after is None else kill_after)
        ended = process.exitcode is not None
        if not ended:
            process.kill()
            process.join()
        output = self.log.read_text() if self.log.exists() else ""
        assert ended or kill_after is not None, f"it did not end in {timeout} s:\n{output}"
        return Ended(process.exitcode or 0, output)


def _run_function(
    target: Callable[..., None], arguments: tuple[object, ...], log: Path, crash_at: str | None
) -> None:
    with log.open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ[VARIABLE] = crash_at or ""
    target(*arguments)


def crash_and_resume(program: Program, crash_points: Iterable[str], *, timeout: float = 60) -> Ended:
    """Kills a program at one crash point after the other, each in the run that resumes from the last, and
    then lets it finish. The points are in the order in which the work passes them.
    """
    for crash_at in crash_points:
        died = program.run(crash_at=crash_at, timeout=timeout)
        assert died.killed, f"{crash_at} was not reached (exit code {died.returncode}):\n{died.output}"
    return finish(program, timeout=timeout)


def kill_at_random(
    program: Program, *, kills: int, longest: float, chance: random.Random, timeout: float = 60
) -> int:
    """Kills a program again and again up to `longest` seconds after its start, then lets it finish.

    Answers how many of the kills hit a run that was under way.
    """
    hit = sum(program.run(kill_after=chance.uniform(0, longest)).killed for _ in range(kills))
    finish(program, timeout=timeout)
    return hit


def finish(program: Program, *, timeout: float = 60) -> Ended:
    """Runs a program to its end, which must be a good one."""
    ended = program.run(timeout=timeout)
    assert ended.returncode == 0, f"exit code {ended.returncode}:\n{ended.output}"
    return ended


def eventually(condition: Callable[[], T], *, within: float = 20.0, what: str = "the condition") -> T:
    """Waits until a condition answers something true and answers that; polls, with a deadline."""
    deadline = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {within} s"
        time.sleep(0.02)
    return answer

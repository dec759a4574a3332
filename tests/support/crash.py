"""Killing a program at a chosen or a random moment, starting it again, and waiting until it is done.

The program is any Python file that runs to its end by itself when nobody kills it, e.g. one that builds
the engine, starts a workflow, waits for its result and shuts down.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ml_platform.integrations.dbos.crash import VARIABLE

T = TypeVar("T")


@dataclass(frozen=True)
class Program:
    """A Python program, its arguments and what its environment has beyond ours."""

    path: Path
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] | None = None

    def run(self, *, crash_at: str | None = None, timeout: float = 60) -> "Ended":
        """Runs it to its end, or to its crash point."""
        with self._start(crash_at) as process:
            try:
                output, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
                raise AssertionError(f"{self.path.name} did not end within {timeout} s:\n{output}") from None
        return Ended(process.returncode, output)

    def run_and_kill_after(self, seconds: float, *, timeout: float = 60) -> "Ended":
        """Kills it that long after its start, unless it has ended by then."""
        with self._start(None) as process:
            try:
                output, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate(timeout=timeout)
        return Ended(process.returncode, output)

    def _start(self, crash_at: str | None) -> "subprocess.Popen[str]":
        environment = {**os.environ, **(self.environment or {})}
        environment.pop(VARIABLE, None)
        if crash_at is not None:
            environment[VARIABLE] = crash_at
        return subprocess.Popen(
            [sys.executable, str(self.path), *self.arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@dataclass(frozen=True)
class Ended:
    returncode: int
    output: str

    @property
    def killed(self) -> bool:
        return self.returncode == -signal.SIGKILL


def crash_and_resume(program: Program, crash_at: str, *, timeout: float = 60) -> Ended:
    """Runs a program to its crash point, checks that it died there, and runs it again to its end."""
    died = program.run(crash_at=crash_at, timeout=timeout)
    assert died.killed, f"{crash_at} was not reached (exit code {died.returncode}):\n{died.output}"
    return finish(program, timeout=timeout)


def finish(program: Program, *, timeout: float = 60) -> Ended:
    """Runs a program to its end, which must be a good one."""
    ended = program.run(timeout=timeout)
    assert ended.returncode == 0, f"exit code {ended.returncode}:\n{ended.output}"
    return ended


def kill_at_random(
    program: Program, *, kills: int, longest: float, chance: random.Random, timeout: float = 60
) -> int:
    """Kills a program again and again up to `longest` seconds after its start, then lets it finish.

    Answers how many of the kills hit a run that was under way.
    """
    hit = 0
    for _ in range(kills):
        hit += program.run_and_kill_after(chance.uniform(0, longest)).killed
    finish(program, timeout=timeout)
    return hit


def eventually(condition: Callable[[], T], *, within: float = 20.0, what: str = "the condition") -> T:
    """Waits until a condition answers something true and answers that; polls, with a deadline."""
    deadline = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {within} s"
        time.sleep(0.02)
    return answer

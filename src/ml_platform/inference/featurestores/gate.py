"""One gate for each online store: a few threads of its own, and a breaker that fails fast once it hangs.

A store that does not answer holds up its own threads and nobody else's. After a few time-outs in a row
nobody waits for it any more: requests are refused at once, but for one now and then that tries.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ml_platform.contracts.serving import BreakerState, FeatureStore

THREADS: Final = 2
FAILURES: Final = 3
FIRST_PAUSE: Final = 0.5
LAST_PAUSE: Final = 10.0

Result = TypeVar("Result")
_Job = tuple[Callable[[], Any], asyncio.Future[Any]]


class StoreThreads:
    """A bounded pool of daemon threads: one that hangs for ever does not keep the process from ending.

    Used from the event loop alone.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._given = 0

    @property
    def has_room(self) -> bool:
        """Whether every job that was given has a thread."""
        return self._given <= self._most

    def submit(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Has a thread do the work; what was cancelled before a thread came to it is not done."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._given += 1
        if self._threads < min(self._most, self._given):
            self._threads += 1
            threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True).start()
        self._jobs.put((work, future))
        return future

    def stop(self) -> None:
        """Ends the threads once they have done what they were given."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._jobs.get()) is not None:
            work, future = job
            result: Any = None
            problem: BaseException | None = None
            if not future.cancelled():
                try:
                    result = work()
                except Exception as error:
                    problem = error
            try:
                loop.call_soon_threadsafe(self._ended, future, result, problem)
            except RuntimeError:  # the loop is closed: the process is ending
                return

    def _ended(self, future: asyncio.Future[Any], result: Any, problem: BaseException | None) -> None:
        self._given -= 1
        if future.done():
            return
        if problem is not None:
            future.set_exception(problem)
        else:
            future.set_result(result)


class StoreBreaker:
    """Closed while the store answers in time; open after some time-outs in a row; half open for a trial.

    Pauses double with each trial that fails.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.state: BreakerState = "closed"
        self._monotonic = monotonic
        self._failures = 0
        self._counted = 0.0
        self._pause = FIRST_PAUSE
        self._retry_at = 0.0

    def admits(self) -> bool:
        """Whether a request may wait for the store; while it is open, one after each pause may."""
        if self.state == "closed":
            return True
        now = self._monotonic()
        if now < self._retry_at:
            return False
        self.state = "half_open"
        # The next trial, should nobody ever say how this one went.
        self._retry_at = now + self._pause
        return True

    def answered(self) -> None:
        """The store answered in time."""
        if self._failures:
            self.state, self._failures, self._pause = "closed", 0, FIRST_PAUSE

    def timed_out(self, since: float) -> None:
        """A request that waited since then got nothing; those that waited together count once."""
        if since < self._counted:
            return
        now = self._counted = self._monotonic()
        self._failures += 1
        if self.state == "half_open":
            self._pause = min(self._pause * 2, LAST_PAUSE)
        elif self._failures < FAILURES:
            return
        self.state, self._retry_at = "open", now + self._pause


class StoreGate:
    """The threads and the breaker of one store."""

    def __init__(self, name: str) -> None:
        self.threads = StoreThreads(THREADS, f"features-{name}")
        self.breaker = StoreBreaker()


class StoreGates:
    """The gates of all stores of a worker."""

    def __init__(self) -> None:
        self._gates: dict[tuple[str, str, str], StoreGate] = {}

    def of(self, store: FeatureStore) -> StoreGate:
        """The gate of a store: one for all that read the same file, or the same project of a server."""
        key = (store.kind, store.path, "" if store.path else store.project)
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = StoreGate(store.project)
        return gate

    def stop(self) -> None:
        for gate in self._gates.values():
            gate.threads.stop()

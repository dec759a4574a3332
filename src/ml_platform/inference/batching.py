"""Micro-batching without timers: whatever is waiting when the model becomes free is one batch.

Requests that reach the loop in one turn share a batch; a request that comes alone waits for nobody. Small
requests run on the loop's own thread (`Runtime.predict`), large or slow ones beside it, one batch at a
time, so that neither holds the other up; calls that ask in another manner (params) are another batch. The
queue is bounded and sheds with 503; a caller who goes away, or whose deadline passes, leaves the others of
its batch whole.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ml_platform.inference.decoding import Row
from ml_platform.inference.errors import DeadlineExceeded, ModelFailed, ServingError, Unavailable
from ml_platform.inference.runtimes.base import PLAIN, Manner, Runtime
from ml_platform.inference.traces.trace import MODEL, QUEUE, WAKE, Trace

_SWEEP_SECONDS = 0.05
_INLINE_TURN_ROWS = 64


@dataclass(slots=True, eq=False)
class _Waiting:
    rows: Sequence[Row]
    future: asyncio.Future[list[Any]]
    deadline: float
    trace: Trace | None
    manner: Manner = PLAIN


class Batcher:
    """The queue in front of one runtime. All methods run on the event loop."""

    def __init__(
        self, runtime: Runtime, *, max_queued_rows: int, max_batch_rows: int, timeout: float
    ) -> None:
        self._runtime = runtime
        self._max_queued = max_queued_rows
        self._max_batch = max_batch_rows
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._inline: list[_Waiting] = []
        self._apart: deque[_Waiting] = deque()
        self._running: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._queued = 0
        self._traced = False

    def submit(
        self, rows: Sequence[Row], trace: Trace | None = None, manner: Manner = PLAIN
    ) -> asyncio.Future[list[Any]]:
        """Queues the rows; the future gives one prediction for each, or raises ServingError."""
        count = len(rows)
        if trace is not None:
            trace.mark(QUEUE)
            self._traced = True
        if self._queued + count > self._max_queued and self._queued:
            raise Unavailable("the model's queue is full; try again shortly")
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if count <= self._runtime.inline_rows:
            if not self._inline:
                self._loop.call_soon(self._run_inline)
            self._inline.append(_Waiting(rows, future, 0.0, trace))
        else:
            refusal = self._runtime.refusal(self._task is not None)
            if refusal is not None:
                raise refusal
            self._apart.append(_Waiting(rows, future, time.monotonic() + self._timeout, trace, manner))
            self._sweep_later()
            if self._task is None:
                self._task = self._loop.create_task(self._run_apart())
        self._queued += count
        return future

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs, not even for a caller who has given up."""
        return self._task is None and not self._queued

    def memory(self) -> int:
        """What the model takes in memory, in bytes; slow for an isolated one."""
        return self._runtime.memory()

    def renew(self) -> None:
        """Has the model give back what it has taken since it was loaded."""
        self._runtime.renew()

    async def close(self) -> None:
        """Closes the runtime, once nobody waits for it any more but what has been given up has ended."""
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._runtime.close()

    def _run_inline(self) -> None:
        batch: list[_Waiting] = []
        total = 0
        while self._inline and (not batch or total + len(self._inline[0].rows) <= _INLINE_TURN_ROWS):
            waiting = self._inline.pop(0)
            total += len(waiting.rows)
            batch.append(waiting)
        if self._inline:
            self._loop.call_soon(self._run_inline)  # let sockets be read in between
        self._queued -= total
        traced = self._traced
        if traced:
            self._mark(batch, total)
        if len(batch) == 1:
            self._answer_inline(batch[0])
        else:
            try:
                predictions = self._runtime.predict([row for waiting in batch for row in waiting.rows])
            except ServingError:
                for waiting in batch:  # one bad request must not fail its batch-mates
                    self._answer_inline(waiting)
            else:
                _share(batch, predictions)
        if traced:
            _mark_end(batch)

    def _answer_inline(self, waiting: _Waiting) -> None:
        try:
            predictions = self._runtime.predict(waiting.rows)
        except ServingError as error:
            _fail(waiting, error)
        else:
            _share([waiting], predictions)

    async def _run_apart(self) -> None:
        try:
            while self._apart:
                self._running, total = self._take()
                traced = self._traced
                if traced:
                    self._mark(self._running, sum(len(waiting.rows) for waiting in self._running))
                if self._running:
                    await self._answer_apart(self._running)
                if traced:
                    _mark_end(self._running)
                self._queued -= total
                self._running = []
        finally:
            self._task = None

    def _take(self) -> tuple[list[_Waiting], int]:
        batch: list[_Waiting] = []
        others: list[_Waiting] = []  # of another manner: they keep their places
        dropped = total = 0
        while self._apart and (not batch or total + len(self._apart[0].rows) <= self._max_batch):
            waiting = self._apart.popleft()
            if waiting.future.done():  # gave up, or went away
                dropped += len(waiting.rows)
                continue
            if batch and waiting.manner != batch[0].manner:
                others.append(waiting)
                continue
            total += len(waiting.rows)
            batch.append(waiting)
        self._apart.extendleft(reversed(others))
        return batch, total + dropped

    async def _answer_apart(self, batch: list[_Waiting]) -> None:
        try:
            rows = [row for waiting in batch for row in waiting.rows]
            predictions = await self._runtime.predict_apart(rows, batch[0].manner)
        except ModelFailed as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for waiting in batch:
                await self._answer_apart([waiting])
        except ServingError as error:
            for waiting in batch:
                _fail(waiting, error)
        except Exception as error:
            for waiting in batch:
                _fail(waiting, ModelFailed(f"the runtime failed: {type(error).__name__}"))
        else:
            _share(batch, predictions)

    def _mark(self, batch: list[_Waiting], total: int) -> None:
        """The model begins with a batch, in which some may be traced."""
        for waiting in batch:
            if waiting.trace is not None:
                waiting.trace.batch = (total, len(batch))
                waiting.trace.mark(MODEL)
        self._traced = bool(self._inline or self._apart)

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = time.monotonic()
        for waiting in (*self._running, *self._apart):
            if waiting.deadline <= now:
                _fail(waiting, DeadlineExceeded(f"no prediction within {self._timeout:g} s"))
        kept = deque(waiting for waiting in self._apart if not waiting.future.done())
        self._queued -= sum(len(w.rows) for w in self._apart) - sum(len(w.rows) for w in kept)
        self._apart = kept  # those who gave up make room for others at once
        if self._apart or self._task is not None:
            self._sweep_later()


def _mark_end(batch: list[_Waiting]) -> None:
    for waiting in batch:
        if waiting.trace is not None:
            waiting.trace.mark(WAKE)


def _share(batch: list[_Waiting], predictions: list[Any]) -> None:
    start = 0
    for waiting in batch:
        end = start + len(waiting.rows)
        if not waiting.future.done():
            waiting.future.set_result(predictions[start:end])
        start = end


def _fail(waiting: _Waiting, error: ServingError) -> None:
    if not waiting.future.done():
        # A fresh exception for each: one instance raised in several tasks would share its traceback.
        waiting.future.set_exception(type(error)(str(error), error.retry_after))

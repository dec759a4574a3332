"""Questions to a store: whatever waits when it becomes free is asked at once, and nobody waits too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from ml_platform.inference.errors import ServingError, Unavailable
from ml_platform.inference.featurestores.gate import StoreGate

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_LATE_SECONDS = 0.02
_CLOSE_SECONDS = 1.0


class StoreFailed(Unavailable):
    """The store gave no answer in time, or none at all."""


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Question, Answer]):
    """A question, since when it waits, and whether it was given a second chance."""

    question: Question
    future: asyncio.Future[Answer]
    since: float
    timer: asyncio.TimerHandle | None = None
    spared: bool = False


@dataclass(slots=True, eq=False)
class _Progress:
    """How far a thread is with what it was asked."""

    began: bool = False
    ended: bool = False


class Asking(Generic[Question, Answer]):
    """Asks one reader, one thread at a time.

    Args:
        gate: of the reader's store.
        deadline_ms: how long a question waits for its answer.
        read: answers some questions, each with an answer or a refusal; runs in a thread.
        heard: told of every answer, one that came too late included; runs on the loop.
    """

    def __init__(
        self,
        gate: StoreGate,
        deadline_ms: float,
        read: Callable[[Sequence[Question]], Sequence[Answer | ServingError]],
        heard: Callable[[Question, Answer | ServingError], None] | None = None,
    ) -> None:
        self._gate = gate
        self._milliseconds = deadline_ms
        self._deadline = deadline_ms / 1000
        self._read = read
        self._heard = heard
        self._waiting: list[_Waiting[Question, Answer]] = []
        self._task: asyncio.Task[None] | None = None
        self._progress = _Progress()

    def ask(self, question: Question) -> asyncio.Future[Answer]:
        """The answer; raises StoreFailed at once while the store is left alone."""
        if not self._gate.breaker.admits():
            raise StoreFailed("the feature store did not answer several times and is left alone for a moment")
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Question, Answer] = _Waiting(question, loop.create_future(), time.monotonic())
        waiting.timer = loop.call_later(self._deadline, self._expire, waiting)
        self._waiting.append(waiting)
        if self._task is None:
            self._task = loop.create_task(self._run())
        return waiting.future

    async def close(self, let_go: Callable[[], object]) -> None:
        """Lets what is being read end, then has a thread let go; what hangs is left to its thread."""
        if self._task is None:
            self._gate.threads.submit(let_go)
            return
        self._task.add_done_callback(lambda _: self._gate.threads.submit(let_go))
        await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)

    def _expire(self, waiting: _Waiting[Question, Answer]) -> None:
        """Ends a wait at its deadline, unless it was this process that had no time, and not the store."""
        if waiting.future.done():
            return
        late = time.monotonic() - waiting.since > self._deadline + _LATE_SECONDS
        not_begun = not self._progress.began and self._gate.threads.has_room
        if not waiting.spared and (late or not_begun or self._progress.ended):
            waiting.spared = True
            loop = asyncio.get_running_loop()
            waiting.timer = loop.call_later(max(self._deadline, _LATE_SECONDS), self._expire, waiting)
            return
        self._gate.breaker.timed_out(waiting.since)
        waiting.future.set_exception(
            StoreFailed(f"the feature store did not answer within {self._milliseconds:g} ms")
        )

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = [waiting for waiting in self._waiting if not waiting.future.done()]
                self._waiting = []
                if batch:
                    began, self._progress = time.monotonic(), _Progress()
                    read = partial(self._answers, self._progress, [waiting.question for waiting in batch])
                    answers = await self._gate.threads.submit(read)
                    self._judge(answers, batch, time.monotonic() - began)
                    for waiting, answer in zip(batch, answers, strict=True):
                        self._hand_over(waiting, answer)
        finally:
            self._task = None

    def _answers(self, progress: _Progress, questions: Sequence[Question]) -> Sequence[Answer | ServingError]:
        progress.began = True
        answers = self._read(questions)
        progress.ended = True
        return answers

    def _judge(
        self,
        answers: Sequence[Answer | ServingError],
        batch: Sequence[_Waiting[Question, Answer]],
        seconds: float,
    ) -> None:
        """Tells the breaker; a refusal that took as long as a time-out is one, as from a locked file."""
        failed = any(isinstance(answer, StoreFailed) for answer in answers)
        if failed and seconds > self._deadline / 2:
            self._gate.breaker.timed_out(batch[-1].since)
        elif seconds <= self._deadline:
            self._gate.breaker.answered()

    def _hand_over(self, waiting: _Waiting[Question, Answer], answer: Answer | ServingError) -> None:
        if self._heard is not None:
            self._heard(waiting.question, answer)
        if waiting.timer is not None:
            waiting.timer.cancel()
        if waiting.future.done():
            return
        if isinstance(answer, ServingError):
            waiting.future.set_exception(answer)
        else:
            waiting.future.set_result(answer)

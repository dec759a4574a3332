"""When an isolated model may be asked: not while its process is away, and one batch at a time after that."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from ml_platform.contracts.serving import BreakerState
from ml_platform.inference.errors import Unavailable

_FIRST_PAUSE = 0.5
_LAST_PAUSE = 30.0
_HEALTHY_SECONDS = 30.0


@dataclass(slots=True)
class Health:
    """What is told of a model's processes: outlives them, and the model's time in memory.

    `restarts` counts by why the process before had to go.
    """

    breaker: BreakerState = "closed"
    restarts: Counter[str] = field(default_factory=Counter)


class Breaker:
    """Open while the process is away; half open until the first answer of its successor; then closed.

    Pauses double with each failure and are short again once a process has answered for half a minute.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._failures = 0
        self._retry_at = 0.0
        self._started = time.monotonic()
        health.breaker = "closed"

    @property
    def trying(self) -> bool:
        return self._health.breaker == "half_open"

    def failed(self) -> float:
        """The process is gone, or could not be started; gives the seconds to wait before the next."""
        self._health.breaker = "open"
        pause = min(_FIRST_PAUSE * 2.0**self._failures, _LAST_PAUSE)
        self._failures = min(self._failures + 1, 10)
        self._retry_at = time.monotonic() + pause
        return pause

    def started(self) -> None:
        """There is a process again, of which nobody knows yet whether it does better."""
        self._started = time.monotonic()
        self._health.breaker = "half_open"

    def answered(self) -> None:
        self._health.breaker = "closed"
        if time.monotonic() - self._started > _HEALTHY_SECONDS:
            self._failures = 0

    def refusal(self, busy: bool) -> Unavailable | None:
        """Why a request must not even wait; `busy` when one before it has not been answered yet."""
        if self._health.breaker == "open":
            return self.unavailable()
        if self.trying and busy:
            return Unavailable("the model's process was started again and is being tried", retry_after=1)
        return None

    def unavailable(self) -> Unavailable:
        wait = max(self._retry_at - time.monotonic(), 0.0)
        return Unavailable("the model's process is being started again", retry_after=int(wait) + 1)

"""Workflows that wait, kept outside of threads: who waits for what, and until when.

One thread watches all of them: at a deadline, at a message or when woken, it has the workflow queued
again. Losing this memory in a crash loses nothing, since every workflow that was running or waiting is
queued again at the next launch and finds out by itself whether its wait is over.
"""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

_log = structlog.get_logger(__name__)


class Suspended(BaseException):  # control flow: unwinds a run whose workflow was parked
    """The run ends here; the workflow goes on in another run when its wait is over."""


@dataclass(slots=True)
class _Waiter:
    topic: str | None
    deadline: float | None = None  # None while its run still looks whether it must wait
    woken: bool = False


class ParkingLot:
    """Who waits.

    `resume` queues a workflow again; `waiting_messages` tells which of the given (workflow, topic) pairs
    have a message.
    """

    def __init__(
        self,
        resume: Callable[[str], None],
        waiting_messages: Callable[[Collection[tuple[str, str]]], set[tuple[str, str]]],
        *,
        interval: float = 1.0,
    ) -> None:
        self._resume = resume
        self._waiting_messages = waiting_messages
        self._interval = interval
        self._waiters: dict[str, _Waiter] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """Those parked; one that still looks whether it must wait runs in its thread."""
        with self._changed:
            return sum(waiter.deadline is not None for waiter in self._waiters.values())

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="workflow-parking", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def arm(self, workflow_id: str, topic: str | None = None) -> None:
        """Announces a wait before its condition is looked at, so that no wake-up falls in between."""
        with self._changed:
            self._waiters[workflow_id] = _Waiter(topic)

    def park(self, workflow_id: str, until: float) -> bool:
        """Leaves the workflow waiting; False when it was woken since `arm` and must look again."""
        with self._changed:
            waiter = self._waiters[workflow_id]
            if waiter.woken:
                del self._waiters[workflow_id]
                return False
            waiter.deadline = until
            self._changed.notify_all()
            return True

    def disarm(self, workflow_id: str) -> None:
        with self._changed:
            self._waiters.pop(workflow_id, None)

    def wake(self, workflow_id: str, topic: str | None = None) -> None:
        """Ends a wait; with a topic, only a wait for that topic."""
        with self._changed:
            waiter = self._waiters.get(workflow_id)
            if waiter is not None and (topic is None or topic == waiter.topic):
                waiter.woken = True
                self._changed.notify_all()

    def _run(self) -> None:
        last_look = 0.0
        while True:
            with self._changed:
                if not self._due() and not self._stopping:
                    self._changed.wait(self._next_look())
                if self._stopping:
                    return
                due = self._due()
            if time.monotonic() - last_look >= self._interval:
                last_look = time.monotonic()
                due += self._with_messages()
            for workflow_id in due:
                self._release(workflow_id)

    def _next_look(self) -> float | None:
        """Seconds until the next deadline or look for messages; None when nobody waits."""
        parked = [w for w in self._waiters.values() if w.deadline is not None]
        if not parked:
            return None
        soonest = min(w.deadline for w in parked if w.deadline is not None) - time.time()
        return max(0.0, min(soonest, self._interval))

    def _due(self) -> list[str]:
        now = time.time()
        return [
            workflow_id
            for workflow_id, waiter in self._waiters.items()
            if waiter.deadline is not None and (waiter.woken or waiter.deadline <= now)
        ]

    def _with_messages(self) -> list[str]:
        """Messages may come from other processes, which cannot wake anyone here."""
        with self._changed:
            pairs = [
                (workflow_id, waiter.topic)
                for workflow_id, waiter in self._waiters.items()
                if waiter.deadline is not None and waiter.topic is not None
            ]
        if not pairs:
            return []
        try:
            return [workflow_id for workflow_id, _ in self._waiting_messages(pairs)]
        except Exception:  # the database is away; waits outlive that
            _log.warning("workflow.message_poll_failed", exc_info=True)
            return []

    def _release(self, workflow_id: str) -> None:
        with self._changed:
            waiter = self._waiters.pop(workflow_id, None)
        if waiter is None or waiter.deadline is None:
            return
        try:
            self._resume(workflow_id)
        except Exception:  # the database is away: parked again, so that it is tried again
            _log.warning("workflow.resume_failed", workflow_id=workflow_id, exc_info=True)
            with self._changed:
                self._waiters.setdefault(workflow_id, waiter)
                if not self._stopping:
                    self._changed.wait(self._interval)

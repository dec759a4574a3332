"""`Flow` on DBOS: one run of one workflow, in the thread that DBOS gave it.

DBOS records operations by their position in the run, and checks the name at that position. Each public
method here makes the same number of DBOS operations on every run that passes through it.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar, TypeVarTuple, cast

import structlog
from dbos import DBOS

from ml_platform.integrations.dbos.crash import CrashPoint
from ml_platform.integrations.dbos.parking import ParkingLot, Suspended
from ml_platform.integrations.dbos.values import describe, from_record, recorded, to_record
from ml_platform.kit.durable import (
    ONCE,
    DuplicateStepError,
    DurableError,
    Interrupted,
    Retry,
    StepFailedError,
)

_log = structlog.get_logger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_SHORT_WAIT = 1.0
"""Waits up to this many seconds stay in the thread: unwinding and queueing again would take as long."""


class Records(Protocol):
    """What the engine knows about the records beyond DBOS's public interface."""

    def next_is_recorded(self, workflow_id: str, operation: str) -> bool:
        """Whether this run's next operation has its record; raises when the workflow was cancelled."""
        ...

    def has_message(self, workflow_id: str, topic: str) -> bool: ...

    def is_cancelled(self, workflow_id: str) -> bool: ...


class DbosFlow:
    """Implements `ml_platform.kit.durable.Flow`."""

    def __init__(
        self,
        workflow_id: str,
        workflow_name: str,
        *,
        records: Records,
        parking: ParkingLot,
        crash: CrashPoint,
        stopping: threading.Event,
    ) -> None:
        self._workflow_id = workflow_id
        self._name = workflow_name
        self._records = records
        self._parking = parking
        self._crash = crash
        self._stopping = stopping
        self._names: set[str] = set()
        self._unnamed = 0
        self._in_step = False

    @property
    def workflow_id(self) -> str:
        return self._workflow_id

    def key(self, step: str) -> str:
        return f"{self._workflow_id}/{step}"

    def step(self, name: str, fn: Callable[[*Ts], T], *args: *Ts, retry: Retry = ONCE) -> T:
        self._enter(name)
        return cast("T", self._record(name, lambda: self._try(name, lambda: fn(*args), retry)))

    def sleep(self, seconds: float) -> None:
        self._enter(None)
        deadline = self._deadline("sleep", seconds)
        waited = False
        while (remaining := deadline - time.time()) > 0:
            waited = True
            if remaining <= _SHORT_WAIT:
                self._pause(remaining)
                continue
            self._parking.arm(self._workflow_id)
            self._suspend_until(deadline)
        if waited:
            self._crash.reach(self._name, "sleep", "after")

    def receive(self, topic: str, timeout: float) -> Any | None:
        self._enter(None)
        deadline = self._deadline(f"receive.{topic}", timeout)
        if not self._records.next_is_recorded(self._workflow_id, "DBOS.recv"):
            self._wait_for(lambda: self._records.has_message(self._workflow_id, topic), topic, deadline)
            self._crash.reach(self._name, f"receive.{topic}", "before")
            message = DBOS.recv(topic, 0)
            self._crash.reach(self._name, f"receive.{topic}", "after")
        else:
            message = DBOS.recv(topic, 0)
        return None if message is None else message["payload"]

    def poll(self, name: str, probe: Callable[[], T | None], *, every: float, timeout: float) -> T | None:
        self._enter(name)
        deadline = self._deadline(f"{name}.deadline", timeout)
        outcome: dict[str, Any] = {}
        if not self._records.next_is_recorded(self._workflow_id, name):
            outcome = self._probe_until(name, probe, every, deadline)
        return cast("T | None", self._record(name, lambda: outcome))

    def now(self) -> datetime:
        self._enter(None)
        seconds: float = DBOS.run_step({"name": "now"}, time.time)
        return datetime.fromtimestamp(seconds, UTC)

    def patched(self, name: str) -> bool:
        self._enter(f"patched.{name}")
        return DBOS.patch(name)

    def check_interrupted(self) -> None:
        if self._stopping.is_set() or self._records.is_cancelled(self._workflow_id):
            raise Interrupted

    def _enter(self, name: str | None) -> None:
        """Checks that an operation may begin here."""
        if self._in_step:
            raise DurableError("a step must not use the flow: it is one effect, recorded as a whole")
        if self._stopping.is_set():
            raise Interrupted
        if name is not None:
            if name in self._names:
                raise DuplicateStepError(
                    f"{self._name}: there is a step {name!r} already; number the steps of a loop"
                )
            self._names.add(name)

    def _record(self, name: str, outcome: Callable[[], dict[str, Any]]) -> Any:
        """Answers the recorded outcome of a step, running it first if there is none."""
        ran = False

        def effect() -> dict[str, Any]:
            nonlocal ran
            ran = True
            self._crash.reach(self._name, name, "before")
            result = outcome()
            self._crash.reach(self._name, name, "between")
            return result

        result: dict[str, Any] = DBOS.run_step({"name": name}, effect)
        if ran:
            self._crash.reach(self._name, name, "after")
        if (error := result.get("error")) is not None:
            raise StepFailedError(from_record(error))
        return result["value"]

    def _try(self, name: str, fn: Callable[[], Any], retry: Retry) -> dict[str, Any]:
        """Runs an effect, again when it may be tried again, to a value or a described error."""
        failures = 0
        while True:
            self._in_step = True
            try:
                return {"value": recorded(fn(), f"the result of step {name!r}")}
            except Exception as error:  # whatever an effect raises is its recorded outcome
                failures += 1
                if failures >= retry.attempts or not isinstance(error, retry.on):
                    return {"error": to_record(describe(error, self._workflow_id, name))}
                wait = retry.wait_after(failures)
                _log.warning(
                    "workflow.step_retry",
                    workflow_id=self._workflow_id,
                    step=name,
                    failures=failures,
                    wait=wait,
                    error=type(error).__name__,
                )
            finally:
                self._in_step = False
            self._pause(wait)
            self.check_interrupted()

    def _probe_until(
        self, name: str, probe: Callable[[], Any], every: float, deadline: float
    ) -> dict[str, Any]:
        while True:
            self._parking.arm(self._workflow_id)
            outcome = self._try(name, probe, ONCE)
            now = time.time()
            if "error" in outcome or outcome["value"] is not None or now >= deadline:
                self._parking.disarm(self._workflow_id)
                return outcome
            self._suspend_until(min(deadline, now + every))

    def _wait_for(self, there: Callable[[], bool], topic: str, deadline: float) -> None:
        while True:
            self._parking.arm(self._workflow_id, topic)
            if there() or time.time() >= deadline:
                self._parking.disarm(self._workflow_id)
                return
            self._suspend_until(deadline)

    def _suspend_until(self, moment: float) -> None:
        """Ends this run; returns only when the wait was ended while it began."""
        if self._parking.park(self._workflow_id, moment):
            raise Suspended

    def _deadline(self, name: str, seconds: float) -> float:
        deadline: float = DBOS.run_step({"name": name}, lambda: time.time() + max(0.0, seconds))
        return deadline

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(max(0.0, seconds)):
            raise Interrupted

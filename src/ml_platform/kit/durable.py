"""Durable workflows, whatever engine runs them: services are written against this module alone.

A workflow is a plain class with its collaborators in its constructor and one `run`. What it does to the
world happens in *steps*; the engine records each step's result, so that after a crash the workflow is
run again from the top and every recorded step answers from the record instead of running. Hence the
three rules of `run`:

- everything that reads or changes the world (database, clock, random numbers, network) is in a step;
- between steps, the same records lead to the same path (no clocks, no sets' order, no globals);
- arguments, results and messages are JSON.

A workflow that waits (`sleep`, `receive`, `poll`) may leave memory altogether: the engine unwinds `run`
with a `BaseException` and runs it again from its records when the wait is over. Waiting for days is
therefore free, and `finally` blocks and `except BaseException` around a wait must have no effects.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

MAX_PAYLOAD_BYTES = 1_000_000
"""Bound of one recorded value: arguments, a step's result, a message. Large things go to storage, by name."""


class DurableError(Exception):
    """The base of what this module raises."""


class NotJsonError(DurableError, TypeError):
    """A value that cannot be recorded: not strict JSON (NaN and Infinity included), or too large."""


class WorkflowNotFoundError(DurableError, LookupError):
    """No workflow of that name is registered, or none with that id was started."""


class WorkflowIdInUseError(DurableError, ValueError):
    """The id belongs to a workflow of another name."""


class DuplicateStepError(DurableError, ValueError):
    """Two steps of one run have the same name, so that neither record nor key would tell them apart."""


@dataclass(frozen=True, slots=True)
class WorkflowError:
    """Why a workflow or a step failed, as recorded: never a traceback, never an unplanned error's text.

    `code`, `detail`, `hint` and `extra` are those of the `AppError` that was raised; any other exception
    is `internal_error` with its type's name, and is in the log with its traceback.
    """

    code: str
    detail: str
    step: str | None = None
    hint: str | None = None
    extra: Mapping[str, Any] | None = None


class StepFailedError(DurableError):
    """A step raised; the same exception on the first run and on every run from the records.

    The step's own exception type is not kept: decide by `error.code`.
    """

    def __init__(self, error: WorkflowError) -> None:
        super().__init__(f"{error.step}: {error.detail}")
        self.error = error

    @property
    def code(self) -> str:
        return self.error.code


class WorkflowFailedError(DurableError):
    """Raised by `result` for a workflow that failed or was cancelled."""

    def __init__(self, workflow_id: str, error: WorkflowError) -> None:
        super().__init__(f"{workflow_id}: {error.detail}")
        self.workflow_id = workflow_id
        self.error = error


class Interrupted(BaseException):  # not an error: the run stops here and nothing is recorded
    """The run must stop: the workflow was cancelled, or the engine shuts down and will resume it later."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failing step is tried again before its failure is recorded.

    The n-th wait is `first_wait * factor ** n` seconds, at most `longest_wait`. Tries are not recorded:
    a process that dies meanwhile starts counting anew. An error outside `on` is recorded at once.
    """

    attempts: int = 1
    first_wait: float = 0.5
    factor: float = 2.0
    longest_wait: float = 60.0
    on: tuple[type[Exception], ...] = (Exception,)

    def wait_after(self, failures: int) -> float:
        return min(self.longest_wait, self.first_wait * self.factor ** (failures - 1))


ONCE = Retry()


class Flow(Protocol):
    """What a running workflow holds. To be used by the thread that runs the workflow, outside of steps."""

    @property
    def workflow_id(self) -> str: ...

    def key(self, step: str) -> str:
        """A stable idempotency key for the effect of a step: the same in every run of this workflow."""
        ...

    def step(self, name: str, fn: Callable[[*Ts], T], *args: *Ts, retry: Retry = ONCE) -> T:
        """Runs `fn(*args)` and records its result (JSON); once recorded it is never run again.

        A process killed between the effect and its record runs the step a second time, so the effect must
        be idempotent: a write guarded by `key(name)`, an upsert, a request with an idempotency key.
        Names are unique within a run; a loop numbers its steps.

        Raises:
            StepFailedError: `fn` raised; recorded as well, so later runs raise it again.
        """
        ...

    def sleep(self, seconds: float) -> None:
        """Waits until `seconds` after the first time this line was reached, crashes and restarts included."""
        ...

    def receive(self, topic: str, timeout: float) -> Any | None:
        """The oldest message of a topic that was not received yet; None after `timeout` seconds."""
        ...

    def poll(self, name: str, probe: Callable[[], T | None], *, every: float, timeout: float) -> T | None:
        """Asks `probe` now and then until it answers something (then recorded); None after `timeout`.

        The probe only looks; it may be called any number of times. `WorkflowEngine.wake` has it asked now.
        """
        ...

    def now(self) -> datetime:
        """The time (UTC) when this line was first reached."""
        ...

    def patched(self, name: str) -> bool:
        """True in runs that began with the new code; False in those that passed here before it existed.

        How a workflow's steps are changed while workflows are under way: the old path stands in the else.
        """
        ...

    def check_interrupted(self) -> None:
        """For long steps: raises `Interrupted` when the workflow was cancelled or the engine stops."""
        ...


class Workflow(Protocol):
    """A durable action. Its arguments are keywords of `run`, checked when it is started."""

    @property
    def name(self) -> str: ...

    def run(self, flow: Flow, /, *args: Any, **kwargs: Any) -> JSON: ...


class WorkflowStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        return self in (WorkflowStatus.SUCCEEDED, WorkflowStatus.FAILED, WorkflowStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """A workflow as last recorded. A waiting one is `running`."""

    workflow_id: str
    name: str
    status: WorkflowStatus
    created_at: datetime
    updated_at: datetime
    group: str | None = None
    result: Any = None
    error: WorkflowError | None = None


class WorkflowEngine(Protocol):
    """Runs registered workflows, and takes up at `launch` whatever was under way."""

    def register(self, workflow: Workflow) -> None:
        """Makes a workflow known; before `launch`."""
        ...

    def launch(self) -> None: ...

    def shutdown(self, timeout: float = 10.0) -> None:
        """Takes no more work, lets steps end for `timeout` seconds; the rest resumes at the next launch."""
        ...

    def start(
        self, name: str, workflow_id: str, arguments: Mapping[str, JSON], *, group: str = "default"
    ) -> None:
        """Queues a workflow. A second start with the same id changes nothing, whatever became of the first.

        `group` (a team) is what the engine is fair over: none of them takes all the room.
        """
        ...

    def send(self, workflow_id: str, topic: str, payload: JSON, *, idempotency_key: str) -> None:
        """Leaves a message for `Flow.receive`; the same key for the same workflow is delivered once."""
        ...

    def wake(self, workflow_id: str) -> None:
        """Has a workflow that waits in `Flow.poll` look again now. A hint: losing it costs the interval."""
        ...

    def cancel(self, workflow_id: str) -> None:
        """Ends a workflow at its next step or wait; a step under way ends on its own. It never resumes.

        Nothing is undone. A workflow with something to undo should `receive` a message instead.
        """
        ...

    def status(self, workflow_id: str) -> WorkflowState: ...

    def result(self, workflow_id: str, timeout: float) -> Any:
        """Waits for the result.

        Raises:
            WorkflowFailedError: it failed or was cancelled.
            TimeoutError: it is still under way after `timeout` seconds.
        """
        ...

    def list_pending(self, name: str | None = None, *, limit: int = 1000) -> list[WorkflowState]:
        """Those that are queued or running, oldest first."""
        ...

"""The workflow engine on DBOS: `ml_platform.kit.durable.WorkflowEngine`."""

import inspect
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from dbos import DBOS
from dbos import WorkflowStatus as DbosStatus
from dbos import error as dbos_error
from dbos._serialization import PortableWorkflowError

from ml_platform.integrations.dbos.crash import CrashPoint
from ml_platform.integrations.dbos.flow import DbosFlow
from ml_platform.integrations.dbos.parking import ParkingLot
from ml_platform.integrations.dbos.records import DbosRecords, json_error
from ml_platform.integrations.dbos.runtime import QUEUE, close_dbos, open_dbos
from ml_platform.integrations.dbos.values import describe, from_record, recorded, to_record
from ml_platform.kit.durable import (
    JSON,
    Interrupted,
    Workflow,
    WorkflowError,
    WorkflowFailedError,
    WorkflowIdInUseError,
    WorkflowNotFoundError,
    WorkflowState,
    WorkflowStatus,
)

_log = structlog.get_logger(__name__)

_STATUS = {
    "ENQUEUED": WorkflowStatus.QUEUED,
    "DELAYED": WorkflowStatus.QUEUED,
    "PENDING": WorkflowStatus.RUNNING,
    "SUCCESS": WorkflowStatus.SUCCEEDED,
    "ERROR": WorkflowStatus.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": WorkflowStatus.FAILED,
    "CANCELLED": WorkflowStatus.CANCELLED,
}
_CANCELLED = WorkflowError("cancelled", "the workflow was cancelled")
_LONGEST_LOOK = 0.5


class DbosEngine:
    """Runs workflows in threads of this process; one engine at a time in a process.

    Args:
        database_url: `sqlite:///<file>` or `postgresql+psycopg://...`; the schema is made at launch.
        application_version: which engines may take each other's workflows. Keep it across releases, so
            that new code resumes what old code began (`Flow.patched` where the steps changed).
        executor_id: this engine's name, kept across restarts: what ran under it is resumed at launch.
        sole: no other engine works on this database, so launch also takes over what ran under other
            names and versions. Several workers on one PostgreSQL say False, each with its own name.
        execute: False makes an engine that starts, sends and asks, and runs nothing.
        max_concurrency: workflows that run at the same time (waiting ones do not count).
        max_per_group: of these, at most so many of one group; default half of them.
        poll_interval: seconds between two looks into the queue; bounds how late a workflow starts.
        environment: where the crash point is read from.
    """

    def __init__(
        self,
        database_url: str,
        *,
        application_version: str = "1",
        executor_id: str = "local",
        sole: bool = True,
        execute: bool = True,
        max_concurrency: int = 32,
        max_per_group: int | None = None,
        poll_interval: float = 0.2,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._database_url = database_url
        self._application_version = application_version
        # One that runs nothing must not be given what the worker of that name was running.
        self._executor_id = executor_id if execute else f"{executor_id}-client"
        self._sole = sole
        self._execute = execute
        self._max_concurrency = max_concurrency
        self._max_per_group = max_per_group or max(1, max_concurrency // 2)
        self._poll_interval = poll_interval
        self._crash = CrashPoint.from_environment(environment)
        self._workflows: dict[str, Workflow] = {}
        self._records = DbosRecords(self._executor_id, application_version)
        self._parking = self._new_parking()
        self._stopping = threading.Event()
        self._running = 0
        self._idle = threading.Condition()
        self._launched = False

    def register(self, workflow: Workflow) -> None:
        if self._launched:
            raise RuntimeError("register workflows before launch: what is resumed at launch needs them")
        if workflow.name in self._workflows:
            raise ValueError(f"there is a workflow {workflow.name!r} already")
        self._workflows[workflow.name] = workflow

    def launch(self) -> None:
        self._stopping.clear()
        self._parking = self._new_parking()
        open_dbos(
            self._database_url,
            application_version=self._application_version,
            executor_id=self._executor_id,
            pool_size=8,
            threads=self._max_concurrency + 8,  # and DBOS's own start-up work
        )
        try:
            for workflow in self._workflows.values():
                DBOS.workflow(name=workflow.name, max_recovery_attempts=None)(self._runner(workflow))
            if not self._execute:
                DBOS.listen_queues([])
            DBOS.launch()
            DBOS.register_queue(
                QUEUE,
                worker_concurrency=self._max_concurrency,
                partition_worker_concurrency=self._max_per_group,
                polling_interval_sec=self._poll_interval,
                on_conflict="always_update",
            )
            if self._execute and self._sole:
                self._records.adopt_all()
        except BaseException:
            close_dbos()
            raise
        self._parking.start()
        self._launched = True

    def shutdown(self, timeout: float = 10.0) -> None:
        if not self._launched:
            return
        self._stopping.set()
        self._parking.stop()
        with self._idle:
            self._idle.wait_for(lambda: self._running == 0, timeout)
        self._launched = False
        close_dbos()

    def start(
        self, name: str, workflow_id: str, arguments: Mapping[str, JSON], *, group: str = "default"
    ) -> None:
        workflow = self._workflows.get(name)
        if workflow is None:
            raise WorkflowNotFoundError(f"no workflow is registered as {name!r}")
        inspect.signature(workflow.run).bind(None, **arguments)  # a wrong argument fails here, not later
        try:
            DBOS.enqueue_workflow_with_options(
                {
                    "workflow_name": name,
                    "queue_name": QUEUE,
                    "workflow_id": workflow_id,
                    "queue_partition_key": group,
                    "app_version": self._application_version,
                },
                **recorded(dict(arguments), "the arguments"),
            )
        except dbos_error.DBOSConflictingWorkflowError as error:
            raise WorkflowIdInUseError(f"{workflow_id} is the id of another workflow") from error

    def send(self, workflow_id: str, topic: str, payload: JSON, *, idempotency_key: str) -> None:
        message = {"payload": recorded(payload, "the message")}
        try:
            DBOS.send(workflow_id, message, topic, idempotency_key=idempotency_key)
        except dbos_error.DBOSNonExistentWorkflowError as error:
            raise WorkflowNotFoundError(f"workflow {workflow_id} was not started") from error
        self._parking.wake(workflow_id, topic)

    def wake(self, workflow_id: str) -> None:
        self._parking.wake(workflow_id)

    def cancel(self, workflow_id: str) -> None:
        self.status(workflow_id)
        DBOS.cancel_workflow(workflow_id)
        self._parking.disarm(workflow_id)

    def status(self, workflow_id: str) -> WorkflowState:
        found = DBOS.get_workflow_status(workflow_id)
        if found is None:
            raise WorkflowNotFoundError(f"workflow {workflow_id} was not started")
        return _state(found)

    def result(self, workflow_id: str, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        look = 0.02
        while not (state := self.status(workflow_id)).status.finished:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"{workflow_id} is still {state.status} after {timeout} s")
            time.sleep(min(look, remaining))
            look = min(_LONGEST_LOOK, look * 1.5)
        if state.error is not None:
            raise WorkflowFailedError(workflow_id, state.error)
        return state.result

    def list_pending(self, name: str | None = None, *, limit: int = 1000) -> list[WorkflowState]:
        found = DBOS.list_workflows(
            name=name,
            status=["ENQUEUED", "DELAYED", "PENDING"],
            limit=limit,
            load_input=False,
            load_output=False,
        )
        return [_state(status) for status in found]

    def waiting(self) -> int:
        """How many workflows wait here, outside of any thread."""
        return len(self._parking)

    def running(self) -> int:
        """How many workflows run here, each in a thread."""
        return self._running

    def recover(self, executor_id: str) -> int:
        """Resumes here or elsewhere what another executor ran that will not come back; answers how many."""
        return self._records.recover_executor(executor_id)

    def prune(self, *, older_than: timedelta, limit: int = 1000) -> int:
        """Deletes the records of workflows that ended before then; their ids could be started anew."""
        before = (datetime.now(UTC) - older_than).isoformat()
        ended = DBOS.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED"],
            completed_before=before,
            limit=limit,
            load_input=False,
            load_output=False,
        )
        DBOS.delete_workflows([status.workflow_id for status in ended])
        return len(ended)

    def _new_parking(self) -> ParkingLot:
        return ParkingLot(self._records.resume, self._records.waiting_messages)

    def _runner(self, workflow: Workflow) -> Callable[..., Any]:
        """The function that DBOS runs for a workflow."""

        def run(**arguments: Any) -> Any:
            workflow_id = DBOS.workflow_id or ""
            flow = DbosFlow(
                workflow_id,
                workflow.name,
                records=self._records,
                parking=self._parking,
                crash=self._crash,
                stopping=self._stopping,
            )
            with self._idle:
                self._running += 1
            try:
                return self._run(workflow, flow, arguments)
            finally:
                with self._idle:
                    self._running -= 1
                    self._idle.notify_all()

        return run

    def _run(self, workflow: Workflow, flow: DbosFlow, arguments: dict[str, Any]) -> Any:
        self._crash.reach(workflow.name, "run", "before")
        try:
            result = recorded(workflow.run(flow, **arguments), f"the result of {workflow.name}")
        except Exception as error:
            if (
                self._stopping.is_set()
            ):  # what fails because the engine is closing is not the workflow's failure
                raise Interrupted from error
            if isinstance(error, dbos_error.DBOSUnexpectedStepError):
                described = WorkflowError("workflow_changed", "the code no longer matches the recorded steps")
                _log.error("workflow.changed", workflow_id=flow.workflow_id, exc_info=error)
            else:
                described = describe(error, flow.workflow_id, None)
            _log.warning(
                "workflow.failed", workflow_id=flow.workflow_id, name=workflow.name, code=described.code
            )
            raise PortableWorkflowError(
                described.detail, "WorkflowFailed", described.code, to_record(described)
            ) from None
        self._crash.reach(workflow.name, "run", "between")
        return result


def _state(found: DbosStatus) -> WorkflowState:
    status = _STATUS[found.status]
    return WorkflowState(
        workflow_id=found.workflow_id,
        name=found.name,
        status=status,
        created_at=_moment(found.created_at),
        updated_at=_moment(found.updated_at),
        group=found.queue_partition_key,
        result=found.output if status is WorkflowStatus.SUCCEEDED else None,
        error=_error(found, status),
    )


def _error(found: DbosStatus, status: WorkflowStatus) -> WorkflowError | None:
    if status is WorkflowStatus.CANCELLED:
        return _CANCELLED
    if status is not WorkflowStatus.FAILED:
        return None
    record = json_error(found)
    if record is None:  # DBOS itself ended it: the cause is in the log
        return WorkflowError("internal_error", "the workflow could not be run")
    return from_record(record)


def _moment(milliseconds: int | None) -> datetime:
    return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC)

"""Reading and mending DBOS's records where its public interface does not reach.

Everything that depends on the inside of DBOS (its context's position counter, three methods and two
tables of its system database) is in this one module, and each use has a test that fails when DBOS changes.
"""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from dbos import DBOS
from dbos._context import assert_current_dbos_context
from dbos._dbos import _get_dbos_instance
from dbos._sys_db import SystemDatabase

from ml_platform.integrations.dbos.runtime import QUEUE

_BATCH = 500
_UNFINISHED = ("ENQUEUED", "PENDING", "DELAYED")


class DbosRecords:
    """Implements `Records` for flows, and what the engine needs to resume workflows."""

    def __init__(self, executor_id: str, application_version: str) -> None:
        self._executor_id = executor_id
        self._application_version = application_version

    def next_is_recorded(self, workflow_id: str, operation: str) -> bool:
        position = assert_current_dbos_context().function_id + 1
        return self._database.check_operation_execution(workflow_id, position, operation) is not None

    def has_message(self, workflow_id: str, topic: str) -> bool:
        return bool(self.waiting_messages([(workflow_id, topic)]))

    def waiting_messages(self, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the (workflow, topic) pairs that have a message which was not received."""
        messages = self._database.tables.notifications.c
        wanted = set(pairs)
        ids = sorted({workflow_id for workflow_id, _ in wanted})
        found: set[tuple[str, str]] = set()
        with self._database.engine.connect() as connection:
            for begin in range(0, len(ids), _BATCH):
                query = sa.select(messages.destination_uuid, messages.topic).where(
                    messages.destination_uuid.in_(ids[begin : begin + _BATCH]), messages.consumed.is_(False)
                )
                found |= {(row[0], row[1]) for row in connection.execute(query)}
        return found & wanted

    def is_cancelled(self, workflow_id: str) -> bool:
        return bool(self._database.get_cancelled_workflow_ids([workflow_id]))

    def resume(self, workflow_id: str) -> None:
        """Queues a workflow of this executor again, unless it ended or was cancelled meanwhile."""
        self._database.reenqueue_for_recovery(workflow_id, [self._executor_id], QUEUE)

    def adopt_all(self) -> int:
        """Takes over the unfinished workflows of other executors and of other application versions.

        DBOS's own recovery passes them by. Only for the sole engine of a database.

        Answers how many of them were under way.
        """
        status = self._database.tables.workflow_status.c
        foreign = sa.or_(
            status.executor_id != self._executor_id,
            status.application_version != self._application_version,
        )
        with self._database.engine.begin() as connection:
            query = sa.select(status.workflow_uuid, status.executor_id).where(
                status.status == "PENDING", foreign
            )
            orphans = [(row[0], row[1]) for row in connection.execute(query)]
            connection.execute(
                sa.update(self._database.tables.workflow_status)
                .where(status.status.in_(_UNFINISHED))
                .values(application_version=self._application_version)
            )
        for workflow_id, executor_id in orphans:
            self._database.reenqueue_for_recovery(workflow_id, [executor_id], QUEUE)
        return len(orphans)

    def recover_executor(self, executor_id: str) -> int:
        """Queues again what an executor that is gone for good was running; answers how many."""
        return len(DBOS._recover_pending_workflows([executor_id]))  # noqa: SLF001  # the reason of this module

    @property
    def _database(self) -> SystemDatabase:
        return _get_dbos_instance()._sys_db  # noqa: SLF001  # the reason of this module


def json_error(status: Any) -> dict[str, Any] | None:
    """The recorded error of a failed workflow, as the engine wrote it."""
    data = getattr(status.error, "data", None)
    return data if isinstance(data, dict) else None

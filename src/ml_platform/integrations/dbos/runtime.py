"""DBOS itself: how it is configured, kept quiet and kept from pickle, and that there is one in a process.

DBOS is a module-level singleton with module-level settings; all of that stays in here.
"""

import json
import logging
import sqlite3
import threading
from typing import Any

import dbos._serialization as dbos_serialization
import sqlalchemy as sa
from dbos import DBOS, DBOSConfig

QUEUE = "workflows"
APPLICATION = "ml-platform"

_logger = logging.getLogger("dbos")
_one_at_a_time = threading.Lock()


class _NoPickle(dbos_serialization.Serializer):
    """Stands where DBOS has its pickle serializer, which it would use for any row that asks for it."""

    def name(self) -> str:
        return "py_pickle"

    def serialize(self, data: Any) -> str:
        return json.dumps(str(data))  # why such a row failed, written into that row

    def deserialize(self, serialized_data: str) -> Any:  # noqa: ARG002  # the point is not to read it
        raise TypeError("a pickled record is refused")


class _Unheard(logging.Filter):
    """Drops DBOS's tracebacks of failed workflows: the engine logs each failure once, with its id."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Exception encountered in background workflow")


_unheard = _Unheard()


def open_dbos(
    database_url: str, *, application_version: str, executor_id: str, pool_size: int, threads: int
) -> None:
    """Makes this process's DBOS; `close_dbos` must follow, also when the launch fails.

    Raises:
        RuntimeError: there is one already.
    """
    if not _one_at_a_time.acquire(blocking=False):
        raise RuntimeError("a workflow engine is already running in this process")
    try:
        dbos_serialization.DBOSDefaultSerializer = _NoPickle()
        _quiet()
        _prepare_sqlite(database_url)
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": database_url,
            "application_version": application_version,
            "executor_id": executor_id,
            "serializer": dbos_serialization.DBOSPortableJSONSerializer(),
            "sys_db_pool_size": pool_size,
            "max_executor_threads": threads,
            "log_level": "ERROR",
            "enable_otlp": False,
            # The parking lot watches for messages with one query for all waiters.
            "use_listen_notify": False,
            # So that the idle listener, which sleeps this long, does not hold up the shutdown.
            "notification_listener_polling_interval_sec": 0.2,
        }
        DBOS(config=config)
    except BaseException:
        _one_at_a_time.release()
        raise


def close_dbos() -> None:
    DBOS.destroy(destroy_registry=True)
    _one_at_a_time.release()


def _quiet() -> None:
    # With a handler present DBOS adds none of its own, and records go to the application's root logger.
    if not any(isinstance(handler, logging.NullHandler) for handler in _logger.handlers):
        _logger.addHandler(logging.NullHandler())
    if _unheard not in _logger.filters:
        _logger.addFilter(_unheard)


def _prepare_sqlite(database_url: str) -> None:
    """WAL is a property of the file: with it, readers and the writer do not wait for each other."""
    url = sa.make_url(database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        with sqlite3.connect(url.database, timeout=30) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()

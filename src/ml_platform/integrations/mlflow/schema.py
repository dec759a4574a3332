"""The database of MLflow: made or upgraded once, however many processes start together."""

# mypy: untyped-calls-exclude="mlflow"

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.engine import make_url

# An arbitrary constant of ours; every process that migrates this database takes the same lock.
_ADVISORY_LOCK = 0x4D4C464C

# Row counts of a typical installation (20,000 runs, 10 metrics, 8 params and 6 tags each), as ANALYZE writes
# them: table, index, rows and rows for each further column of the index. Without any, SQLite's planner scans
# an index once for every run when runs are ordered by a metric, which takes seconds instead of milliseconds.
_TYPICAL_STATISTICS = (
    ("experiments", "sqlite_autoindex_experiments_1", "41 6 1"),
    ("experiments", "idx_experiments_workspace", "41 6"),
    ("experiments", "idx_experiments_workspace_creation_time", "41 6 6"),
    ("runs", "sqlite_autoindex_runs_1", "20000 1"),
    ("metrics", "sqlite_autoindex_metrics_1", "1000000 100000 5 1 1 1 1"),
    ("metrics", "index_metrics_run_uuid", "1000000 50"),
    ("metrics", "index_metrics_run_uuid_key_step", "1000000 50 5 1"),
    ("latest_metrics", "sqlite_autoindex_latest_metrics_1", "175779 4508 1"),
    ("latest_metrics", "index_latest_metrics_run_uuid", "175779 9"),
    ("params", "sqlite_autoindex_params_1", "160000 20000 1"),
    ("params", "index_params_run_uuid", "160000 8"),
    ("tags", "sqlite_autoindex_tags_1", "120000 20000 1"),
    ("tags", "index_tags_run_uuid", "120000 6"),
)


def migrate(backend_store_uri: str) -> None:
    """Bring the schema to what the installed MLflow expects.

    A new SQLite database is built beside its place and moved there when it is complete, so a process that
    is killed meanwhile leaves nothing half made.
    """
    url = make_url(backend_store_uri)
    if url.get_backend_name() != "sqlite":
        with _connected(backend_store_uri) as engine, _advisory_lock(engine):
            _upgrade(engine)
        return
    database = Path(url.database or "").absolute()
    database.parent.mkdir(parents=True, exist_ok=True)
    with _file_lock(database.with_name(f"{database.name}.lock")):
        if not database.exists():
            _build_sqlite(database)
        else:
            with _connected(backend_store_uri) as engine:
                _upgrade(engine)
            _guide_planner(database)


def _build_sqlite(database: Path) -> None:
    unfinished = database.with_name(f"{database.name}.new")
    for leftover in (unfinished, Path(f"{unfinished}-journal"), Path(f"{unfinished}-wal")):
        leftover.unlink(missing_ok=True)
    with _connected(f"sqlite:///{unfinished}") as engine:
        _upgrade(engine)
    _guide_planner(unfinished)
    with closing(sqlite3.connect(unfinished)) as connection:
        # Readers then never wait for the writer; the mode stays with the file.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.replace(unfinished, database)  # noqa: PTH105 - the atomic replacement is the point


def _guide_planner(database: Path) -> None:
    """Give the planner statistics where the database has none; those that somebody measured stay."""
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'").fetchone():
            return
        connection.execute("ANALYZE sqlite_schema")  # makes the table of statistics
        connection.execute("DELETE FROM sqlite_stat1")
        connection.executemany(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", _TYPICAL_STATISTICS
        )


def _upgrade(engine: sqlalchemy.Engine) -> None:
    from mlflow.store.db import utils

    if not utils._all_tables_exist(engine):  # noqa: SLF001 - what `mlflow server` itself calls
        utils._initialize_tables(engine)  # noqa: SLF001
    elif utils._get_schema_version(engine) != utils._get_latest_schema_revision():  # noqa: SLF001
        utils._upgrade_db(engine)  # noqa: SLF001 - what `mlflow db upgrade` calls


@contextmanager
def _connected(uri: str) -> Iterator[Any]:
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine_with_retry(uri)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _advisory_lock(engine: sqlalchemy.Engine) -> Iterator[None]:
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})

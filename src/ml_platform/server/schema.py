"""Brings the database to the newest schema, once, also when several processes start together."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from ml_platform.kit.db import Database
from ml_platform.kit.locks import file_lock

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x4D4C4F5053  # "MLOPS"


def upgrade(database: Database, *, lock_file: Path) -> None:
    """Applies every migration that is missing.

    Raises:
        RuntimeError: the database was written by a newer version of the platform.
    """
    with _one_at_a_time(database, lock_file), database.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["connection"] = connection
        current = MigrationContext.configure(connection).get_current_revision()
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            msg = f"the database is at revision {current}, which this version does not know: upgrade the platform"
            raise RuntimeError(msg)
        command.upgrade(config, "head")


@contextmanager
def _one_at_a_time(database: Database, lock_file: Path) -> Iterator[None]:
    if database.is_sqlite:
        with file_lock(lock_file):
            yield
        return
    with database.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _ADVISORY_LOCK})

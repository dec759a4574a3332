"""The database: SQLite in WAL or PostgreSQL behind one small class, and the types both share."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Engine, MetaData, Text, create_engine, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from ml_platform.kit.strictjson import canonical
from ml_platform.kit.turns import Turns

_WRITE_OPTION = "platform_write"
_TURN = "platform_turn"

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on both databases; a naive one is refused on the way in."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "naive datetime: every stored time is aware"
            raise ValueError(msg)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class JsonText(TypeDecorator[Any]):
    """JSON kept as its canonical text, for what is hashed: PostgreSQL's JSONB rewrites numbers."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else canonical(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(value)


Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Base(DeclarativeBase):
    """The base of every table. `dict` and `list` columns are JSON, `datetime` columns are UTC."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - the name and form that SQLAlchemy reads
        datetime: UTCDateTime(),
        dict[str, Any]: Json,
        list[Any]: Json,
        list[str]: Json,
    }


class Database:
    """Opens transactions. Readers never wait; a writer on SQLite takes the write lock when it begins.

    A deferred SQLite transaction that reads and then writes can fail at the upgrade with nothing to
    wait for; `BEGIN IMMEDIATE` takes the lock at once. SQLite gives its lock to whoever happens to ask when
    it is free, so writers of this process queue for it among themselves; only another process's are left
    to `busy_timeout`.
    """

    def __init__(self, url: str, *, pool_size: int = 20, busy_timeout_seconds: float = 30.0) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": pool_size, "pool_pre_ping": True}
        if self.is_sqlite:
            options = {
                "pool_size": pool_size,
                "max_overflow": pool_size,
                "connect_args": {"timeout": busy_timeout_seconds, "check_same_thread": False},
            }
        self.engine: Engine = create_engine(self.url, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _sqlite_connect)
            writers = _Writers(busy_timeout_seconds)
            event.listen(self.engine, "begin", writers.begin)
            event.listen(self.engine.pool, "checkin", writers.end)
        self._read = sessionmaker(self.engine, expire_on_commit=False)
        self._write = sessionmaker(
            self.engine.execution_options(**{_WRITE_OPTION: True}), expire_on_commit=False
        )

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with self._read() as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block and rolls back when it raises."""
        with self._write() as session, session.begin():
            yield session

    def open_session(self, *, write: bool) -> Session:
        """A session whose owner commits or rolls back and closes."""
        return self._write() if write else self._read()

    def ping(self) -> None:
        """Raises when the database does not answer."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver opens no transaction of its own; `begin` below does
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class _Writers:
    """The queue of those who want SQLite's write lock; a turn lasts until the connection is given back."""

    def __init__(self, timeout_seconds: float) -> None:
        self._turns = Turns()
        self._timeout = timeout_seconds

    def begin(self, connection: Any) -> None:
        if not connection.get_execution_options().get(_WRITE_OPTION, False):
            connection.exec_driver_sql("BEGIN")
            return
        if _TURN not in connection.info and self._turns.take(self._timeout):
            connection.info[_TURN] = True
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def end(self, _connection: Any, record: Any) -> None:
        if record.info.pop(_TURN, False):
            self._turns.give()

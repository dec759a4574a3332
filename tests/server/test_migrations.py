"""The schema: as the tables say, on both databases, once, and never by an older version."""

from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from ml_platform.kit.db import Base, Database
from ml_platform.server import schema, tables  # noqa: F401 - fills the metadata

SCRIPTS = Path(schema.__file__).parent / "migrations"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'platform.db'}"
        return
    with request.getfixturevalue("postgres_server").fresh_database() as found:
        yield found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url)
    yield made
    made.close()


def config_of(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    return config


def differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def objects_of(database: Database) -> list[tuple[str, ...]]:
    """Tables, indexes and triggers as the database itself lists them."""
    query = (
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' ORDER BY name"
        if database.is_sqlite
        else "SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " AND tablename <> 'alembic_version' UNION SELECT 'trigger', tgname, tgrelid::regclass::text"
        " FROM pg_trigger WHERE NOT tgisinternal ORDER BY 2"
    )
    with database.engine.connect() as connection:
        return [tuple(map(str, row)) for row in connection.execute(text(query))]


class TestUpgrading:
    def test_gives_what_the_tables_say(self, database: Database, tmp_path: Path) -> None:
        schema.upgrade(database, lock_file=tmp_path / "lock")
        assert set(inspect(database.engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        assert differences(database) == []

    def test_again_changes_nothing(self, database: Database, tmp_path: Path) -> None:
        schema.upgrade(database, lock_file=tmp_path / "lock")
        before = objects_of(database)
        schema.upgrade(database, lock_file=tmp_path / "lock")
        assert objects_of(database) == before

    def test_and_down_and_up_again_gives_the_same(self, database: Database, tmp_path: Path) -> None:
        schema.upgrade(database, lock_file=tmp_path / "lock")
        before = objects_of(database)
        with database.engine.begin() as connection:
            command.downgrade(config_of(connection), "base")
        assert set(inspect(database.engine).get_table_names()) == {"alembic_version"}
        schema.upgrade(database, lock_file=tmp_path / "lock")
        assert objects_of(database) == before

    def test_has_one_way_to_the_newest_version(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        scripts = ScriptDirectory.from_config(config)
        assert len(scripts.get_heads()) == 1
        assert len(scripts.get_bases()) == 1

    def test_of_a_step_that_fails_leaves_nothing(
        self, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upgrade = command.upgrade

        def fail(config: Config, revision: str) -> None:
            upgrade(config, revision)
            raise RuntimeError("the power went")

        monkeypatch.setattr(command, "upgrade", fail)
        with pytest.raises(RuntimeError, match="power"):
            schema.upgrade(database, lock_file=tmp_path / "lock")
        monkeypatch.undo()
        assert not inspect(database.engine).get_table_names()
        schema.upgrade(database, lock_file=tmp_path / "lock")
        assert differences(database) == []


def _upgrade(url: str, lock: Path, barrier: Barrier) -> None:
    database = Database(url)
    barrier.wait(120)
    schema.upgrade(database, lock_file=lock)
    with database.read() as session:
        session.execute(text("SELECT count(*) FROM teams"))
    database.close()


class TestSeveralProcesses:
    @pytest.mark.slow
    def test_that_start_together_upgrade_once(self, url: str, tmp_path: Path) -> None:
        context = get_context("spawn")
        barrier = context.Barrier(3)
        processes = [
            context.Process(target=_upgrade, args=(url, tmp_path / "lock", barrier)) for _ in range(3)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(150)
        assert [process.exitcode for process in processes] == [0, 0, 0]
        database = Database(url)
        assert differences(database) == []
        database.close()


class TestADatabaseOfANewerVersion:
    def test_is_refused_and_left_as_it_is(self, database: Database, tmp_path: Path) -> None:
        schema.upgrade(database, lock_file=tmp_path / "lock")
        with database.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        before = objects_of(database)
        with pytest.raises(RuntimeError, match="9999, which this version does not know: upgrade"):
            schema.upgrade(database, lock_file=tmp_path / "lock")
        assert objects_of(database) == before
        with database.engine.connect() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"

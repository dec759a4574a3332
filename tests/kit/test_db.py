"""The database class, on SQLite and on PostgreSQL alike."""

import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import StatementError

from ml_platform.kit.db import Database, JsonText
from ml_platform.kit.idempotency import IdempotencyRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(id_: str, **changes: Any) -> IdempotencyRow:
    return IdempotencyRow(
        **{"id": id_, "fingerprint": "f", "state": "started", "created_at": NOW, "answer": None} | changes
    )


class TestTimes:
    def test_come_back_aware_and_in_utc(self, database: Database) -> None:
        moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
        with database.write() as session:
            session.add(row("a", created_at=moment))
        with database.read() as session:
            found = session.get_one(IdempotencyRow, "a").created_at
        assert (found, found.tzinfo) == (moment, UTC)

    def test_without_a_zone_are_refused(self, database: Database) -> None:
        with pytest.raises(StatementError, match="naive"), database.write() as session:
            session.add(row("a", created_at=datetime(2026, 1, 1)))  # noqa: DTZ001


class TestTransactions:
    def test_that_raise_leave_nothing(self, database: Database) -> None:
        with pytest.raises(RuntimeError), database.write() as session:
            session.add(row("a"))
            session.flush()
            raise RuntimeError
        with database.read() as session:
            assert session.get(IdempotencyRow, "a") is None

    def test_that_read_and_then_write_queue_instead_of_failing(self, database: Database) -> None:
        with database.write() as session:
            session.add(row("n", answer={"n": 0}))
        barrier, errors = threading.Barrier(6), []

        def add() -> None:
            barrier.wait()
            try:
                for _ in range(5):
                    with database.write() as session:
                        found = session.get(IdempotencyRow, "n", with_for_update=True)
                        assert found is not None
                        assert found.answer is not None
                        found.answer = {"n": found.answer["n"] + 1}
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=add) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not errors
        with database.read() as session:
            assert session.get_one(IdempotencyRow, "n").answer == {"n": 30}

    def test_that_read_do_not_wait_for_one_that_writes(self, database: Database) -> None:
        with database.write() as session:
            session.add(row("a"))
        with database.write() as writing:
            writing.add(row("b"))
            writing.flush()
            with database.read() as reading:
                assert reading.query(IdempotencyRow).count() == 1


class TestSqlite:
    def test_survives_a_power_cut_and_keeps_its_references(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path / 'x.db'}")
        with database.read() as session:
            asked = {
                name: session.scalar(text(f"PRAGMA {name}"))
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
        database.close()
        assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


class TestCanonicalJson:
    def test_keeps_numbers_as_they_were_written(self) -> None:
        column: JsonText = JsonText()
        stored = column.process_bind_param({"b": 1.0, "a": 10**17}, None)  # type: ignore[arg-type]
        assert stored == '{"a":100000000000000000,"b":1.0}'
        assert column.process_result_value(stored, None) == {"b": 1.0, "a": 10**17}  # type: ignore[arg-type]

"""Nobody rewrites the audit log unnoticed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ml_platform.integrations.cedar import CedarAuthorizer
from ml_platform.kit.db import Database
from ml_platform.server import schema
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.audit import AuditChain, AuditVerifier, CheckpointFile
from tests.support.postgres import PostgresServer

EVENTS = 12


class Log:
    """An audit log with events in it, and ways to tamper with it."""

    def __init__(self, url: str, home: Path) -> None:
        self.database = Database(url)
        schema.upgrade(self.database, lock_file=home / "lock")
        self.chain = AuditChain(b"k" * 32)
        self.checkpoints = CheckpointFile(home / "checkpoints.jsonl", self.database, self.chain)
        self.verifier = AuditVerifier(self.database, self.chain, self.checkpoints)
        self.factory = WorkFactory(self.database, CedarAuthorizer(), self.chain)
        self.append(EVENTS)

    def append(self, count: int) -> None:
        for number in range(count):
            with self.factory.begin(Actor.system("test")) as work:
                work.record("thing.change", "thing", f"t{number}", after={"n": number, "x": 1e20, "y": 0.1})

    def tamper(self, *statements: str) -> None:
        """Does what somebody with the database in hands can do: triggers off first."""
        with self.database.engine.begin() as connection:
            if self.database.is_sqlite:
                connection.execute(text("DROP TRIGGER IF EXISTS audit_events_no_update"))
                connection.execute(text("DROP TRIGGER IF EXISTS audit_events_no_delete"))
            else:
                connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER ALL"))
            for statement in statements:
                connection.execute(text(statement))

    def kinds(self) -> set[str]:
        """What is found beside the triggers being off, without which nothing could have been changed."""
        return {finding.kind for finding in self.verifier.verify().findings} - {"unprotected"}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param == "sqlite":
        made = Log(f"sqlite:///{tmp_path}/audit.db", tmp_path)
        yield made
        made.database.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.fresh_database() as url:
        made = Log(url, tmp_path)
        yield made
        made.database.close()


_COPY = (
    "INSERT INTO audit_events SELECT {sequence}, 'evt_forged', at, actor_id, actor_name, actor_kind, key_id, source,"
    ' request_id, team_id, action, resource_kind, resource_id, before, "after", context, hash'
    " FROM audit_events WHERE sequence = 5"
)


class TestVerifying:
    def test_an_untouched_log_verifies(self, log: Log) -> None:
        result = log.verifier.verify()
        assert (result.verified, result.events, result.findings) == (True, EVENTS, [])

    @pytest.mark.parametrize(
        "column",
        [
            "at",
            "actor_id",
            "actor_name",
            "source",
            "team_id",
            "action",
            "resource_id",
            '"after"',
            "context",
            "hash",
        ],
    )
    def test_an_edited_column_is_found(self, log: Log, column: str) -> None:
        value = "'2020-01-01 00:00:00+00:00'" if column == "at" else "'[7]'"
        log.tamper(f"UPDATE audit_events SET {column} = {value} WHERE sequence = 5")
        assert "edited" in log.kinds()

    @pytest.mark.parametrize("sequence", [1, 5, EVENTS])
    def test_a_deleted_event_is_found(self, log: Log, sequence: int) -> None:
        log.tamper(f"DELETE FROM audit_events WHERE sequence = {sequence}")
        assert log.kinds() & {"missing", "truncated"}

    def test_an_inserted_event_is_found(self, log: Log) -> None:
        log.tamper(_COPY.format(sequence=EVENTS + 1))
        assert "inserted" in log.kinds()

    def test_swapped_events_are_found(self, log: Log) -> None:
        log.tamper(
            "UPDATE audit_events SET sequence = 99 WHERE sequence = 4",
            "UPDATE audit_events SET sequence = 4 WHERE sequence = 5",
            "UPDATE audit_events SET sequence = 5 WHERE sequence = 99",
        )
        assert "edited" in log.kinds()

    def test_a_cut_end_is_found_by_the_head(self, log: Log) -> None:
        log.tamper("DELETE FROM audit_events WHERE sequence > 8")
        assert "truncated" in log.kinds()

    def test_a_head_set_back_without_the_key_is_found(self, log: Log) -> None:
        log.tamper(
            "DELETE FROM audit_events WHERE sequence > 8",
            "UPDATE audit_head SET sequence = 8, hash = (SELECT hash FROM audit_events WHERE sequence = 8)",
        )
        assert "edited" in log.kinds()

    def test_a_database_put_back_whole_is_found_by_the_checkpoints(self, log: Log) -> None:
        with log.database.read() as session:
            seal = session.execute(text("SELECT seal FROM audit_head")).scalar_one()
        log.append(3)
        log.checkpoints.write()
        log.tamper(
            f"DELETE FROM audit_events WHERE sequence > {EVENTS}",
            f"UPDATE audit_head SET sequence = {EVENTS}, seal = '{seal}',"
            f" hash = (SELECT hash FROM audit_events WHERE sequence = {EVENTS})",
        )
        assert log.kinds() == {"truncated"}

    def test_a_forged_checkpoint_is_found(self, log: Log, tmp_path: Path) -> None:
        line = {"sequence": 3, "hash": "0" * 64, "seal": "0" * 64}
        (tmp_path / "checkpoints.jsonl").write_text(json.dumps(line) + "\n")
        assert log.kinds() == {"checkpoint_mismatch"}

    def test_a_chain_made_anew_with_another_key_is_found(self, log: Log) -> None:
        assert not AuditVerifier(log.database, AuditChain(b"x" * 32), log.checkpoints).verify().verified


class TestTheDatabaseItself:
    def test_that_no_longer_protects_the_log_is_found(self, log: Log) -> None:
        log.tamper()
        found = log.verifier.verify()
        assert not found.verified
        assert {finding.kind for finding in found.findings} == {"unprotected"}

    @pytest.mark.parametrize(
        "statement", ["UPDATE audit_events SET action = 'x'", "DELETE FROM audit_events WHERE sequence = 1"]
    )
    def test_refuses_to_change_the_log(self, log: Log, statement: str) -> None:
        with pytest.raises(DBAPIError, match="append-only"), log.database.engine.begin() as connection:
            connection.execute(text(statement))


class TestATransaction:
    def test_that_rolls_back_leaves_no_event(self, log: Log) -> None:
        def fails() -> None:
            with log.factory.begin(Actor.system("test")) as work:
                work.record("thing.change", "thing", "t")
                work.emit("topic", {})
                raise RuntimeError

        _raises(fails)
        with log.database.read() as session:
            assert session.execute(text("SELECT count(*) FROM outbox")).scalar_one() == 0
        assert log.verifier.verify().events == EVENTS


def _raises(action: Callable[[], None]) -> None:
    with pytest.raises(RuntimeError):
        action()

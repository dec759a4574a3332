"""Delivery to real receivers, on both databases: at least once, in order within a run, harming nobody."""

import json
import signal
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from ml_platform.integrations.openlineage import FileReceiver, HttpReceiver
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.ids import new_id
from ml_platform.server import schema
from ml_platform.services.lineage import EventDelivery, EventReceiver, waiting_events
from ml_platform.services.lineage.facets import run_id
from ml_platform.services.lineage.tables import LineageEventRow
from tests.support.crash import Script, eventually
from tests.support.openlineage import Receiver, receiving

PROGRAM = Path(__file__).parent / "crash_program.py"
ONE, TWO = run_id("job_one"), run_id("job_two")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'platform.db'}"
        return
    with request.getfixturevalue("postgres_server").fresh_database() as found:
        yield found


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    made = Database(url)
    schema.upgrade(made, lock_file=tmp_path / "migrate.lock")
    yield made
    made.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def http(receiver: Receiver) -> Iterator[HttpReceiver]:
    made = HttpReceiver(receiver.url)
    yield made
    made.close()


def tell(database: Database, *events: tuple[str, str], receiver: str = "http") -> None:
    """Has events wait, as a change would: (run, type)."""
    with database.write() as session:
        for run, kind in events:
            now = utc_now()
            session.add(
                LineageEventRow(
                    id=new_id("lev"),
                    receiver=receiver,
                    run_id=run,
                    event={"eventType": kind, "run": {"runId": run}},
                    created_at=now,
                    not_before=now,
                    attempts=0,
                )
            )


def waiting(database: Database) -> dict[str, int]:
    with database.read() as session:
        return waiting_events(session)


def delivered(database: Database, receiver: EventReceiver) -> int:
    return EventDelivery(database, receiver).deliver_due()


class TestDelivering:
    def test_sends_what_waits_once_in_order(
        self, database: Database, receiver: Receiver, http: HttpReceiver
    ) -> None:
        runs = [run_id(f"job_{number}") for number in range(120)]
        tell(database, *((run, kind) for run in runs for kind in ("START", "COMPLETE")))
        assert delivered(database, http) == 240
        assert [event["run"]["runId"] for event in receiver.events] == [r for run in runs for r in (run, run)]
        assert all(receiver.of_run(run) == ["START", "COMPLETE"] for run in runs)
        assert (waiting(database), delivered(database, http)) == ({}, 0)

    def test_the_thread_sends_what_comes(
        self, database: Database, receiver: Receiver, http: HttpReceiver
    ) -> None:
        delivery = EventDelivery(database, http, interval=0.02)
        delivery.start()
        try:
            tell(database, (ONE, "START"))
            eventually(lambda: receiver.of_run(ONE) == ["START"], what="the event")
            tell(database, (ONE, "COMPLETE"))
            eventually(lambda: receiver.of_run(ONE) == ["START", "COMPLETE"], what="the next event")
        finally:
            delivery.stop()

    def test_the_token_is_read_anew(self, database: Database, receiver: Receiver, tmp_path: Path) -> None:
        token = tmp_path / "token"
        http = HttpReceiver(receiver.url, token)
        tell(database, (ONE, "START"))
        assert delivered(database, http) == 0, "without its file nothing is sent, and nothing is lost"
        for value in ("first", "second"):
            token.write_text(f"{value}\n")
            assert delivered(database, http) == 1
            tell(database, (ONE, "OTHER"))
        assert receiver.tokens == {"Bearer first", "Bearer second"}
        http.close()

    @pytest.mark.parametrize("address", ["ftp://host/x", "http://", "nothing", "file:///etc/passwd"])
    def test_other_addresses_are_refused(self, address: str) -> None:
        with pytest.raises(ValueError, match="openlineage_url"):
            HttpReceiver(address)


class TestAReceiverThatIsAway:
    @pytest.mark.parametrize("status", [500, 503, 429, 401, 404, 302])
    def test_loses_nothing(
        self, database: Database, receiver: Receiver, http: HttpReceiver, status: int
    ) -> None:
        receiver.status = lambda _event: status
        tell(database, (ONE, "START"), (TWO, "START"), (ONE, "COMPLETE"))
        assert delivered(database, http) == 0
        assert receiver.asked == 1, "it is not asked for each event"
        receiver.status = lambda _event: 200
        assert delivered(database, http) == 3
        assert receiver.of_run(ONE) == ["START", "COMPLETE"]

    def test_is_asked_after_ever_longer_pauses(
        self, database: Database, receiver: Receiver, http: HttpReceiver
    ) -> None:
        receiver.status = lambda _event: 503
        now = [utc_now()]
        delivery = EventDelivery(database, http, clock=lambda: now[0])
        tell(database, (ONE, "START"))
        now[0] += timedelta(seconds=1)
        asked = []
        for _ in range(3600):
            before = receiver.asked
            delivery.deliver_due()
            if receiver.asked > before:
                asked.append(now[0])
            now[0] += timedelta(seconds=1)
        pauses = [(b - a).total_seconds() for a, b in pairwise(asked)]
        assert pauses == sorted(pauses)
        assert pauses[-1] == 300
        receiver.status = lambda _event: 200
        now[0] += timedelta(seconds=300)
        assert delivery.deliver_due() == 1

    def test_that_nobody_listens_at_is_no_different(self, database: Database) -> None:
        with receiving() as gone:
            pass
        http = HttpReceiver(gone.url)
        tell(database, (ONE, "START"))
        assert delivered(database, http) == 0
        assert waiting(database) == {"http": 1}
        with database.read() as session:
            [row] = session.scalars(select(LineageEventRow)).all()
        assert row.attempts == 1
        assert row.last_error is not None
        assert row.last_error.startswith("ConnectError")
        http.close()


class TestAnEventThatIsRefused:
    def test_holds_back_its_own_run_alone(
        self, database: Database, receiver: Receiver, http: HttpReceiver
    ) -> None:
        refused = [ONE]
        receiver.status = lambda event: 422 if event["run"]["runId"] in refused else 200
        tell(database, (ONE, "START"), (TWO, "START"), (ONE, "COMPLETE"), (TWO, "COMPLETE"))
        assert delivered(database, http) == 2
        assert (receiver.of_run(ONE), receiver.of_run(TWO)) == ([], ["START", "COMPLETE"])
        refused.clear()
        later = EventDelivery(database, http, clock=lambda: utc_now() + timedelta(minutes=10))
        assert later.deliver_due() == 2
        assert receiver.of_run(ONE) == ["START", "COMPLETE"]


class TestKilledBetweenCommitAndDelivery:
    @pytest.mark.parametrize(("moment", "times"), [("before", 1), ("after", 2)])
    def test_every_event_arrives(
        self,
        database: Database,
        url: str,
        receiver: Receiver,
        http: HttpReceiver,
        moment: str,
        times: int,
    ) -> None:
        """`after`: it had arrived, which nobody could write down any more."""
        died = Script(PROGRAM, (url, receiver.url, moment, ONE)).run()
        assert died.returncode == -signal.SIGKILL, died.output
        assert waiting(database) == {"http": 2}
        assert delivered(database, http) == 2
        assert receiver.of_run(ONE) == ["START"] * times + ["COMPLETE"]
        assert waiting(database) == {}


@pytest.mark.postgres
class TestTwoProcesses:
    @pytest.mark.parametrize("url", ["postgres"], indirect=True)
    def test_do_not_deliver_at_once(self, database: Database, receiver: Receiver, http: HttpReceiver) -> None:
        second = EventDelivery(database, http)
        meanwhile: list[int] = []

        def status(_event: dict[str, Any]) -> int:
            meanwhile.append(second.deliver_due())
            return 200

        receiver.status = status
        tell(database, (ONE, "START"), (ONE, "COMPLETE"))
        assert delivered(database, http) == 2
        assert meanwhile == [0, 0]
        assert receiver.of_run(ONE) == ["START", "COMPLETE"]


class TestAFile:
    def test_gets_a_line_for_each_event(self, database: Database, tmp_path: Path) -> None:
        path = tmp_path / "folder" / "events.jsonl"
        tell(database, (ONE, "START"), (ONE, "COMPLETE"), receiver="file")
        assert delivered(database, FileReceiver(path)) == 2
        assert [json.loads(line)["eventType"] for line in path.read_text().splitlines()] == [
            "START",
            "COMPLETE",
        ]

    def test_half_a_line_of_a_crash_spoils_no_other(self, database: Database, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text('{"eventType":"STA')
        tell(database, (ONE, "START"), receiver="file")
        assert delivered(database, FileReceiver(path)) == 1
        lines = path.read_text().splitlines()
        assert (len(lines), json.loads(lines[1])["eventType"]) == (2, "START")

    def test_that_cannot_be_written_loses_nothing(self, database: Database, tmp_path: Path) -> None:
        tell(database, (ONE, "START"), receiver="file")
        assert delivered(database, FileReceiver(tmp_path)) == 0
        assert waiting(database) == {"file": 1}

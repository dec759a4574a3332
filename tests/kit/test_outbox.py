"""The outbox: with the transaction or not at all, at least once, in order, and patient."""

import os
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from ml_platform.kit import outbox
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Base, Database
from ml_platform.kit.outbox import OutboxRelay, OutboxRow
from tests.support.crash import eventually


class Clock:
    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Receiver:
    """Takes notes; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.got: list[Any] = []
        self.ids: list[str] = []
        self.calls = 0
        self.failures = failures

    def __call__(self, entry_id: str, payload: dict[str, Any]) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError("away")
        self.ids.append(entry_id)
        self.got.append(payload["n"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


def send(database: Database, clock: Clock, *numbers: int, topic: str = "t") -> list[str]:
    with database.write() as session:
        return [outbox.enqueue(session, topic, {"n": number}, now=clock()) for number in numbers]


class TestDelivery:
    def test_is_in_the_order_of_sending(self, database: Database, clock: Clock) -> None:
        relay, receiver = OutboxRelay(database, clock=clock), Receiver()
        relay.on("t", receiver)
        ids = send(database, clock, 1, 2, 3) + send(database, clock, 4)
        assert relay.deliver_due() == 4
        assert (receiver.got, receiver.ids) == ([1, 2, 3, 4], ids)
        assert relay.deliver_due() == 0

    def test_is_of_nothing_that_was_rolled_back(self, database: Database, clock: Clock) -> None:
        relay, receiver = OutboxRelay(database, clock=clock), Receiver()
        relay.on("t", receiver)
        with pytest.raises(RuntimeError), database.write() as session:
            outbox.enqueue(session, "t", {"n": 1}, now=clock())
            session.flush()
            raise RuntimeError
        assert relay.deliver_due() == 0

    def test_waits_for_a_handler(self, database: Database, clock: Clock) -> None:
        relay, receiver = OutboxRelay(database, clock=clock), Receiver()
        send(database, clock, 1)
        relay.on("another", receiver)
        assert relay.deliver_due() == 0
        relay.on("t", receiver)
        assert relay.deliver_due() == 1

    def test_of_more_than_one_batch_leaves_nothing(self, database: Database, clock: Clock) -> None:
        relay, receiver = OutboxRelay(database, clock=clock), Receiver()
        relay.on("t", receiver)
        send(database, clock, *range(250))
        while relay.deliver_due():
            pass
        assert receiver.got == list(range(250))


class TestAFailingHandler:
    def test_is_asked_again_later_and_later(self, database: Database, clock: Clock) -> None:
        relay, receiver = OutboxRelay(database, clock=clock), Receiver(failures=4)
        relay.on("t", receiver)
        send(database, clock, 1)
        waits = []
        for _ in range(4):
            relay.deliver_due()
            with database.read() as session:
                row = session.query(OutboxRow).one()
                waits.append((row.not_before - clock()).total_seconds())
            calls = receiver.calls
            clock.forward(waits[-1] - 0.01)
            assert (relay.deliver_due(), receiver.calls) == (0, calls)
            clock.forward(0.02)
        assert waits == pytest.approx([0.5, 1, 2, 4])
        assert (relay.deliver_due(), receiver.got) == (1, [1])

    def test_is_never_waited_for_longer_than_five_minutes(self, database: Database, clock: Clock) -> None:
        relay, receiver = OutboxRelay(database, clock=clock), Receiver(failures=30)
        relay.on("t", receiver)
        send(database, clock, 1)
        for _ in range(30):
            relay.deliver_due()
            clock.forward(301)
        assert relay.deliver_due() == 1

    def test_does_not_hold_up_what_was_sent_after_it(self, database: Database, clock: Clock) -> None:
        relay, receiver = OutboxRelay(database, clock=clock), Receiver(failures=1)
        relay.on("t", receiver)
        send(database, clock, 1, 2, 3)
        relay.deliver_due()
        assert receiver.got == [2, 3]
        clock.forward(10)
        relay.deliver_due()
        assert receiver.got == [2, 3, 1]

    def test_does_not_hold_up_other_topics(self, database: Database, clock: Clock) -> None:
        relay, broken, fine = OutboxRelay(database, clock=clock), Receiver(failures=99), Receiver()
        relay.on("t", broken)
        relay.on("u", fine)
        send(database, clock, *range(150))
        send(database, clock, 7, topic="u")
        relay.deliver_due()
        relay.deliver_due()
        assert fine.got == [7]


def _die(url: str, place: str, effects: Path) -> None:
    database = Database(url)
    relay = OutboxRelay(database)

    def handler(entry_id: str, payload: dict[str, Any]) -> None:
        del payload
        if place == "before":
            os._exit(9)
        with effects.open("a") as file:
            file.write(entry_id + "\n")
        os._exit(9)

    relay.on("t", handler)
    with database.write() as session:
        outbox.enqueue(session, "t", {"n": 1}, now=utc_now())
    if place == "commit":
        os._exit(9)
    relay.deliver_due()


class TestAKilledProcess:
    @pytest.mark.parametrize("place", ["commit", "before", "after"])
    def test_loses_nothing(self, database_url: str, tmp_path: Path, place: str) -> None:
        database = Database(database_url)
        Base.metadata.create_all(database.engine)
        process = get_context("spawn").Process(target=_die, args=(database_url, place, tmp_path / "effects"))
        process.start()
        process.join(60)
        assert process.exitcode == 9
        relay, receiver = OutboxRelay(database), Receiver()
        relay.on("t", receiver)
        assert (relay.deliver_due(), receiver.got) == (1, [1])
        if place == "after":  # at least once: the id is what the effect is known by
            assert (tmp_path / "effects").read_text().split() == receiver.ids
        database.close()


class TestTheRelaysThread:
    def test_delivers_when_nudged_and_outlives_a_database_that_is_away(
        self, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        relay, receiver = OutboxRelay(database, clock=clock, interval=0.01), Receiver()
        relay.on("t", receiver)
        reads = database.read
        monkeypatch.setattr(database, "read", lambda: (_ for _ in ()).throw(ConnectionError("away")))
        relay.start()
        try:
            send(database, clock, 1)
            relay.nudge()
            monkeypatch.setattr(database, "read", reads)
            eventually(lambda: receiver.got == [1], what="delivery")
        finally:
            relay.stop()

"""Idempotency keys: one effect for each key, whatever dies or races."""

import threading
from datetime import timedelta

import pytest

from ml_platform.kit import idempotency
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.errors import ConflictError
from ml_platform.kit.idempotency import KEPT, LEASE

NOW = utc_now()


class TestAKey:
    def test_is_claimed_once(self, database: Database) -> None:
        assert idempotency.begin(database, "k", "f", NOW) is None
        known = idempotency.begin(database, "k", "f", NOW)
        assert known is not None
        assert known.state == "started"

    def test_keeps_the_answer(self, database: Database) -> None:
        idempotency.begin(database, "k", "f", NOW)
        idempotency.keep_answer(database, "k", {"status": 201})
        known = idempotency.begin(database, "k", "f", NOW)
        assert known is not None
        assert (known.state, known.answer) == ("answered", {"status": 201})

    def test_is_free_again_after_a_refusal(self, database: Database) -> None:
        idempotency.begin(database, "k", "f", NOW)
        idempotency.forget(database, "k")
        assert idempotency.begin(database, "k", "g", NOW) is None

    def test_is_never_freed_once_its_effect_happened(self, database: Database) -> None:
        idempotency.begin(database, "k", "f", NOW)
        with database.write() as session:
            idempotency.mark_committed(session, "k")
        idempotency.forget(database, "k")
        known = idempotency.begin(database, "k", "f", NOW + LEASE * 2)
        assert known is not None
        assert known.state == "committed"

    def test_is_forgotten_after_two_days(self, database: Database) -> None:
        idempotency.begin(database, "k", "f", NOW)
        idempotency.keep_answer(database, "k", {})
        assert idempotency.begin(database, "k", "f", NOW + KEPT + timedelta(seconds=1)) is None

    def test_of_one_who_died_before_the_effect_can_be_claimed_again(self, database: Database) -> None:
        idempotency.begin(database, "k", "f", NOW)
        assert idempotency.begin(database, "k", "f", NOW + LEASE - timedelta(seconds=1)) is not None
        assert idempotency.begin(database, "k", "f", NOW + LEASE + timedelta(seconds=1)) is None

    def test_gives_one_effect_also_when_its_first_holder_was_only_slow(self, database: Database) -> None:
        idempotency.begin(database, "k", "f", NOW)
        idempotency.begin(database, "k", "f", NOW + LEASE * 2)
        with database.write() as session:
            idempotency.mark_committed(session, "k")
        with pytest.raises(ConflictError), database.write() as session:
            idempotency.mark_committed(session, "k")

    def test_that_is_lost_gives_no_effect(self, database: Database) -> None:
        with pytest.raises(ConflictError), database.write() as session:
            idempotency.mark_committed(session, "nobody claimed this")

    def test_that_was_under_way_is_free_when_the_only_process_starts_anew(self, database: Database) -> None:
        idempotency.begin(database, "died", "f", NOW)
        idempotency.begin(database, "done", "f", NOW)
        idempotency.keep_answer(database, "done", {})
        idempotency.free_abandoned(database)
        assert idempotency.begin(database, "died", "f", NOW) is None
        assert idempotency.begin(database, "done", "f", NOW) is not None


class TestARace:
    def test_has_one_winner_each_time(self, database: Database) -> None:
        for round_ in range(5):
            answers = []
            barrier = threading.Barrier(8)

            def claim(key: str = f"k{round_}", answers: list = answers, barrier=barrier) -> None:
                barrier.wait()
                answers.append(idempotency.begin(database, key, "f", NOW))

            threads = [threading.Thread(target=claim) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert len(answers) == 8
            assert answers.count(None) == 1

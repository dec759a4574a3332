"""A store that hangs holds up its own threads, and after a few time-outs nobody waits for it."""

import asyncio
import threading

from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.featurestores.gate import (
    FAILURES,
    FIRST_PAUSE,
    THREADS,
    StoreBreaker,
    StoreGates,
    StoreThreads,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> StoreBreaker:
    breaker = StoreBreaker(clock)
    for _ in range(FAILURES):
        clock.now += 0.05
        breaker.timed_out(clock.now)
    return breaker


class TestBreaker:
    def test_opens_after_some_time_outs_in_a_row(self):
        clock = Clock()
        breaker = StoreBreaker(clock)
        for _ in range(FAILURES - 1):
            clock.now += 0.05
            breaker.timed_out(clock.now)
        assert breaker.admits()
        clock.now += 0.05
        breaker.timed_out(clock.now)
        assert (breaker.state, breaker.admits()) == ("open", False)

    def test_counts_those_that_waited_together_once(self):
        clock = Clock()
        breaker = StoreBreaker(clock)
        arrived = clock.now
        clock.now += 0.05
        for _ in range(FAILURES * 3):
            breaker.timed_out(arrived)
        assert breaker.state == "closed"

    def test_forgets_time_outs_that_are_followed_by_an_answer(self):
        clock = Clock()
        breaker = StoreBreaker(clock)
        for _ in range(FAILURES * 3):
            clock.now += 0.05
            breaker.timed_out(clock.now)
            breaker.answered()
        assert breaker.state == "closed"

    def test_lets_one_try_after_a_pause(self):
        clock = Clock()
        breaker = opened(clock)
        clock.now += FIRST_PAUSE
        assert [breaker.admits() for _ in range(3)] == [True, False, False]
        breaker.answered()
        assert [breaker.admits() for _ in range(3)] == [True, True, True]

    def test_waits_longer_after_each_trial_that_fails(self):
        clock = Clock()
        breaker = opened(clock)
        clock.now += FIRST_PAUSE
        assert breaker.admits()
        breaker.timed_out(clock.now)
        clock.now += FIRST_PAUSE
        assert not breaker.admits()
        clock.now += FIRST_PAUSE
        assert breaker.admits()

    def test_tries_again_when_nobody_tells_how_the_trial_went(self):
        clock = Clock()
        breaker = opened(clock)
        clock.now += FIRST_PAUSE
        assert breaker.admits()
        clock.now += FIRST_PAUSE
        assert breaker.admits()


class TestThreads:
    def test_are_as_many_as_allowed_and_do_everything(self):
        async def run() -> set[str]:
            threads = StoreThreads(THREADS, "test")
            names = await asyncio.gather(
                *(threads.submit(lambda: threading.current_thread().name) for _ in range(50))
            )
            threads.stop()
            return set(names)

        before = threading.active_count()
        assert asyncio.run(run()) == {"test"}
        assert threading.active_count() <= before + THREADS

    def test_that_hang_are_not_taken_for_idle_ones_once_their_caller_has_gone(self):
        async def run() -> int:
            stuck = threading.Event()
            threads = StoreThreads(THREADS, "test")
            hanging = threads.submit(stuck.wait)
            await asyncio.sleep(0)
            hanging.cancel()
            try:
                return await asyncio.wait_for(threads.submit(lambda: 5), 30)
            finally:
                stuck.set()
                threads.stop()

        assert asyncio.run(run()) == 5

    def test_hand_on_what_was_raised(self):
        async def run() -> str:
            threads = StoreThreads(THREADS, "test")
            try:
                await threads.submit(lambda: 1 / 0)
            except ZeroDivisionError as error:
                return str(error)
            finally:
                threads.stop()
            return "nothing was raised"

        assert asyncio.run(run()) == "division by zero"


class TestGates:
    def test_are_one_for_each_file(self):
        gates = StoreGates()
        one, again, other = (
            gates.of(FeatureStore(team=team, project="shop", path=path))
            for team, path in (("a", "/a.db"), ("b", "/a.db"), ("c", "/c.db"))
        )
        assert one is again
        assert one is not other

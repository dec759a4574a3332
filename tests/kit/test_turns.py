"""Turns come in the order in which they were asked for, and nobody's turn is lost."""

import threading
import time

from ml_platform.kit.turns import Turns


class TestTake:
    def test_those_who_wait_are_served_in_order(self):
        turns, served, threads = Turns(), [], []
        assert turns.take(0)

        def serve(number: int) -> None:
            assert turns.take(10)
            served.append(number)
            turns.give()

        for number in range(20):
            threads.append(threading.Thread(target=serve, args=(number,)))
            threads[-1].start()
            until = time.monotonic() + 5
            while len(turns._waiting) <= number and time.monotonic() < until:
                time.sleep(0.001)
        turns.give()
        for thread in threads:
            thread.join(10)
        assert served == list(range(20))
        assert turns.take(0)

    def test_who_gives_up_does_not_stop_the_queue(self):
        turns = Turns()
        assert turns.take(0)
        assert not turns.take(0.01)
        turns.give()
        assert turns.take(0)

    def test_one_at_a_time_under_load(self):
        turns, inside, worst = Turns(), [0], [0]

        def work() -> None:
            for _ in range(200):
                assert turns.take(10)
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
                inside[0] -= 1
                turns.give()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert worst == [1]

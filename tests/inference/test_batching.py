"""The batcher by itself, with a runtime that records the batches it is given."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ml_platform.inference.batching import Batcher
from ml_platform.inference.errors import DeadlineExceeded, ModelFailed, Unavailable
from ml_platform.inference.runtimes.base import PLAIN, Manner


class Recorder:
    """Doubles numbers; fails on "bad"; beside the loop it waits until it is let go."""

    columns = ()

    def __init__(self, inline_rows: int) -> None:
        self.inline_rows = inline_rows
        self.batches: list[list[Any]] = []
        self.manners: list[Manner] = []
        self.gate = asyncio.Event()
        self.closed = False

    def predict(self, rows):
        self.batches.append([row[0] for row in rows])
        if any(row[0] == "bad" for row in rows):
            raise ModelFailed("bad row")
        return [row[0] * 2 for row in rows]

    async def predict_apart(self, rows, manner=PLAIN):
        self.manners.append(manner)
        await self.gate.wait()
        return self.predict(rows)

    def refusal(self, busy: bool) -> None:
        return None

    async def close(self) -> None:
        self.closed = True


def rows(*values: Any) -> list[tuple[Any]]:
    return [(value,) for value in values]


def scenario(inline_rows: int, timeout: float = 5.0, max_queued: int = 8, max_batch: int = 4):
    """Runs an async test with a recorder and its batcher on a fresh loop."""

    def wrap(test: Callable[..., Coroutine[Any, Any, None]]):
        def run(self) -> None:
            async def main() -> None:
                recorder = Recorder(inline_rows)
                batcher = Batcher(
                    recorder, max_queued_rows=max_queued, max_batch_rows=max_batch, timeout=timeout
                )
                await test(self, recorder, batcher)

            asyncio.run(main())

        return run

    return wrap


class TestInline:
    @scenario(inline_rows=8)
    async def test_requests_of_one_turn_share_a_batch(self, recorder, batcher):
        answers = await asyncio.gather(*(batcher.submit(rows(i)) for i in range(5)))
        assert answers == [[0], [2], [4], [6], [8]]
        assert recorder.batches == [[0, 1, 2, 3, 4]]

    @scenario(inline_rows=8)
    async def test_a_bad_request_fails_alone(self, recorder, batcher):
        answers = await asyncio.gather(
            *(batcher.submit(rows(v)) for v in (1, "bad", 3)), return_exceptions=True
        )
        assert answers[0] == [2]
        assert isinstance(answers[1], ModelFailed)
        assert answers[2] == [6]

    @scenario(inline_rows=8)
    async def test_a_cancelled_caller_leaves_its_batch_mates_whole(self, recorder, batcher):
        first, second = batcher.submit(rows(1)), batcher.submit(rows(2))
        first.cancel()
        assert await second == [4]


class TestApart:
    @scenario(inline_rows=0)
    async def test_what_waits_when_the_model_becomes_free_is_one_batch(self, recorder, batcher):
        first = batcher.submit(rows(1))
        await asyncio.sleep(0)
        others = [batcher.submit(rows(i)) for i in (2, 3)]
        recorder.gate.set()
        assert await asyncio.gather(first, *others) == [[2], [4], [6]]
        assert recorder.batches == [[1], [2, 3]]

    @scenario(inline_rows=0)
    async def test_calls_of_another_manner_are_another_batch_and_keep_their_places(self, recorder, batcher):
        first = batcher.submit(rows(1))
        await asyncio.sleep(0)
        one, two = Manner('{"a":1}'), Manner('{"a":2}')
        others = [
            batcher.submit(rows(i), None, manner) for i, manner in enumerate((one, two, one, PLAIN, two))
        ]
        recorder.gate.set()
        assert await asyncio.gather(first, *others) == [[2], [0], [2], [4], [6], [8]]
        assert recorder.batches == [[1], [0, 2], [1, 4], [3]]
        assert recorder.manners == [PLAIN, one, two, PLAIN]

    @scenario(inline_rows=0)
    async def test_batches_stay_within_their_bound(self, recorder, batcher):
        futures = [batcher.submit(rows(i, i, i)) for i in range(2)]
        recorder.gate.set()
        await asyncio.gather(*futures)
        assert recorder.batches == [[0, 0, 0], [1, 1, 1]]

    @scenario(inline_rows=0)
    async def test_a_full_queue_sheds_with_a_time_to_retry(self, recorder, batcher):
        waiting = [batcher.submit(rows(*range(4))) for _ in range(2)]
        with pytest.raises(Unavailable) as refused:
            batcher.submit(rows(9))
        assert refused.value.retry_after == 1
        recorder.gate.set()
        await asyncio.gather(*waiting)
        assert await batcher.submit(rows(9)) == [18]

    @scenario(inline_rows=0, timeout=0.1)
    async def test_a_deadline_ends_the_wait_and_frees_the_queue(self, recorder, batcher):
        waiting = [batcher.submit(rows(*range(4))) for _ in range(2)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [DeadlineExceeded] * 2
        recorder.gate.set()
        assert await batcher.submit(rows(9)) == [18]
        assert [9] in recorder.batches

    @scenario(inline_rows=0)
    async def test_a_bad_request_fails_alone(self, recorder, batcher):
        recorder.gate.set()
        answers = await asyncio.gather(
            *(batcher.submit(rows(v)) for v in (1, "bad", 3)), return_exceptions=True
        )
        assert [answers[0], answers[2]] == [[2], [6]]
        assert isinstance(answers[1], ModelFailed)

    @scenario(inline_rows=2)
    async def test_small_requests_pass_a_large_one(self, recorder, batcher):
        large = batcher.submit(rows(1, 2, 3))
        await asyncio.sleep(0)
        assert await batcher.submit(rows(5)) == [10]
        recorder.gate.set()
        assert await large == [2, 4, 6]

    @scenario(inline_rows=0)
    async def test_close_lets_the_running_batch_end(self, recorder, batcher):
        answer = batcher.submit(rows(1))
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.01)
        assert not recorder.closed
        recorder.gate.set()
        assert await answer == [2]
        await closing
        assert recorder.closed

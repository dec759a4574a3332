"""Counting: buckets of latency, percentiles, windows."""

import itertools
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_platform.inference.aggregate import TrafficAggregate, percentile
from ml_platform.inference.channel import TrafficDelta
from ml_platform.inference.traffic import Tally, bucket_bounds, bucket_of


def delta(tally: Tally, revision_id: str = "rev-1") -> TrafficDelta:
    return TrafficDelta(
        team="acme",
        environment="production",
        endpoint="churn",
        revision_id=revision_id,
        model_name="churn",
        model_version="1",
        **{name: getattr(tally, name) for name in Tally.__slots__},
    )


class TestBuckets:
    @given(microseconds=st.integers(min_value=0, max_value=10**12))
    def test_hold_their_numbers_and_are_narrow(self, microseconds):
        low, high = bucket_bounds(bucket_of(microseconds))
        assert low <= microseconds < high
        assert high - low <= max(1, low / 8)

    def test_join_without_gap_or_overlap(self):
        bounds = [bucket_bounds(bucket) for bucket in range(300)]
        assert bounds[0][0] == 0
        assert all(left[1] == right[0] for left, right in itertools.pairwise(bounds))


class TestPercentile:
    @given(
        values=st.lists(st.integers(min_value=1, max_value=10**7), min_size=1), quantile=st.floats(0.01, 1)
    )
    def test_is_within_its_bucket_of_the_true_one(self, values, quantile):
        tally = Tally()
        for value in values:
            tally.add(200, 1, value)
        ordered = sorted(values)
        rank = next(i for i in range(len(ordered)) if i + 1 >= quantile * len(ordered))
        assert percentile(tally.latencies, quantile) == pytest.approx(
            ordered[rank] / 1000, rel=0.07, abs=0.001
        )

    def test_of_nothing_is_none(self):
        assert percentile({}, 0.5) is None


class TestAggregate:
    def test_adds_workers_up_and_tells_errors_from_bad_input(self):
        aggregate = TrafficAggregate()
        for _ in range(2):
            tally = Tally()
            for status in (200, 200, 400, 503):
                tally.add(status, 3, 1000)
            aggregate.add([delta(tally)], None)
        (found,) = aggregate.metrics(60).revisions
        assert (found.requests, found.predictions, found.errors, found.client_errors) == (8, 12, 2, 2)
        assert found.error_rate == 0.25

    def test_forgets_what_lies_before_the_window(self, monkeypatch):
        aggregate = TrafficAggregate()
        now = time.time()
        for ago in (500, 30, 0):
            monkeypatch.setattr(time, "time", lambda ago=ago: now - ago)
            tally = Tally()
            tally.add(200, 1, 1000)
            aggregate.add([delta(tally)], None)
        assert [aggregate.metrics(w).revisions[0].requests for w in (10, 60, 600, 86_400)] == [1, 2, 3, 3]

    def test_tells_the_same_percentiles_of_spans_that_are_over(self, monkeypatch):
        """Those are kept packed, by second, by minute and by ten minutes."""
        aggregate, every, now = TrafficAggregate(), Tally(), time.time()
        for number in range(300):
            monkeypatch.setattr(time, "time", lambda ago=85_000 - 280 * number: now - ago)
            tally = Tally()
            for each in (tally, every):
                each.add(200, 1, 100 + 37 * number)
            aggregate.add([delta(tally)], None)
        monkeypatch.setattr(time, "time", lambda: now)
        [found] = aggregate.metrics(86_400).revisions
        assert found.requests == 300
        assert found.latency_ms_p50 == percentile(every.latencies, 0.5)
        assert found.latency_ms_p99 == percentile(every.latencies, 0.99)

    def test_a_busy_day_of_a_revision_takes_less_than_two_megabytes(self, monkeypatch):
        aggregate, now = TrafficAggregate(), time.time()
        tally = Tally()
        for microseconds in range(100, 20_000, 50):
            tally.add(200, 1, microseconds)
        busy = delta(tally)
        tracemalloc.start()
        try:
            for second in range(0, 86_400, 60):
                monkeypatch.setattr(time, "time", lambda ago=86_400 - second: now - ago)
                aggregate.add([busy], None)
            for second in range(600):
                monkeypatch.setattr(time, "time", lambda ago=600 - second: now - ago)
                aggregate.add([busy], None)
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken < 2 * 2**20

    def test_keeps_no_seconds_of_a_revision_that_left_and_its_minutes_for_a_day(self, monkeypatch):
        aggregate = TrafficAggregate()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 700)
        tally = Tally()
        tally.add(200, 1, 1000)
        aggregate.add([delta(tally)], None)
        monkeypatch.setattr(time, "time", lambda: now)
        aggregate.forget(set())
        [history] = aggregate.revisions.values()
        assert [len(slots) for slots in history.tiers] == [0, 1, 1]
        assert aggregate.metrics(3600).revisions[0].requests == 1
        monkeypatch.setattr(time, "time", lambda: now + 86_400)
        aggregate.forget(set())
        assert not aggregate.revisions

"""Which requests are traced, and what is noted of a batch."""

import asyncio

import pytest

from ml_platform.inference.batching import Batcher
from ml_platform.inference.settings import Settings
from ml_platform.inference.traces.trace import Trace, parent_of
from ml_platform.inference.traces.tracer import BATCH, Tracer
from tests.inference.test_batching import Recorder, rows

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECOND = 1_000_000_000
PATH = "/v1/models/churn:predict"


def tracer(**settings: object) -> Tracer:
    return Tracer(Settings(traces_endpoint="http://127.0.0.1:9", **settings), lambda _: None)


def headers(traceparent: str, tracestate: str | None = None) -> dict[bytes, bytes]:
    found = {b"traceparent": traceparent.encode("latin-1")}
    return found if tracestate is None else found | {b"tracestate": tracestate.encode("latin-1")}


SAMPLED, UNSAMPLED = headers(f"00-{TRACE}-{SPAN}-01"), headers(f"00-{TRACE}-{SPAN}-00")


class TestParents:
    @pytest.mark.parametrize(
        ("given", "sampled"),
        [
            (f"00-{TRACE}-{SPAN}-01", True),
            (f"00-{TRACE}-{SPAN}-03", True),
            (f"00-{TRACE}-{SPAN}-00", False),
            (f"00-{TRACE}-{SPAN}-fe", False),
            (f"cc-{TRACE}-{SPAN}-01", True),
            (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be", True),
        ],
    )
    def test_are_read_as_the_recommendation_says(self, given, sampled):
        parent = parent_of(headers(given))
        assert parent is not None
        assert (parent.trace_id, parent.span_id, parent.sampled) == (TRACE, SPAN, sampled)

    @pytest.mark.parametrize(
        "given",
        [
            "",
            "nonsense",
            f"00-{TRACE}-{SPAN}",
            f"00-{TRACE}-{SPAN}-01-more",
            f"00-{TRACE}-{SPAN}-1",
            f"00-{TRACE}-{SPAN}-0x",
            f"00-{TRACE.upper()}-{SPAN}-01",
            f"00-{TRACE[1:]}-{SPAN}-01",
            f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"ff-{TRACE}-{SPAN}-01",
            f" 00-{TRACE}-{SPAN}-01",
            f"cc-{TRACE}-{SPAN}-01.more",
            f"00-{TRACE}-{SPAN}-01\n",
            "\xe9" * 55,
        ],
    )
    def test_that_are_malformed_are_none(self, given):
        assert parent_of(headers(given)) is None

    def test_keep_their_state_where_it_is_fit_to_be_passed_on(self):
        found = [
            parent_of(headers(f"00-{TRACE}-{SPAN}-01", state)) for state in ("a=b,c@d=e", "x" * 513, "a=\xe9")
        ]
        assert [parent and parent.state for parent in found] == ["a=b,c@d=e", "", ""]


class TestSampling:
    def test_a_ratio_of_nought_traces_for_sampled_callers_alone(self):
        none = tracer(traces_ratio=0.0)
        assert not any(none.begin({}, PATH, at) for at in range(1000))
        assert none.begin(UNSAMPLED, PATH, 0) is None
        trace = none.begin(SAMPLED, PATH, 0)
        assert trace is not None
        assert trace.trace_id == TRACE
        assert trace.span_id != SPAN

    def test_a_ratio_of_one_traces_all_but_for_callers_that_are_not_sampled(self):
        every = tracer(traces_ratio=1.0)
        found = [every.begin({}, PATH, at) for at in range(1000)]
        assert all(found)
        assert len({trace.trace_id for trace in found if trace}) == 1000
        assert every.begin(UNSAMPLED, PATH, 0) is None

    def test_a_ratio_between_traces_as_many(self):
        some = tracer(traces_ratio=0.25)
        found = sum(some.begin({}, PATH, at) is not None for at in range(10_000))
        assert 2_000 < found < 3_000  # 11 standard deviations

    def test_callers_need_not_be_followed(self):
        every, none = (tracer(traces_ratio=ratio, traces_follow=False) for ratio in (1.0, 0.0))
        assert every.begin(UNSAMPLED, PATH, 0) is not None
        assert none.begin(SAMPLED, PATH, 0) is None

    def test_servers_that_do_not_follow_choose_the_same_traces(self):
        """By the identifier, as OpenTelemetry's ratio does."""
        low = headers(f"00-{'f' * 16}{'0' * 15}1-{SPAN}-00")
        high = headers(f"00-{'0' * 16}{'f' * 16}-{SPAN}-01")
        for _ in range(5):
            half = tracer(traces_ratio=0.5, traces_follow=False)
            assert half.begin(low, PATH, 0) is not None
            assert half.begin(high, PATH, 0) is None

    def test_without_a_ratio_a_quiet_server_traces_all_and_a_busy_one_so_many(self):
        auto = tracer(traces_per_second=20.0)
        start = 5000 * SECOND
        quiet = [auto.begin({}, PATH, start + at * SECOND // 10) for at in range(100)]
        assert all(quiet)
        later = start + 60 * SECOND
        busy = sum(auto.begin({}, PATH, later + at * SECOND // 1000) is not None for at in range(10_000))
        assert 10 * 20 <= busy <= 11 * 20 + 1  # ten seconds, and what had been saved up

    def test_probes_are_never_traced(self):
        every = tracer(traces_ratio=1.0)
        for path in (
            "/health/live",
            "/v2/health/ready",
            "/acme/staging/v2/models/churn/ready",
            "/ping",
            "/metrics",
        ):
            assert every.begin(SAMPLED, path, 0) is None, path
        assert every.begin({}, "/models/ping/invocations", 0) is not None


class TestShipping:
    def test_is_done_in_batches_and_on_demand(self):
        shipped: list[int] = []
        every = Tracer(
            Settings(traces_endpoint="http://127.0.0.1:9", traces_ratio=1.0),
            lambda done: shipped.append(len(done)),
        )
        every.ship()
        for number in range(BATCH + 1):
            trace = every.begin({}, PATH, number)
            assert trace is not None
            every.finish(
                trace, 1000, method="POST", route="/", status=200, request_id="", rows=1, revision=None
            )
        every.ship()
        assert shipped == [BATCH, 1]


class TestBatches:
    """Stages that the queue in front of a model notes."""

    @pytest.mark.parametrize("inline_rows", [64, 0])
    def test_say_of_each_request_what_it_shared(self, inline_rows):
        async def main() -> list[Trace]:
            recorder = Recorder(inline_rows)
            recorder.gate.set()
            batcher = Batcher(recorder, max_queued_rows=64, max_batch_rows=64, timeout=20)
            traces = [Trace(TRACE, SPAN, None, PATH, 0) for _ in range(2)]
            asked = [batcher.submit(rows(1), traces[0]), batcher.submit(rows(2, 3))]
            asked.append(batcher.submit(rows(4), traces[1]))
            assert await asyncio.gather(*asked) == [[2], [4, 6], [8]]
            assert await batcher.submit(rows(5)) == [10]
            return traces

        for trace in asyncio.run(main()):
            assert [stage for stage, _ in trace.marks] == ["queue", "model", ""]
            assert [at for _, at in trace.marks] == sorted(at for _, at in trace.marks)
            assert trace.batch == (4, 3)

    @pytest.mark.parametrize("inline_rows", [64, 0])
    def test_end_with_the_model_s_stage_when_it_fails(self, inline_rows):
        async def main() -> Trace:
            recorder = Recorder(inline_rows)
            recorder.gate.set()
            batcher = Batcher(recorder, max_queued_rows=64, max_batch_rows=64, timeout=20)
            trace = Trace(TRACE, SPAN, None, PATH, 0)
            asked = [batcher.submit(rows("bad"), trace), batcher.submit(rows(1))]
            failed, answered = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(failed, Exception)
            assert answered == [2]
            return trace

        assert [stage for stage, _ in asyncio.run(main()).marks] == ["queue", "model", ""]

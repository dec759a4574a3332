"""The process that sends traces, and collectors that are slow, broken or away."""

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ml_platform.inference.settings import Settings
from ml_platform.inference.traces import exporter
from ml_platform.inference.traces.counts import TraceCounts
from tests.inference.support.collector import Collector
from tests.inference.support.control import endpoint, revision, snapshot
from tests.inference.support.load import Load
from tests.inference.support.server import eventually


class Exporter:
    """The process, with what it has told of its counts."""

    def __init__(self, url: str, **settings: object) -> None:
        given = Settings(traces_endpoint=url, **settings).to_json()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ml_platform.inference.traces.exporter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {exporter.VARIABLE: given},
        )
        self._told: deque[bytes] = deque([b"{}"], maxlen=1)
        self._reading = threading.Thread(target=lambda: self._told.extend(self.process.stdout), daemon=True)
        self._reading.start()

    @property
    def counts(self) -> TraceCounts:
        return msgspec.json.decode(self._told[-1], type=TraceCounts)

    def send(self, requests: list) -> None:
        self.process.stdin.write(msgspec.json.encode(requests) + b"\n")
        self.process.stdin.flush()

    def end(self) -> int:
        self.process.stdin.close()
        code = self.process.wait(30)
        self._reading.join(30)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)
        if not self.process.stdin.closed:
            self.process.stdin.close()
        self._reading.join(30)
        self.process.stdout.close()


@pytest.fixture
def start():
    started: list[Exporter] = []

    def make(url: str, **settings: object) -> Exporter:
        started.append(Exporter(url, **settings))
        return started[-1]

    yield make
    for each in started:
        each.close()


@pytest.fixture
def away():
    made = Collector(away=True)
    yield made
    made.stop()


class TestSending:
    def test_everything_arrives_before_it_ends(self, start, collector, make_traced):
        made = start(collector.url)
        for first in range(0, 500, 50):
            made.send([make_traced(number) for number in range(first + 1, first + 51)])
        assert made.end() == 0
        assert {span.trace_id for span in collector.roots()} == {f"{n:032x}" for n in range(1, 501)}
        assert made.counts == TraceCounts(exported=500)
        assert not collector.faults

    def test_a_busy_collector_is_asked_again(self, start, collector, make_traced):
        answers = iter([503, 429])
        collector.answer = lambda: next(answers, 200)
        made = start(collector.url)
        made.send([make_traced()])
        eventually(collector.roots, "the span")
        eventually(lambda: made.counts == TraceCounts(exported=1, failures=2), "the counts")

    def test_a_connection_that_was_closed_meanwhile_is_no_failure(self, start, collector, make_traced):
        collector.hangs_up = True
        made = start(collector.url)
        for number in (1, 2, 3):
            made.send([make_traced(number)])
            eventually(lambda number=number: made.counts.exported == number, "the span")
        assert made.counts == TraceCounts(exported=3)

    def test_a_refusal_is_final_and_counted(self, start, collector, make_traced):
        collector.answer = lambda: 400
        made = start(collector.url)
        made.send([make_traced(1)])
        eventually(lambda: made.counts == TraceCounts(dropped=1, failures=1), "the counts")
        collector.answer = lambda: 200
        made.send([make_traced(2)])
        eventually(lambda: made.counts == TraceCounts(exported=1, dropped=1, failures=1), "the counts")
        assert [span.trace_id for span in collector.roots()] == [f"{2:032x}"]

    def test_spans_that_the_collector_rejects_are_counted(self, start, collector, make_traced):
        collector.rejects = 3
        made = start(collector.url)
        made.send([make_traced()])
        eventually(lambda: made.counts == TraceCounts(exported=1, rejected_spans=3), "the counts")

    def test_a_collector_that_comes_later_gets_what_waited(self, start, away, make_traced):
        made = start(away.url)
        made.send([make_traced()])
        eventually(lambda: made.counts.failures, "a try that failed")
        away.listen()
        eventually(away.roots, "the span")

    def test_a_line_that_cannot_be_read_spoils_no_other(self, start, collector, make_traced):
        made = start(collector.url)
        made.process.stdin.write(b"nonsense\n[[]]\n")
        made.send([make_traced()])
        assert made.end() == 0
        assert len(collector.roots()) == 1


class TestBounds:
    def test_what_there_is_no_room_for_is_dropped_and_counted(self, start, collector, make_traced):
        collector.free.clear()
        made = start(collector.url)
        made.send([make_traced(1)])
        eventually(lambda: collector.posts, "the first to be under way")
        made.send([make_traced(number) for number in range(2, 12_002)])
        collector.free.set()
        eventually(lambda: made.counts.exported + made.counts.dropped == 12_001, "all to be counted", 60)
        assert made.counts.dropped == 12_000 - exporter.WAITING
        assert len({span.trace_id for span in collector.roots()}) == made.counts.exported

    @pytest.mark.parametrize("how", ["away", "hanging"])
    def test_it_ends_in_a_moment_whatever_the_collector_does(self, start, collector, away, make_traced, how):
        collector.free.clear()
        made = start(collector.url if how == "hanging" else away.url)
        made.send([make_traced(number) for number in range(1, 1001)])
        if how == "hanging":
            eventually(lambda: collector.posts, "one to be under way")
        began = time.monotonic()
        assert made.end() == 0
        assert time.monotonic() - began < 20  # three seconds, and a machine that has other things to do
        assert made.counts.exported == 0
        assert made.counts.dropped == 1000


@pytest.fixture
def begin(make_server, control, one):
    def start(**options: object):
        wanted = snapshot(1, endpoint(revision(one)))
        control.publish(wanted)
        server = make_server(traces_ratio=1, **options).start()
        server.has_applied(wanted)
        return server

    return start


def counted(server) -> Callable[[str], int]:
    lines = server.get("/metrics").text.splitlines()
    found = dict(line.split(" ") for line in lines if line.startswith("inference_traces_"))
    return lambda name: int(found[f"inference_traces_{name}_total"])


class TestServer:
    def test_predictions_go_on_while_the_collector_hangs(self, begin, collector):
        collector.free.clear()
        server = begin(traces_endpoint=collector.url)
        with Load(server.port, [[1.0]], callers=2) as load:
            eventually(lambda: collector.posts, "a post")
            before = load.answered
            eventually(lambda: load.answered > before + 200, "predictions to go on")
        assert not load.failures
        assert server.stop() == 0

    def test_a_collector_that_is_away_is_counted_and_harms_nothing(self, begin, away):
        server = begin(traces_endpoint=away.url)
        for _ in range(20):
            assert server.predict([[1.0]]).status_code == 200
        eventually(lambda: counted(server)("failures") > 0, "the failures in the metrics")
        assert counted(server)("exported") == 0
        assert server.stop() == 0

    def test_what_was_answered_last_arrives_when_it_stops(self, begin, collector):
        server = begin(traces_endpoint=collector.url, workers=2)
        ids = {server.predict([[1.0]]).headers["x-request-id"] for _ in range(50)}
        assert server.stop() == 0
        assert {span.attributes["mlops.request_id"] for span in collector.roots()} >= ids

    def test_the_exporter_is_started_again(self, begin, collector):
        server = begin(traces_endpoint=collector.url)
        (running,) = eventually(lambda: _exporters(server), "the exporter")
        running.kill()

        def sent_again() -> bool:
            assert server.predict([[1.0]]).status_code == 200
            return bool(collector.roots())

        eventually(sent_again, "spans of a new exporter")

    def test_of_the_standard_variables_alone(self, make_server, control, one, collector, tmp_path: Path):
        wanted = snapshot(1, endpoint(revision(one)))
        control.publish(wanted)
        server = make_server()
        server.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=value",
            "OTEL_SERVICE_NAME": "scores",
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        }
        server.start()
        server.has_applied(wanted)
        trace = "0af7651916cd43dd8448eb211c80319c"
        server.predict([[1.0]])
        server.predict([[1.0]], traceparent=f"00-{trace}-b7ad6b7169203331-01")
        (root,) = eventually(collector.roots, "the span of the sampled caller")
        assert root.trace_id == trace
        assert root.resource["service.name"] == "scores"
        assert collector.headers[0]["x-key"] == "value"

    def test_without_a_collector_there_is_no_process_for_it(self, make_server, control, one):
        wanted = snapshot(1, endpoint(revision(one)))
        control.publish(wanted)
        server = make_server().start()
        server.has_applied(wanted)
        assert not _exporters(server)
        assert "traceparent" not in server.predict([[1.0]]).headers


def _exporters(server) -> list:
    import psutil

    children = psutil.Process(server.process.pid).children()
    return [child for child in children if "ml_platform.inference.traces.exporter" in child.cmdline()]

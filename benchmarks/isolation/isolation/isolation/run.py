"""What a healthy model's callers notice of a model that goes wrong beside it: make bench-isolation.

A graph is asked at a fixed, open rate of 30 % of what it can answer, first with an isolated model beside it
that nobody asks, then while that one is asked over and over to go wrong in one way; in rounds, each kind
after its own measurement alone. Latency counts from when a request was due, so that a stall is in every
request that it held up. Writes `benchmarks/reports/isolation.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.inference.support.bundles import Bundle, Churn, build_churn
from tests.inference.support.control import CALLER, ControlPlane, endpoint, revision, snapshot
from tests.inference.support.gremlins import build_gremlin
from tests.inference.support.server import Server, eventually

REPORT = Path(__file__).parents[1] / "reports" / "isolation.md"
GOAL = 1.5
SHARE = 0.3
CONNECTIONS = 16
TIMEOUT = 2.0
MEMORY = 800 * 1024 * 1024
KINDS = {
    "raise": "raises at each request",
    "hang": "hangs: each request ends with the time-out",
    "loop": "turns without end until the time-out",
    "spin 4": "answers, and leaves four threads turning at each request",
    "exit": "exits at each request",
    "segfault": "crashes at each request",
    "leak 60": "leaks 60 MB at each request, up to its limit",
    "print 20": "prints 20 MB at each request",
    "fork": "forks at each request, and both go on",
    "herd 100": "starts 100 processes, more than it may",
    "big 8": "answers 8 MB, more than it may",
    "garbage": "writes into its pipe itself",
}


@dataclass
class Heard:
    """What the healthy model's callers saw."""

    milliseconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        ordered = sorted(self.milliseconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@dataclass
class Round:
    """One kind of misbehaviour, once: p50 and p99 alone and beside it."""

    alone: tuple[float, float]
    beside: tuple[float, float]
    failures: Counter[str]
    answers: Counter[str]
    restarts: Counter[str]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> str | None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    return None if head.startswith(b"HTTP/1.1 200 ") else f"{head[9:12].decode()}: {body[:100]!r}"


async def listen(port: int, request: bytes, rate: float, seconds: float) -> Heard:
    """Asks at an open rate, or, with 0, as fast as it is answered."""
    heard, begin = Heard(), time.perf_counter()

    async def caller(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due = begin + (number / rate if rate else 0)
        while due < begin + seconds:
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            started = due if rate else time.perf_counter()
            try:
                failure = await asyncio.wait_for(ask(reader, writer, request), 30)
            except (OSError, EOFError, TimeoutError) as error:
                failure = type(error).__name__
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if failure is None:
                heard.milliseconds.append((time.perf_counter() - started) * 1e3)
            else:
                heard.failures[failure] += 1
            due = due + CONNECTIONS / rate if rate else time.perf_counter()
        writer.close()

    await asyncio.gather(*(caller(number) for number in range(CONNECTIONS)))
    return heard


class Mischief:
    """Two callers that ask the isolated model to go wrong, as long as it is measured."""

    def __init__(self, port: int, command: str) -> None:
        self._port = port
        self._body = json.dumps({"instances": [[command, 1.0]]})
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]
        self.answers: Counter[str] = Counter()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {CALLER}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stop.wait(0.02):
            try:
                connection.request("POST", "/v1/models/gremlin:predict", self._body, headers)
                response = connection.getresponse()
                response.read()
                self.answers[str(response.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
                connection.close()
        connection.close()


class Bench:
    """A server with the two models; each round brings a fresh isolated one."""

    def __init__(self, server: Server, control: ControlPlane, churn: Churn, gremlin: Bundle) -> None:
        self._server, self._control, self._gremlin = server, control, gremlin
        self._healthy = endpoint(revision(churn.bundle, "rev-healthy"), name="healthy")
        self._version = 0
        body = json.dumps({"instances": churn.instances(1)}).encode()
        self._request = (
            "POST /v1/models/healthy:predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {CALLER}\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body

    def fresh(self) -> str:
        self._version += 1
        name = f"rev-{self._version}"
        wanted = snapshot(
            self._version, self._healthy, endpoint(revision(self._gremlin, name), name="gremlin")
        )
        self._control.publish(wanted)
        state, reason = self._server.has_applied(wanted).revision_state(name)
        if state != "ready":
            raise RuntimeError(f"the isolated model is {state}: {reason}")
        return name

    def listen(self, rate: float, seconds: float) -> Heard:
        return asyncio.run(listen(self._server.port, self._request, rate, seconds))

    def round(self, command: str, rate: float, seconds: float) -> Round:
        name = self.fresh()
        alone = self.listen(rate, seconds)
        with Mischief(self._server.port, command) as mischief:
            time.sleep(0.5)
            beside = self.listen(rate, seconds)
        time.sleep(1)  # until the worker has reported
        restarts: Counter[str] = Counter()
        for worker in eventually(self._server.status, "the server's status").workers:
            for found in worker.revisions:
                if found.revision_id == name:
                    restarts.update(found.restarts)
        return Round(
            (alone.quantile(0.5), alone.quantile(0.99)),
            (beside.quantile(0.5), beside.quantile(0.99)),
            alone.failures + beside.failures,
            mischief.answers,
            restarts,
        )


def counted(counter: Counter[str]) -> str:
    return ", ".join(f"{key}: {count:,}" for key, count in sorted(counter.items())) or "none"


def report(rounds: dict[str, list[Round]], rate: float, load: tuple[float, float], seconds: float) -> str:
    lines, worst = [], 0.0
    for command, done in rounds.items():
        alone, beside = (
            [statistics.median(side(each)[index] for each in done) for index in (0, 1)]
            for side in (lambda each: each.alone, lambda each: each.beside)
        )
        ratio = beside[1] / alone[1]
        worst = max(worst, ratio)
        failed: Counter[str] = sum((each.failures for each in done), Counter())
        answers: Counter[str] = sum((each.answers for each in done), Counter())
        restarts: Counter[str] = sum((each.restarts for each in done), Counter())
        lines.append(
            f"| {KINDS[command]} | {alone[0]:.2f} / {alone[1]:.2f} ms | {beside[0]:.2f} / {beside[1]:.2f} ms "
            f"| {ratio:.2f} | {counted(failed)} | {counted(answers)} | {counted(restarts)} |"
        )
    number = max(map(len, rounds.values()))
    table = "\n".join(lines)
    quiet = max(load) < (os.cpu_count() or 1)
    warning = "" if quiet else "**The machine was not quiet**: other programs had a part of both figures. "
    return f"""# What neighbours notice of a model that goes wrong

`make bench-isolation`: one worker with a graph (200 trees behind a one-hot encoding, one row a request) that is asked at
an open rate of {rate:,.0f} requests a second, 30 % of what it can answer, and an isolated model that two callers ask,
over and over, to go wrong in one way. The time-out is {TIMEOUT:g} s, the isolated model's memory {MEMORY >> 20} MB.
{number} rounds of {seconds:g} s alone and {seconds:g} s beside, with a fresh process each; medians of the rounds. Latency
counts from when a request was due. The goal is a p99 at most {GOAL:g} times as long; the worst here is {worst:.2f}.

{warning}{os.cpu_count()} cores, shared with the callers; {platform.system()} {platform.release()}; Python \
{platform.python_version()}; load average of a minute {load[0]:.1f} before and {load[1]:.1f} after.

| the model | p50 / p99 alone | p50 / p99 beside it | ratio of p99 | neighbour's failures | its own callers | replaced |
| --- | --- | --- | --- | --- | --- | --- |
{table}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--nice", type=int, default=None, help="pyfunc_nice, instead of the server's default")
    parser.add_argument("--no-report", action="store_true", help="print, and leave the report as it is")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        churn, gremlin = build_churn(root / "churn"), build_gremlin(root / "gremlin")
        control = ControlPlane()
        settings = {"workers": 1, "request_timeout": TIMEOUT, "pyfunc_memory_bytes": MEMORY}
        server = Server(root / "state", control, root, pyfunc_python=sys.executable, **settings)
        server.arguments = [a for a in server.arguments if not a.startswith("--pyfunc-nice")]
        if options.nice is not None:
            server.arguments.append(f"--pyfunc-nice={options.nice}")
        server.start()
        rounds: dict[str, list[Round]] = {kind: [] for kind in options.kinds}
        try:
            bench = Bench(server, control, churn, gremlin)
            bench.fresh()
            rate = len(bench.listen(0, 3).milliseconds) / 3 * SHARE
            for number in range(options.rounds):
                for kind, done in rounds.items():
                    done.append(bench.round(kind, rate, options.seconds))
                    p99 = f"{done[-1].alone[1]:.2f} and {done[-1].beside[1]:.2f} ms"
                    print(f"round {number + 1}, {kind}: p99 {p99}, {done[-1].answers}", flush=True)
        finally:
            server.close()
            control.stop()
    text = report(rounds, rate, (before, os.getloadavg()[0]), options.seconds)
    if not options.no_report:
        REPORT.write_text(text)
    print(text)
    return 1 if any(each.failures for done in rounds.values() for each in done) else 0


if __name__ == "__main__":
    raise SystemExit(main())

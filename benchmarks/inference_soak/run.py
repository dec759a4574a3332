"""Workers killed and models swapped without end, at half load: make soak-inference [SOAK_SECONDS=1800].

Every caller asks at its own pace and never tries again; every answer is looked at. Some callers keep their
connection, some make a new one for each request. Memory is weighed at the start and at the end. The suite
has the short form; this writes `benchmarks/reports/inference_soak.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from tests.inference.support.bundles import Bundle, build_linear
from tests.inference.support.control import CALLER, ControlPlane, endpoint, revision, snapshot
from tests.inference.support.server import Server

REPORT = Path(__file__).parents[1] / "reports" / "inference_soak.md"
KEPT, ANEW = 14, 2
_TIMEOUT = 30


@dataclass
class Outcome:
    """What the callers saw."""

    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)


def request(number: float) -> bytes:
    body = json.dumps({"instances": [[number]]}).encode()
    head = (
        "POST /v1/models/churn:predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {CALLER}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: float) -> str | None:
    """Asks for twice or thrice a number; says what was wrong with the answer, if anything was."""
    writer.write(request(number))
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    status = head.split(b" ", 2)[1].decode()
    if status != "200":
        return f"status {status}: {body[:100]!r}"
    (prediction,) = json.loads(body)["predictions"]
    return None if prediction in (2 * number, 3 * number) else f"another's answer: {body[:100]!r}"


async def caller(port: int, outcome: Outcome, until: float, pause: float, *, keep: bool) -> None:
    connection = None
    due = time.perf_counter() + random.random() * pause
    while time.perf_counter() < until:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        due = max(due + pause, time.perf_counter() - 1)  # behind by a second at most: no storm after a gap
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(_TIMEOUT):
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", port)
                wrong = await ask(*connection, float(random.randrange(1_000_000)))
        except (OSError, EOFError, TimeoutError) as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong is None:
            outcome.answered += 1
            outcome.milliseconds.append((time.perf_counter() - begin) * 1e3)
        else:
            outcome.failures[wrong] += 1
        if connection is not None and (wrong or not keep):
            connection[1].close()
            connection = None
    if connection is not None:
        connection[1].close()


async def load(port: int, seconds: float, rate: float, outcome: Outcome) -> None:
    """`rate` requests a second from all callers together; 0: as many as are answered."""
    pause = (KEPT + ANEW) / rate if rate else 0.0
    until = time.perf_counter() + seconds
    kinds = [True] * KEPT + [False] * ANEW
    await asyncio.gather(*(caller(port, outcome, until, pause, keep=keep) for keep in kinds))


async def kill(server: Server, until: float, every: float) -> int:
    killed = 0
    while time.perf_counter() + every < until:
        await asyncio.sleep(every)
        try:
            pids = await asyncio.to_thread(server.worker_pids)
        except (httpx.HTTPError, AssertionError):  # all are just starting again
            continue
        if pids:
            server.kill_worker(random.choice(pids))
            killed += 1
    return killed


async def swap(control: ControlPlane, models: tuple[Bundle, Bundle], until: float, every: float) -> int:
    """Gives all traffic to a new revision of the other model, over and over."""
    swapped = 0
    while time.perf_counter() + every < until:
        await asyncio.sleep(every)
        swapped += 1
        bundle = models[swapped % 2]
        control.publish(snapshot(1 + swapped, endpoint(revision(bundle, f"rev-{1 + swapped}"))))
    return swapped


async def weigh(server: Server, until: float, weights: list[float]) -> None:
    """The memory of all processes of the server, in MB, every five seconds."""
    assert server.process is not None
    tree = psutil.Process(server.process.pid)
    while time.perf_counter() < until:
        await asyncio.sleep(5)
        total = 0
        for process in (tree, *tree.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                if "worker" in "".join(process.cmdline()) or process == tree:
                    total += process.memory_full_info().pss
        weights.append(total / 2**20)


@dataclass
class Soak:
    """What happened."""

    outcome: Outcome
    killed: int
    swapped: int
    rate: float
    weights: list[float]


async def soak(
    server: Server, control: ControlPlane, models: tuple[Bundle, Bundle], options: argparse.Namespace
) -> Soak:
    quiet = Outcome()
    await load(server.port, 3, 0, quiet)
    rate = quiet.answered / 3 / 2
    outcome, weights = Outcome(), []
    until = time.perf_counter() + options.seconds
    killed, swapped, *_ = await asyncio.gather(
        kill(server, until, options.kill_every),
        swap(control, models, until, options.swap_every),
        weigh(server, until, weights),
        load(server.port, options.seconds, rate, outcome),
    )
    return Soak(outcome, killed, swapped, rate, weights)


def report(done: Soak, options: argparse.Namespace) -> str:
    outcome = done.outcome
    cuts = statistics.quantiles(outcome.milliseconds, n=1000)
    tenth = max(len(done.weights) // 10, 1)
    first = statistics.median(done.weights[tenth : 2 * tenth])
    last = statistics.median(done.weights[-tenth:])
    return f"""# Workers killed and models swapped at half load

`make soak-inference`: two workers, one of them killed with SIGKILL every {options.kill_every:g} s, all
traffic given to a new revision of another model every {options.swap_every:g} s, for {options.seconds:g} s;
{KEPT} callers that keep their connection and {ANEW} that connect anew for each request, together at
{done.rate:.0f} requests a second, which is half of what they reached just before, undisturbed. Nobody tries
again; every answer is compared with the ones expected.

| workers killed | models swapped | requests answered | requests failed | p50 | p99 | p99.9 | longest |
| --- | --- | --- | --- | --- | --- | --- | --- |
| {done.killed} | {done.swapped} | {outcome.answered:,} | {sum(outcome.failures.values())} | {cuts[499]:.1f} ms \
| {cuts[989]:.1f} ms | {cuts[998]:.1f} ms | {max(outcome.milliseconds):.0f} ms |

Memory of all processes (PSS), median over a tenth of the time: {first:.0f} MB in the second tenth,
{last:.0f} MB in the last one ({(last / first - 1) * 100:+.1f} %).

{platform.system()} {platform.release()}, {os.cpu_count()} cores, shared with the callers; load average of
fifteen minutes {os.getloadavg()[2]:.1f}.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--kill-every", type=float, default=10)
    parser.add_argument("--swap-every", type=float, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        models = build_linear(root / "twice", [2.0]), build_linear(root / "thrice", [3.0])
        control = ControlPlane()
        first = snapshot(1, endpoint(revision(models[0], "rev-1")))
        control.publish(first)
        server = Server(root / "state", control, root, workers=2).start()
        try:
            server.has_applied(first)
            done = asyncio.run(soak(server, control, models, options))
        finally:
            server.close()
            control.stop()
    text = report(done, options)
    REPORT.write_text(text)
    print(text)
    for failure, count in done.outcome.failures.most_common(10):
        print(f"{count} times: {failure}")
    return 1 if done.outcome.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Workers killed and models swapped without end, at half load: make soak-inference [SOAK_SECONDS=1800].

Every caller asks at its own pace and never tries again; every answer is looked at (`callers.py` has the kinds).
Memory is weighed at the start and at the end. The suite has the short form; this writes
`benchmarks/reports/inference_soak.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from callers import KINDS, Outcome, load
from tests.inference.support.bundles import Bundle, build_linear
from tests.inference.support.control import ControlPlane, endpoint, revision, snapshot
from tests.inference.support.server import Server

REPORT = Path(__file__).parents[1] / "reports" / "inference_soak.md"


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


async def weigh(server: Server, until: float, weights: list[tuple[float, float]]) -> None:
    """The memory of the server's first process and of its largest worker, in MB, every five seconds.

    What is their own alone (USS): what they share depends on which other programs use the same libraries.
    The largest, since one of the workers has often just been killed.
    """
    assert server.process is not None
    parent = psutil.Process(server.process.pid)
    while time.perf_counter() < until:
        await asyncio.sleep(5)
        largest = 0
        for process in parent.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "worker" in "".join(process.cmdline()):
                    largest = max(largest, process.memory_full_info().uss)
        weights.append((parent.memory_full_info().uss / 2**20, largest / 2**20))


@dataclass
class Soak:
    """What happened."""

    outcomes: dict[str, Outcome]
    killed: int
    swapped: int
    rate: float
    weights: list[tuple[float, float]]


async def soak(
    server: Server, control: ControlPlane, models: tuple[Bundle, Bundle], options: argparse.Namespace
) -> Soak:
    ports = (server.port, server.grpc_port)
    quiet = await load(ports, 5, 0)
    rate = options.rate or sum(outcome.answered for outcome in quiet.values()) / 5 / 2
    weights: list[tuple[float, float]] = []
    until = time.perf_counter() + options.seconds
    outcomes, killed, swapped, _ = await asyncio.gather(
        load(ports, options.seconds, rate),
        kill(server, until, options.kill_every),
        swap(control, models, until, options.swap_every),
        weigh(server, until, weights),
    )
    return Soak(outcomes, killed, swapped, rate, weights)


def report(done: Soak, options: argparse.Namespace) -> str:
    parent, worker = (_growth([weight[part] for weight in done.weights]) for part in (0, 1))
    rows = "\n".join(_row(name, outcome) for name, outcome in done.outcomes.items())
    return f"""# Workers killed and models swapped at half load

`make soak-inference`: two workers, one of them killed with SIGKILL every {options.kill_every:g} s, all
traffic given to a new revision of another model every {options.swap_every:g} s, for {options.seconds:g} s;
callers of four kinds, together at {done.rate:.0f} requests a second, which is half of what they reached just
before, undisturbed. Nobody tries again; every answer is compared with the ones expected.

{done.killed} workers were killed and {done.swapped} models swapped.

| callers | requests answered | requests failed | p50 | p99 | p99.9 | longest |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

Memory that is their own (USS), median over a tenth of the time: the first process {parent}, the
largest worker {worker}.

{platform.system()} {platform.release()}, {os.cpu_count()} cores, shared with the callers; load average of
fifteen minutes {os.getloadavg()[2]:.1f}.
"""


def _growth(weights: list[float]) -> str:
    tenth = max(len(weights) // 10, 1)
    first, last = statistics.median(weights[tenth : 2 * tenth]), statistics.median(weights[-tenth:])
    return (
        f"{first:.0f} MB in the second tenth, {last:.0f} MB in the last ({(last / first - 1) * 100:+.1f} %)"
    )


def _row(name: str, outcome: Outcome) -> str:
    cuts = statistics.quantiles(outcome.milliseconds, n=1000)
    return (
        f"| {KINDS[name][0]} of {name} | {outcome.answered:,} | {sum(outcome.failures.values())} | {cuts[499]:.1f} ms "
        f"| {cuts[989]:.1f} ms | {cuts[998]:.1f} ms | {max(outcome.milliseconds):.0f} ms |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--kill-every", type=float, default=10)
    parser.add_argument("--swap-every", type=float, default=30)
    parser.add_argument(
        "--rate", type=float, default=0, help="requests a second; 0 is half of what is reached"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        models = build_linear(root / "twice", [2.0]), build_linear(root / "thrice", [3.0])
        control = ControlPlane()
        first = snapshot(1, endpoint(revision(models[0], "rev-1")))
        control.publish(first)
        server = Server(root / "state", control, root, workers=2, grpc_port=0).start()
        try:
            server.has_applied(first)
            done = asyncio.run(soak(server, control, models, options))
        finally:
            server.close()
            control.stop()
    text = report(done, options)
    REPORT.write_text(text)
    print(text)
    failures = sum((outcome.failures for outcome in done.outcomes.values()), Counter[str]())
    for failure, count in failures.most_common(10):
        print(f"{count} times: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())

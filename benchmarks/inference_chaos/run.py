"""Workers killed without end at half load: make chaos-inference [CHAOS_SECONDS=600].

Every caller asks at its own pace and never tries again; every answer is looked at. Some callers keep their
connection, some make a new one for each request. The suite has the short form; this writes
`benchmarks/reports/inference_chaos.md`.
"""

from __future__ import annotations

import argparse
import asyncio
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

from tests.inference.support.bundles import build_linear
from tests.inference.support.control import CALLER, ControlPlane, endpoint, revision, snapshot
from tests.inference.support.server import Server

REPORT = Path(__file__).parents[1] / "reports" / "inference_chaos.md"
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
    """Asks for twice a number; says what was wrong with the answer, if anything was."""
    writer.write(request(number))
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    status = head.split(b" ", 2)[1].decode()
    if status != "200":
        return f"status {status}: {body[:100]!r}"
    return None if json.loads(body)["predictions"] == [2 * number] else f"another's answer: {body[:100]!r}"


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


async def kill(server: Server, seconds: float, every: float) -> int:
    killed, until = 0, time.perf_counter() + seconds - every / 2
    while time.perf_counter() < until:
        await asyncio.sleep(every)
        pids = await asyncio.to_thread(server.worker_pids)
        if pids:
            server.kill_worker(random.choice(pids))
            killed += 1
    return killed


async def chaos(server: Server, seconds: float, every: float) -> tuple[Outcome, int, float]:
    quiet = Outcome()
    await load(server.port, 3, 0, quiet)
    rate = quiet.answered / 3 / 2
    outcome = Outcome()
    killed, _ = await asyncio.gather(kill(server, seconds, every), load(server.port, seconds, rate, outcome))
    return outcome, killed, rate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--every", type=float, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        control = ControlPlane()
        control.publish(snapshot(1, endpoint(revision(build_linear(root / "bundle", [2.0])))))
        server = Server(root / "state", control, root, workers=2).start()
        try:
            server.has_applied(control.snapshot)
            outcome, killed, rate = asyncio.run(chaos(server, options.seconds, options.every))
        finally:
            server.close()
            control.stop()
    cuts = statistics.quantiles(outcome.milliseconds, n=1000)
    text = f"""# Workers killed at half load

`make chaos-inference`: two workers, one of them killed with SIGKILL every {options.every:g} s for
{options.seconds:g} s; {KEPT} callers that keep their connection and {ANEW} that connect anew for each
request, together at {rate:.0f} requests a second, which is half of what they reached just before without a
kill. Nobody tries again; every answer is compared with the one expected.

| workers killed | requests answered | requests failed | p50 | p99 | p99.9 | longest |
| --- | --- | --- | --- | --- | --- | --- |
| {killed} | {outcome.answered} | {sum(outcome.failures.values())} | {cuts[499]:.1f} ms | {cuts[989]:.1f} ms \
| {cuts[998]:.1f} ms | {max(outcome.milliseconds):.0f} ms |

{platform.system()} {platform.release()}, {os.cpu_count()} cores, shared with the callers; load average
{os.getloadavg()[1]:.1f}.
"""
    REPORT.write_text(text)
    print(text)
    for failure, count in outcome.failures.most_common(10):
        print(f"{count} times: {failure}")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())

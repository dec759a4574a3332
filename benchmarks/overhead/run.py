"""What a request costs in each protocol, and what metrics and traces cost of it: make bench-overhead.

Processor time, not time by the clock: other work on the machine disturbs it least. Servers of one worker are asked in
turns of two seconds and the least of all turns counts. What was asked stands in the prediction log's Parquet files
before the next turn begins, so that nobody pays for rows of another; that part is told apart.
Writes `benchmarks/reports/overhead.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import psutil
from tests.inference.support.bundles import Churn, build_churn
from tests.inference.support.collector import Collector
from tests.inference.support.control import ADMIN, CALLER, endpoint, revision, snapshot
from tests.inference.support.server import Server, eventually

from ml_platform.contracts.serving import encode_snapshot

HERE = Path(__file__).parent
REPORT = HERE.parent / "reports" / "overhead.md"
CONNECTIONS = 16
GOAL_V2 = 1.3
GOAL_SEEN = 0.05
SERVERS = {
    "bare": "no metrics, no traces",
    "metrics": "metrics",
    "both": "metrics and traces, at their defaults",
}
PROTOCOLS = ("V1", "V2 JSON", "V2 binary", "MLflow JSON")

sys.path.insert(0, str(HERE.parent / "serving"))
import load  # noqa: E402
import payloads  # noqa: E402

Costs = dict[str, list[float]]
"""Microseconds a request of each turn: of the worker, of all processes while it answered, of those that roll the log."""


def forms(churn: Churn) -> dict[str, payloads.Form]:
    columns = churn.bundle.manifest.signature.inputs
    found = {
        "V1": payloads.records("/v1/models/churn:predict", "instances"),
        "V2 JSON": payloads.v2_json("/v2/models/churn/infer", columns),
        "V2 binary": payloads.v2_binary("/v2/models/churn/infer", columns),
        "MLflow JSON": payloads.records("/models/churn/invocations", "dataframe_records"),
    }
    return {name: form.with_headers(Authorization=f"Bearer {CALLER}") for name, form in found.items()}


@contextlib.contextmanager
def serving(home: Path, churn: Churn, collector: Collector) -> Iterator[dict[str, Server]]:
    """The three servers, which have their last snapshot and no control plane."""
    servers: dict[str, Server] = {}
    try:
        for name in SERVERS:
            options: dict[str, object] = {"log_roll_seconds": 3600}
            if name == "both":
                options["traces_endpoint"] = collector.url
            server = Server(home / name, None, home, control_url="http://127.0.0.1:9", **options)
            server.arguments.append(f"--token-file={home / name / 'token'}")
            if name == "bare":
                server.environment = {"PYTHONPATH": str(HERE / "unmetered")}
            state = snapshot(
                1,
                endpoint(
                    revision(churn.bundle, "rev-1", weight=90), revision(churn.bundle, "rev-2", weight=10)
                ),
            )
            (home / name / "snapshot.json").write_bytes(encode_snapshot(state))
            servers[name] = server.start()
        for server in servers.values():
            eventually(lambda s=server: s.predict(churn.instances(1)).status_code == 200, "an answer", 120)
        yield servers
    finally:
        for server in servers.values():
            server.close()


def cpu(server: Server, worker: int) -> tuple[float, float, float]:
    """Seconds of the worker, of all processes that are there, and of those that have ended."""
    assert server.process is not None
    parent = psutil.Process(server.process.pid)
    everyone = [parent, *parent.children(recursive=True)]
    ended = 0.0
    for process in everyone:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            ended += times.children_user + times.children_system
    return ran(worker), sum(ran(process.pid) for process in everyone), ended


def ran(pid: int) -> float:
    """Seconds that the threads of a process have run, to the nanosecond: the usual clock ticks a hundred times."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(task.read_text().split()[0])
    return total / 1e9


def flush(server: Server) -> None:
    """Has what was asked until now written into Parquet."""
    headers = {"authorization": f"Bearer {ADMIN}"}
    answer = server.client.post(f"{server.base}/internal/flush", headers=headers, timeout=httpx.Timeout(120))
    answer.raise_for_status()


def turn(
    server: Server, form: payloads.Form, rows: list[dict], home: Path, seconds: float
) -> dict[str, float]:
    """One turn: what a request cost in it."""
    requests = home / "requests"
    load.write_requests(requests, (form.request(row, server.port) for row in rows))
    load.http_load(server.port, requests, CONNECTIONS, 1)
    flush(server)
    (worker,) = server.worker_pids()
    before = cpu(server, worker)
    found = load.http_load(server.port, requests, CONNECTIONS, seconds)
    after = cpu(server, worker)
    flush(server)
    logged = cpu(server, worker)
    if found["failed"] or not found["requests"]:
        raise RuntimeError(f"requests failed: {found}")
    each = 1e6 / found["requests"]
    return {
        "worker": (after[0] - before[0]) * each,
        "all": (after[1] - before[1]) * each,
        "log": (logged[2] - after[2]) * each,
    }


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Costs]]:
    """Of each server and protocol, what each of its turns cost."""
    kinds = [("both", protocol) for protocol in PROTOCOLS] + [("bare", "V1"), ("metrics", "V1")]
    costs: dict[str, dict[str, Costs]] = {}
    with tempfile.TemporaryDirectory(prefix="overhead-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        churn = build_churn(home / "churn")
        rows = churn.instances(64)
        collector = Collector()
        with serving(home, churn, collector) as servers:
            for number in range(arguments.rounds):
                for server, protocol in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
                    print(f"round {number + 1}: {server}, {protocol}", file=sys.stderr)
                    found = turn(servers[server], forms(churn)[protocol], rows, home, arguments.seconds)
                    place = costs.setdefault(server, {}).setdefault(protocol, {})
                    for part, value in found.items():
                        place.setdefault(part, []).append(value)
            if not collector.roots():
                raise RuntimeError("no request was traced")
        collector.stop()
    return costs


def report(costs: dict[str, dict[str, Costs]], arguments: argparse.Namespace) -> str:
    def least(server: str, protocol: str, part: str) -> float:
        return min(costs[server][protocol][part])

    bare, metrics, both = (least(server, "V1", "all") for server in ("bare", "metrics", "both"))
    seen = (both - bare) / both
    v1, v2 = (least("both", protocol, "worker") for protocol in ("V1", "V2 JSON"))
    whole = [sum(least("both", p, part) for part in ("all", "log")) for p in ("V1", "V2 JSON")]
    verdict = "met" if seen < GOAL_SEEN else "missed"
    verdict_v2 = "met" if v2 / v1 <= GOAL_V2 else "missed"
    servers = "\n".join(
        f"| {title} | {least(name, 'V1', 'worker'):.1f} | {least(name, 'V1', 'all'):.1f} |"
        for name, title in SERVERS.items()
    )
    protocols = "\n".join(
        f"| {name} | "
        + " | ".join(f"{least('both', name, part):.1f}" for part in ("worker", "all", "log"))
        + " |"
        for name in PROTOCOLS
    )
    setting = (
        f"Written by `make bench-overhead` on {datetime.now(UTC):%Y-%m-%d}. Processor time in µs a request: the churn"
        f" model, one row, one worker, {CONNECTIONS} connections at full load; the least of {arguments.rounds}"
        f" interleaved turns of {arguments.seconds:g} s. {os.cpu_count()} cores ({_processor()}), Python"
        f" {platform.python_version()}; load average {os.getloadavg()[0]:.1f} at the end."
    )
    return f"""# What a request costs

{setting}

## Metrics and traces

**Together they cost {both - bare:.1f} µs of {both:.1f}, {seen:.1%}** (goal: less than {GOAL_SEEN:.0%}: {
        verdict
    }).

| server | worker | all processes |
| --- | --- | --- |
{servers}

Metrics alone: {
        metrics
        - bare:.1f} µs. Where there are none, the functions that count a request do nothing. Traces: up to 20
requests a second and worker, as it is by default.

## Protocols

**V2 JSON costs the worker {v2 / v1:.2f} times what V1 does** (goal: at most {GOAL_V2:g}: {
        verdict_v2
    }); with all
processes and the log's Parquet it is {whole[1] / whole[0]:.2f} times.

| protocol | worker | all processes | the log's rows into Parquet |
| --- | --- | --- | --- |
{protocols}

Rows are rolled into Parquet by a process that runs once a minute, whatever protocol they came by. A measurement of seconds
that does not have them rolled first puts the rows of one protocol on the account of another.
"""


def _processor() -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError, KeyError):
        told = subprocess.run(["lscpu", "-J"], capture_output=True, text=True, check=True).stdout
        fields = {field["field"]: field.get("data") for field in json.loads(told)["lscpu"]}
        return str(fields["Model name:"])
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=REPORT)
    arguments = parser.parse_args()
    costs = measure(arguments)
    arguments.out.write_text(report(costs, arguments))
    sys.stdout.write(arguments.out.read_text())
    sys.stderr.write(msgspec.json.encode(costs).decode() + "\n")


if __name__ == "__main__":
    main()

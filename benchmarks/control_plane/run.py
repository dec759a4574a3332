"""The control plane's API under 100 users: p50 and p99 of reads and of writes, on SQLite.

python benchmarks/control_plane/run.py [--users 100] [--seconds 30] [--pace 1.0] [--url URL --token TOKEN]

Each user has a key of their own and sends a request every `--pace` seconds (0: the next
one as soon as the last is answered), four reads to one write. The control plane is a process of its own,
as `mlops up` starts it; with --url a running one is measured.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

REPORTS = Path(__file__).parents[1] / "reports"
TEAMS = 4
READS = ("/whoami", "/datasets", "/experiments", "/models", "/jobs", "/deployments", "/alerts", "/approvals")
GOAL = {"read": 100.0, "write": 250.0}


class ControlPlane:
    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "bench.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ml_platform.server.main"],
            env={**os.environ, "MLOPS_HOME": str(home), "MLOPS_API__PORT": str(port)},
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        until = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the control plane did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)
        self.token = (home / "secrets" / "admin.key").read_text()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def people(url: str, token: str, count: int) -> list[str]:
    """Keys of that many users in a few teams, each team with some things to list."""
    keys, mark = [], f"{time.time_ns() % 10**9}"
    with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:
        client.headers["authorization"] = f"Bearer {token}"
        for number in range(TEAMS):
            team = f"bench-{mark}-{number}"
            client.post("/teams", json={"name": team}).raise_for_status()
            own = {"mlops-team": team}
            for thing in range(60):
                client.post("/datasets", json={"name": f"d{thing}"}, headers=own).raise_for_status()
            for person in range(number, count, TEAMS):
                name = f"user-{mark}-{person}"
                client.post("/users", json={"name": name}).raise_for_status()
                roles = {"roles": ["ml_engineer"]}
                client.put(f"/teams/{team}/members/{name}", json=roles, headers=own).raise_for_status()
                answer = client.post("/keys", json={"name": "bench", "user": name}, headers=own)
                keys.append(answer.raise_for_status().json()["token"])
    return keys


async def use(
    client: httpx.AsyncClient, token: str, until: float, pace: float, times: dict[str, list[float]]
) -> int:
    """One user: reads and writes until the time is up; answers how many requests failed."""
    failed, chance = 0, random.Random(f"{token}{until}")
    own = {"authorization": f"Bearer {token}"}
    await asyncio.sleep(chance.random() * pace)
    while (begin := time.perf_counter()) < until:
        kind = "write" if chance.random() < 0.2 else "read"
        try:
            if kind == "write":
                name = f"w-{chance.getrandbits(60):x}"
                body = {"name": name, "description": "a benchmark's"}
                answer = await client.post("/datasets", json=body, headers={**own, "idempotency-key": name})
            else:
                answer = await client.get(chance.choice(READS), headers=own)
            failed += answer.status_code >= 400
        except httpx.TransportError:
            failed += 1
        spent = time.perf_counter() - begin
        times[kind].append(spent * 1e3)
        if pace > spent:
            await asyncio.sleep(pace - spent)
    return failed


async def measure(url: str, keys: list[str], seconds: float, pace: float) -> dict:
    times: dict[str, list[float]] = {"read": [], "write": []}
    limits = httpx.Limits(max_connections=len(keys), max_keepalive_connections=len(keys))
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=30, limits=limits) as client:
        until = time.perf_counter() + seconds
        failed = sum(await asyncio.gather(*(use(client, key, until, pace, times) for key in keys)))
    figures = {"pace": pace, "failed": failed}
    for kind, values in times.items():
        cuts = statistics.quantiles(values, n=100)
        figures[kind] = {
            "requests": len(values),
            "per_second": round(len(values) / seconds, 1),
            "p50_ms": round(cuts[49], 1),
            "p95_ms": round(cuts[94], 1),
            "p99_ms": round(cuts[98], 1),
            "max_ms": round(max(values), 1),
        }
    return figures


def report(results: list[dict], users: int, load: float) -> str:
    machine = (
        f"{users} users; SQLite; {os.cpu_count()} CPUs ({platform.machine()}), shared with the load's own "
        f"process; load average before: {load:.1f}."
    )
    lines = [
        "# Control plane: API under concurrent users",
        "",
        machine,
        "",
        "| pace | kind | requests/s | p50 ms | p95 ms | p99 ms | max ms | goal p99 ms | failed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        pace = f"one a user every {result['pace']:g} s" if result["pace"] else "as fast as answered"
        for kind, goal in GOAL.items():
            one = result[kind]
            lines.append(
                f"| {pace} | {kind} | {one['per_second']} | {one['p50_ms']} | {one['p95_ms']} | {one['p99_ms']} "
                f"| {one['max_ms']} | {goal:g} | {result['failed']} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--pace", type=float, action="append", help="may be repeated [1.0 and 0]")
    parser.add_argument("--url")
    parser.add_argument("--token")
    options = parser.parse_args()
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as home:
        plane = None if options.url else ControlPlane(Path(home))
        url, token = (options.url, options.token) if plane is None else (plane.url, plane.token)
        try:
            keys = people(url, token, options.users)
            results = []
            for pace in options.pace or [1.0, 0.0]:
                asyncio.run(measure(url, keys, min(5, options.seconds), pace))  # to get warm
                results.append(asyncio.run(measure(url, keys, options.seconds, pace)))
        finally:
            if plane is not None:
                plane.stop()
    text = report(results, options.users, load)
    REPORTS.mkdir(exist_ok=True)
    (REPORTS / "control_plane.md").write_text(text)
    (REPORTS / "control_plane.json").write_text(
        json.dumps({"load": load, "results": results}, indent=2) + "\n"
    )
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

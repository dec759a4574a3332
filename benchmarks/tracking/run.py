"""Tracking, side by side: a stock `mlflow server`, the same with uvloop, and ours with authentication.

python benchmarks/tracking/run.py [--rounds 3] [--quick] [--url URL --token TOKEN]

The peers and the client get environments of their own with the version of MLflow that is installed here.
Rounds are interleaved over the servers and medians reported. With --url, a running platform is measured
in the place of our bare server.
"""

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import psutil
from report import write_report

HERE = Path(__file__).parent
REPORTS = HERE.parent / "reports"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ml-platform-bench"
TOKEN = "bench-token"


def environment(name: str, *packages: str) -> Path:
    """Make (once) an environment with these packages; return its bin directory."""
    place = CACHE / name
    if not (place / "complete").exists():
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, place], check=True)
        subprocess.run(
            ["uv", "pip", "install", "--quiet", "--python", place / "bin/python", *packages], check=True
        )
        (place / "complete").touch()
    return place / "bin"


class Server:
    """One server process tree, started and measured."""

    def __init__(self, name: str, home: Path, command, *, prefix="", token=None, url=None) -> None:
        self.name, self.home, self.token, self.process = name, home, token, None
        if url:
            self.uri, self.start_seconds = url, None
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        home.mkdir(parents=True)
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            command(home, port),
            stdout=(home / "log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )
        self.uri = f"http://127.0.0.1:{port}{prefix}"
        self._await(begin + 180)
        self.start_seconds = time.perf_counter() - begin

    def _await(self, until: float) -> None:
        while time.perf_counter() < until:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise SystemExit(f"{self.name} did not start:\n{(self.home / 'log').read_text()[-2000:]}")

    def memory(self) -> dict:
        if self.process is None:
            return {}
        tree = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        return {"pss_mb": sum(one.memory_full_info().pss for one in tree) / 1e6, "processes": len(tree)}

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)


def measure(python: Path, what: str, server: Server, **options) -> dict:
    request = json.dumps({"uri": server.uri, "token": server.token, **options})
    done = subprocess.run(
        [python, HERE / "client.py", what, request], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout)


def medians(rounds: list[dict]) -> dict:
    first = rounds[0]
    return {
        key: medians([one[key] for one in rounds])
        if isinstance(first[key], dict)
        else statistics.median(one[key] for one in rounds)
        for key in first
    }


def servers(arguments, home: Path) -> list[Server]:
    mlflow = f"mlflow=={version('mlflow')}"
    stock = environment(f"stock-{version('mlflow')}", mlflow)
    fast = environment(f"uvloop-{version('mlflow')}", mlflow, "uvloop", "httptools")

    def peer(bin_directory: Path):
        return lambda place, port: [
            bin_directory / "mlflow",
            "server",
            "--backend-store-uri",
            f"sqlite:///{place}/mlflow.db",
            "--artifacts-destination",
            place / "artifacts",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]

    def ours(place: Path, port: int):
        return [sys.executable, HERE / "bare_server.py", place, str(port), TOKEN]

    if arguments.url:
        last = Server("ours", home / "ours", None, token=arguments.token, url=arguments.url)
    else:
        last = Server("ours", home / "ours", ours, prefix="/mlflow", token=TOKEN)
    if arguments.only_ours:
        return [last]
    return [Server("stock", home / "stock", peer(stock)), Server("uvloop", home / "uvloop", peer(fast)), last]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--url")
    parser.add_argument("--token")
    parser.add_argument("--only-ours", action="store_true", help="no peers, no report; while working on it")
    arguments = parser.parse_args()
    python = environment(f"stock-{version('mlflow')}", f"mlflow=={version('mlflow')}") / "python"
    with tempfile.TemporaryDirectory(prefix="tracking-bench-") as home:
        started = servers(arguments, Path(home))
        try:
            raw = run(arguments, python, started)
        finally:
            for server in started:
                server.stop()
        if not arguments.url:
            raw["ours"]["own_lists"] = own_lists(started[-1], raw["ours"]["experiment_id"])
    if arguments.only_ours:
        json.dump(medians_of(raw["ours"]), sys.stdout, indent=1)
        return
    write_report(REPORTS, machine(), raw, {name: medians_of(one) for name, one in raw.items()})


def run(arguments, python: Path, started: list[Server]) -> dict:
    raw = {server.name: {"start_seconds": server.start_seconds, "rounds": []} for server in started}
    for server in started:
        experiment = measure(python, "experiment", server)["experiment_id"]
        raw[server.name]["experiment_id"] = experiment
        if (server.home / "mlflow.db").exists():
            fill = [sys.executable, HERE / "fill.py", server.home / "mlflow.db", experiment, "5000"]
            subprocess.run(fill, check=True)
    for number in range(arguments.rounds):
        for server in started:
            print(f"round {number + 1}: {server.name}", file=sys.stderr)
            result = {
                "load_before": os.getloadavg()[0],
                "calls": measure(python, "calls", server, calls=arguments.calls),
                "threads": measure(python, "threads", server, threads=8, seconds=arguments.seconds),
            }
            if (server.home / "mlflow.db").exists():
                experiment = raw[server.name]["experiment_id"]
                result["search"] = measure(python, "search", server, experiment_id=experiment, calls=8)
            raw[server.name]["rounds"].append(result)
    for server in started:
        raw[server.name]["memory"] = server.memory()
    return raw


def own_lists(server: Server, experiment: str) -> dict:
    command = [sys.executable, HERE / "own_lists.py", server.home, experiment, "20"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def medians_of(one: dict) -> dict:
    rest = {key: value for key, value in one.items() if key not in ("rounds", "experiment_id")}
    return {**rest, **medians(one["rounds"])}


def machine() -> dict:
    names = ("mlflow", "uvicorn", "uvloop", "sqlalchemy", "flask", "starlette")
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


if __name__ == "__main__":
    main()

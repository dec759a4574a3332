"""One row of the churn pipeline over HTTP and gRPC: our inference server beside the ones people use.

    python benchmarks/serving/run.py [--rounds 3] [--seconds 5] [--only NAME ...] [--no-report]

Every server is real, in an environment of its own. In each round each is started, asked for the same
predictions, warmed up, loaded by one connection and by 32, weighed, and stopped, so that none disturbs
another; medians over the rounds are reported. All serve from one worker, models on one thread.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import load
import payloads
import psutil
from contestants import Contestant
from environments import NotInstalledError, environment
from model import Model, churn_model, engine_times
from ours import ADMIN, CALLER, ours
from peers import floors, peers
from processes import Server, StartError, cpu_between, free_port, post
from report import write_report

REPORTS = Path(__file__).parents[1] / "reports"
DOCUMENT = Path(__file__).parents[2] / "docs" / "serving.md"
CONNECTIONS = 32
TOLERANCE = 1e-4
OURS = ("fastapi", "uvicorn", "uvloop", "httptools", "msgspec", "onnxruntime", "numpy", "mlflow")


class WrongAnswerError(Exception):
    """A server gave another prediction than the model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each load")
    parser.add_argument("--only", nargs="*", help="names of servers; then no report is written")
    parser.add_argument("--own-generator", action="store_true", help="do not use wrk")
    parser.add_argument("--rewrite", action="store_true", help="the report anew from its raw numbers")
    arguments = parser.parse_args()
    if arguments.rewrite:
        write_report(REPORTS, DOCUMENT, json.loads((REPORTS / "serving.json").read_text()))
        return
    chosen = [
        one for one in (*peers(), *floors(), *ours()) if not arguments.only or one.name in arguments.only
    ]
    model = churn_model()
    results = {
        one.name: {"title": one.title, "kind": one.kind, "engine": one.engine, "rounds": [], "failures": {}}
        for one in chosen
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped and files removed
    begin, engines = machine(arguments), []
    for number in range(arguments.rounds):
        engines.append(engine_times(model))
        for one in chosen[number % len(chosen) :] + chosen[: number % len(chosen)]:
            _one_round(one, model, arguments, number + 1, results[one.name])
    raw = {
        "machine": begin | {"load_after": os.getloadavg()},
        "engine_ms": medians(engines),
        "parity": model.parity,
        "servers": {
            name: result | {"medians": medians(result["rounds"])} for name, result in results.items()
        },
    }
    if arguments.only:
        shown = {name: one["medians"] or one["failures"] for name, one in raw["servers"].items()}
        json.dump(shown, sys.stdout, indent=1)
    else:
        write_report(REPORTS, DOCUMENT, raw)


def _one_round(one: Contestant, model: Model, arguments, number: int, result: dict) -> None:
    """Appends what was measured, or what kept the server from being measured in this round."""
    print(f"round {number}: {one.name}", file=sys.stderr)
    try:
        env = environment(one.environment) if one.environment else None
        result["versions"] = env.versions if env and one.kind != "ours" else {}
        with tempfile.TemporaryDirectory(prefix="serving-bench-", ignore_cleanup_errors=True) as home:
            result["rounds"].append(_measure(one, env, model, Path(home), arguments))
    except (NotInstalledError, StartError, WrongAnswerError, RuntimeError, OSError) as error:
        result["failures"][f"round {number}"] = f"{type(error).__name__}: {error}"
        print(f"{one.name} IS NOT MEASURED: {error}", file=sys.stderr)


def _measure(one: Contestant, env, model: Model, home: Path, arguments) -> dict:
    port, grpc_port = free_port(), free_port()
    forms = one.forms(model)
    first = next(iter(forms.values()))
    home = home / "server"
    home.mkdir()
    variables = {
        "OMP_NUM_THREADS": "1",
        "PATH": f"{env.bin}{os.pathsep}{os.environ['PATH']}" if env else os.environ["PATH"],
    }
    begin = time.perf_counter()
    server = Server(one.command(env, model)(home, port, grpc_port), home, variables | one.variables(model))
    try:
        server.wait_for(lambda: _ask(first, port, model.rows[0]) is not None)
        measured: dict = {"start_seconds": time.perf_counter() - begin, "forms": {}, "failed_forms": {}}
        for title, form in forms.items():
            with _noting(measured, title, strict=form is first):
                check(form, port, model)
                measured["forms"][title] = _load_http(server, one, form, port, model, home, arguments)
        if one.grpc is not None:
            with _noting(measured, "gRPC"):
                measured["forms"]["gRPC"] = _load_grpc(server, one, (grpc_port, port), model, home, arguments)
        measured["memory"] = server.memory()
        if one.kind == "ours":
            measured["log"] = _log_state(port)
    finally:
        server.stop()
    return measured


@contextlib.contextmanager
def _noting(measured: dict, title: str, *, strict: bool = False):
    """A protocol beside the main one may fail: that is noted, never left out silently."""
    try:
        yield
    except (WrongAnswerError, RuntimeError, OSError, KeyError, ValueError) as error:
        if strict:
            raise
        measured["failed_forms"][title] = f"{type(error).__name__}: {error}"[:300]
        print(f"{title} IS NOT MEASURED: {error}", file=sys.stderr)


def _ask(form: payloads.Form, port: int, row: dict) -> tuple[bytes, dict]:
    body = form.body(row)
    return post(f"http://127.0.0.1:{port}{form.path}", body, form.headers_for(body))


def check(form: payloads.Form, port: int, model: Model) -> None:
    """Every customer of the requests must get the model's own prediction."""
    if form.read is None:
        return
    for row, expected in zip(model.rows, model.expected, strict=True):
        answer, headers = _ask(form, port, row)
        found = form.read(answer, headers)
        if abs(found - expected) > TOLERANCE:
            raise WrongAnswerError(f"expected {expected}, got {found}: {answer[:300]!r}")


def _load_http(server: Server, one: Contestant, form, port: int, model: Model, home: Path, arguments) -> dict:
    requests = home / "requests"
    load.write_requests(requests, (form.request(row, port) for row in model.rows))

    def run(connections: int, seconds: float) -> dict:
        return load.http_load(port, requests, connections, seconds, own=arguments.own_generator)

    def ask() -> None:
        _ask(form, port, model.rows[0])
        _settle(one, port)

    return _phases(server, run, ask, arguments.seconds)


def _load_grpc(
    server: Server, one: Contestant, ports: tuple[int, int], model: Model, home: Path, arguments
) -> dict:
    port, port_of_http = ports
    if load.H2LOAD is None:
        raise RuntimeError("h2load is not installed (Debian: nghttp2-client)")
    columns = model.manifest(model.bundle).signature.inputs
    headers = {"authorization": f"Bearer {CALLER}"} if one.kind == "ours" else {}
    for row, expected in zip(model.rows[:8], model.expected, strict=False):
        message = payloads.grpc_infer("churn", row, columns, one.grpc.parameters, typed=one.grpc.typed)
        found = payloads.grpc_probability(load.grpc_call(port, payloads.GRPC_INFER, message, headers))
        if abs(found - expected) > TOLERANCE:
            raise WrongAnswerError(f"expected {expected}, got {found}")
    path = home / "message"
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)

    def run(connections: int, seconds: float) -> dict:
        return load.grpc_load(port, payloads.GRPC_INFER, path, headers, connections, seconds)

    def ask() -> None:
        load.grpc_call(port, payloads.GRPC_INFER, message, headers)
        _settle(one, port_of_http)

    return _phases(server, run, ask, arguments.seconds)


def _phases(server: Server, run, ask, seconds: float) -> dict:
    run(CONNECTIONS, min(seconds, 2))  # warm-up
    result = {}
    for name, connections in (("one", 1), ("many", CONNECTIONS)):
        ask()  # what a slow server still has from the load before is worked off once this is answered
        busy, before = _busy_seconds(), server.cpu_seconds()
        begin = time.perf_counter()
        found = run(connections, seconds)
        taken = time.perf_counter() - begin
        cpu = cpu_between(before, server.cpu_seconds())
        others = _busy_seconds() - busy - cpu - found["generator_cpu_ms"] * found["requests"] / 1000
        if not found["requests"]:
            raise RuntimeError(f"no request was answered by {connections} connections: {found}")
        result[name] = found | {
            "cpu_ms": cpu * 1000 / found["requests"],
            # How much of the machine went to neither server nor generator: a measure of what was disturbed.
            "others_share": max(others, 0) / taken / os.cpu_count(),
            "load": os.getloadavg()[0],
        }
    return result


def _settle(one: Contestant, port: int) -> None:
    """Has our server write its log's rows of the load before: they are on no other load's account."""
    if one.kind == "ours":
        headers = {"Authorization": f"Bearer {ADMIN}"}
        post(f"http://127.0.0.1:{port}/internal/flush", b"", headers)


def _busy_seconds() -> float:
    """Interrupts are left out: most are the load's own packets, and are on no process's account."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + getattr(times, "steal", 0.0)


def _log_state(port: int) -> dict:
    """That the prediction log kept up: what was dropped, by the server's own word."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/internal/status", headers={"Authorization": f"Bearer {ADMIN}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        status = json.load(answer)
    return {"predictions_dropped": sum(worker["predictions_dropped"] for worker in status["workers"])}


def medians(rounds: list[dict]) -> dict:
    """The median of each number over the rounds that have it."""
    result: dict = {}
    for key in dict.fromkeys(key for one in rounds for key in one):
        values = [one[key] for one in rounds if key in one]
        if isinstance(values[0], dict):
            result[key] = medians(values)
        elif isinstance(values[0], str):
            result[key] = values[0]
        else:
            result[key] = statistics.median(values)
    return result


def machine(arguments) -> dict:
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "generator": load.generator_name(own=arguments.own_generator),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "load_before": os.getloadavg(),
        "versions": {name: version(name) for name in OURS},
    }


if __name__ == "__main__":
    main()

"""Two hundred models in one inference server beside one model in it.

    python benchmarks/models/run.py [--models 200] [--rounds 5] [--seconds 4] [--no-report]

Two kinds: the churn pipeline (19 raw columns, one-hot, LightGBM of 200 trees) and a small LightGBM of 20
trees on 19 numbers, both as ONNX. Each model is a bundle of its own with a digest of its own, in a session
of its own: nothing is shared. Two servers, each of one worker with keys, validation, metrics and the
prediction log on, take turns under the same load: one with one model, one with all of them, asked in random
order. The engine alone is measured in the same way, in process. Then a third server starts lazily, and a
fourth within a budget that holds some of the models. One answer of every model is compared with the
original's.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "serving"))

import load  # noqa: E402 - the load generator, the model and the processes are those of bench-serving
import msgspec  # noqa: E402
import payloads  # noqa: E402
import psutil  # noqa: E402
from environments import CACHE  # noqa: E402
from model import Model, churn_model  # noqa: E402
from processes import Server, cpu_between, free_port, post  # noqa: E402
from small import small_model  # noqa: E402
from tables import write_report  # noqa: E402

from ml_platform.contracts.bundles import MANIFEST_NAME, decode_manifest, encode_manifest  # noqa: E402
from ml_platform.contracts.serving import (  # noqa: E402
    INFERENCE_INTERNAL,
    PREDICT,
    InferenceStatus,
    ServingKey,
)
from ml_platform.inference.runtimes.onnx import OnnxRuntime  # noqa: E402

CONNECTIONS = 32
TOKEN = "mlops_bench_models"
TOLERANCE = 1e-4
_MIB = 1024 * 1024
VERSIONS = ("onnxruntime", "uvicorn", "uvloop", "httptools", "msgspec", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each load")
    parser.add_argument("--no-report", action="store_true")
    arguments = parser.parse_args()
    pipeline, small = churn_model(), small_model()
    many = bundles(pipeline, arguments.models)
    results = {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9),
            "python": platform.python_version(),
            "generator": load.generator_name(),
            "versions": {name: version(name) for name in VERSIONS},
        },
        "models": arguments.models,
        "connections": CONNECTIONS,
        "pipeline": compared(pipeline, many, arguments),
        "small": compared(small, bundles(small, arguments.models), arguments),
        "lazy": lazy(pipeline, many),
        "budget": budget(pipeline, many),
        "load_average": os.getloadavg(),
    }
    if arguments.no_report:
        print(json.dumps(results, indent=1))
        return
    write_report(HERE.parent / "reports", results)


def bundles(model: Model, count: int) -> Path:
    """As many bundles as are asked for, made once: equal graphs that name themselves differently."""
    digest = hashlib.sha256((model.bundle / MANIFEST_NAME).read_bytes()).hexdigest()[:12]
    directory = CACHE / "models" / f"many-{digest}-{count}"
    if (directory / "complete").exists():
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    graph = (model.bundle / "model.onnx").read_bytes()
    manifest = decode_manifest((model.bundle / MANIFEST_NAME).read_bytes())
    for number in range(count):
        bundle = directory / f"m{number:03}"
        shutil.copytree(model.bundle, bundle)
        # One more field of the message, `doc_string`: another file, the same graph.
        text = f"model {number:03}".encode()
        (bundle / "model.onnx").write_bytes(graph + bytes([0x32, len(text)]) + text)
        named = hashlib.sha256((bundle / "model.onnx").read_bytes()).hexdigest()
        files = {**manifest.files, "model.onnx": named}
        (bundle / MANIFEST_NAME).write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))
    (directory / "complete").touch()
    return directory


@contextmanager
def serving(directory: Path, *options: object) -> Iterator[tuple[Server, int, float]]:
    """A server of one worker on a directory of bundles, its port, and the seconds until it was ready."""
    with tempfile.TemporaryDirectory(prefix="bench-models-") as home:
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        may = (PREDICT, INFERENCE_INTERNAL)
        key = ServingKey(key_id="bench", token_sha256=digest, team="default", permissions=may)
        keys = Path(home) / "keys.json"
        keys.write_bytes(msgspec.json.encode((key,)))
        port = free_port()
        began = time.perf_counter()
        command = [
            sys.executable, "-m", "ml_platform.inference.main", "--model-dir", directory, "--port", port,
            "--workers", "1", "--keys-file", keys, "--state-dir", Path(home) / "state", "--load-wait", "120",
            *options,
        ]  # fmt: skip
        server = Server(command, Path(home) / "run", {})
        try:
            server.wait_for(lambda: status(port) is not None)
            yield server, port, time.perf_counter() - began
        finally:
            server.stop()


def status(port: int) -> InferenceStatus | None:
    """What the server says of itself, once its worker has applied its snapshot."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/internal/status", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        told = msgspec.json.decode(answer.read(), type=InferenceStatus)
    return told if told.workers and told.snapshot_version >= 0 else None


def form(name: str) -> payloads.Form:
    return payloads.records(f"/v1/models/{name}:predict", "instances").with_headers(
        Authorization=f"Bearer {TOKEN}"
    )


def check(model: Model, port: int, name: str, number: int) -> float:
    """Asks for one customer and compares the answer; gives the milliseconds."""
    place = number % len(model.rows)
    asked = form(name)
    body = asked.body(model.rows[place])
    began = time.perf_counter()
    answer, headers = post(f"http://127.0.0.1:{port}{asked.path}", body, asked.headers_for(body))
    took = (time.perf_counter() - began) * 1000
    given = asked.read(answer, headers)
    if abs(given - model.expected[place]) > TOLERANCE:
        raise SystemExit(f"{name} answered {given}, the pipeline {model.expected[place]}")
    return took


def compared(model: Model, many: Path, arguments: argparse.Namespace) -> dict:
    """Throughput, latency, CPU time and memory of one model and of all, taken in turns."""
    dice = random.Random(1)
    one = many.with_name(many.name + "-one")
    shutil.rmtree(one, ignore_errors=True)
    shutil.copytree(many / "m000", one / "m000")
    names = [f"m{number:03}" for number in range(arguments.models)]
    rounds: dict[str, list[dict]] = {"one": [], "many": []}
    with (
        tempfile.TemporaryDirectory() as work,
        serving(one, "--load", "eager") as (small, small_port, small_start),
        serving(many, "--load", "eager", "--memory-bytes", "-1") as (large, large_port, large_start),
    ):
        sides = {"one": (small, small_port, names[:1]), "many": (large, large_port, names)}
        files = {}
        for side, (_, port, asked) in sides.items():
            for number, name in enumerate(asked):
                check(model, port, name, number)
            pairs = [(name, row) for row in model.rows[:16] for name in asked]
            dice.shuffle(pairs)
            files[side] = Path(work) / side
            load.write_requests(files[side], (form(name).request(row, port) for name, row in pairs))
            load.http_load(port, files[side], CONNECTIONS, 2)
        for _ in range(arguments.rounds):
            for side, (server, port, _) in sides.items():
                before = server.cpu_seconds()
                result = load.http_load(port, files[side], CONNECTIONS, arguments.seconds)
                cpu = cpu_between(before, server.cpu_seconds())
                rounds[side].append({**result, "cpu_ms": cpu * 1000 / result["requests"]})
        alone = {
            side: load.http_load(port, files[side], 1, arguments.seconds)
            for side, (_, port, _) in sides.items()
        }
        memory = {side: server.memory()["pss_mb"] for side, (server, _, _) in sides.items()}
        told = status(large_port)
    assert told is not None
    loads = sorted(r.load_seconds * 1000 for r in told.workers[0].revisions if r.load_seconds is not None)
    return {
        "file_bytes": (many / "m000" / "model.onnx").stat().st_size,
        "engine_us": engine(model, many),
        "rounds": rounds,
        "one_connection": alone,
        "memory_mb": memory,
        "start_seconds": {"one": small_start, "many": large_start},
        "load_ms": {"p50": statistics.median(loads), "max": loads[-1], "count": len(loads)},
    }


def engine(model: Model, directory: Path, rounds: int = 5, calls: int = 1500) -> dict:
    """Microseconds of CPU for one row by the runtime alone: one model again and again, and all in turns."""
    with ThreadPoolExecutor(1) as executor:
        runtimes = [
            OnnxRuntime(path, decode_manifest((path / MANIFEST_NAME).read_bytes()), executor)
            for path in sorted(directory.iterdir())
            if path.is_dir()
        ]
        names = [column.name for column in runtimes[0].columns]
        rows = [[tuple(row[name] for name in names)] for row in model.rows]
        dice = random.Random(3)
        taken: dict[str, list[float]] = {"one": [], "many": [], "one_of_32_rows": []}
        for _ in range(rounds):
            order = [dice.choice(runtimes) for _ in range(calls)]
            began = time.thread_time()
            for number in range(calls):
                runtimes[0].predict(rows[number % len(rows)])
            middle = time.thread_time()
            for number, runtime in enumerate(order):
                runtime.predict(rows[number % len(rows)])
            late = time.thread_time()
            batch = [row for (row,) in rows[:32]]
            for _ in range(calls // 32):
                runtimes[0].predict(batch)
            end = time.thread_time()
            taken["one"].append((middle - began) / calls * 1e6)
            taken["many"].append((late - middle) / calls * 1e6)
            taken["one_of_32_rows"].append((end - late) / (calls // 32) / 32 * 1e6)
    return {name: statistics.median(values) for name, values in taken.items()}


def lazy(model: Model, directory: Path) -> dict:
    """A start that loads nothing, and what the first request of each model waits."""
    with serving(directory, "--load", "lazy", "--memory-bytes", "-1") as (server, port, start):
        empty = server.memory()["pss_mb"]
        names = sorted(path.name for path in directory.iterdir() if path.is_dir())
        cold = sorted(check(model, port, name, number) for number, name in enumerate(names))
        warm = sorted(check(model, port, name, number) for number, name in enumerate(names))
        full = server.memory()["pss_mb"]
    return {
        "start_seconds": start,
        "memory_mb": {"before": empty, "after": full},
        "first_request_ms": {"p50": statistics.median(cold), "max": cold[-1]},
        "next_request_ms": {"p50": statistics.median(warm), "max": warm[-1]},
    }


def budget(model: Model, directory: Path) -> dict:
    """All models asked in random order while only some fit: each answer waits for a load three times in four."""
    names = sorted(path.name for path in directory.iterdir() if path.is_dir())
    dice = random.Random(2)
    limit = 150 * _MIB
    with serving(directory, "--load", "lazy", "--memory-bytes", limit) as (server, port, _):
        empty = server.memory()["pss_mb"]
        began = time.perf_counter()
        taken, seen = [], []
        for turn in range(3):
            for number, name in enumerate(dice.sample(names, len(names))):
                taken.append(check(model, port, name, number + turn))
            seen.append(server.memory()["pss_mb"])
        seconds = time.perf_counter() - began
        told = status(port)
    assert told is not None
    revisions = told.workers[0].revisions
    return {
        "limit_mb": limit / 1e6,
        "in_memory": sum(r.memory_bytes > 0 for r in revisions),
        "used_mb": sum(r.memory_bytes for r in revisions) / 1e6,
        "evictions": sum(r.evictions for r in revisions),
        "failures": sum(r.load_failures for r in revisions),
        "memory_mb": {"before": empty, "most": max(seen)},
        "requests": len(taken),
        "seconds": seconds,
        "request_ms": {"p50": statistics.median(taken), "p99": sorted(taken)[len(taken) * 99 // 100]},
    }


if __name__ == "__main__":
    main()

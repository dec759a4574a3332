"""The report of bench-models: what was measured, in tables, and the raw numbers."""

import json
import statistics
from pathlib import Path

GOAL_RATE = 0.7
GOAL_MB = 3

TITLES = {
    "small": "small LightGBM: 20 trees, 19 numbers in one matrix",
    "pipeline": "churn pipeline: 19 raw columns, one-hot, LightGBM of 200 trees",
}


def write_report(directory: Path, results: dict) -> None:
    (directory / "models.md").write_text("\n".join(_lines(results)) + "\n")


def _lines(results: dict) -> list[str]:
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lazy, budget = results["lazy"], results["budget"]
    return [
        f"# {results['models']} models in one server",
        "",
        f"{machine['system']}, {machine['cores']} cores, {machine['memory_gb']} GB, Python {machine['python']};",
        f"{versions}. Load: {machine['generator']}, {results['connections']} connections, on the same cores.",
        f"Load average at the end: {results['load_average'][0]:.1f}; compare within the run only.",
        "",
        "One worker, with keys, validation, metrics and the prediction log on. Each model is a bundle and a",
        "session of its own. Medians of rounds taken in turns; one answer of every model was compared with the",
        "original's.",
        "",
        "## Throughput and memory",
        "",
        "| model | in the server | requests/s | CPU a request | p50 | p99 | 1 connection, p50 | PSS |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(line for kind in TITLES for line in _sides(kind, results)),
        "",
        "The goal is 70 % of the throughput of one model, and less than 3 MB each beyond its own file.",
        "",
        *(line for kind in TITLES for line in _verdict(kind, results)),
        "One model has two advantages that do not come from the server: requests that wait together for it are",
        "one batch, while those for different models cannot be; and its trees stay in the core's cache, while",
        "those of all models do not fit there. The runtime alone, in process, without any server:",
        "",
        "| model | one row, one model | of a batch of 32, one model | one row, all models in turns |",
        "| --- | --- | --- | --- |",
        *(_engine(kind, results) for kind in TITLES),
        "",
        "## Loads",
        "",
        f"- Eager start with {results['models']} pipelines: {results['pipeline']['start_seconds']['many']:.1f} s until the",
        f"  worker accepts; a load takes {results['pipeline']['load_ms']['p50']:.0f} ms (median), digests checked.",
        f"- Lazy start: {lazy['start_seconds']:.1f} s with an empty bundle cache, {lazy['memory_mb']['before']:.0f} MB. The",
        f"  first request of a model takes {lazy['first_request_ms']['p50']:.0f} ms (median; at most",
        f"  {lazy['first_request_ms']['max']:.0f} ms), the next {lazy['next_request_ms']['p50']:.1f} ms. All loaded:",
        f"  {lazy['memory_mb']['after']:.0f} MB.",
        f"- Budget of {budget['limit_mb']:.0f} MB, all models asked three times in random order, one after another:",
        f"  {budget['requests']} right answers, {budget['evictions']} evictions, {budget['failures']} failed loads;",
        f"  {budget['in_memory']} models in memory at the end, {budget['used_mb']:.0f} MB by the server's books, and",
        f"  {budget['memory_mb']['most'] - budget['memory_mb']['before']:.0f} MB more PSS than before the first. Median of a",
        f"  request: {budget['request_ms']['p50']:.0f} ms, since most wait for a load.",
        "",
        "## Raw numbers",
        "",
        "```json",
        json.dumps(results, indent=1),
        "```",
    ]


def _median(rounds: list[dict], name: str) -> float:
    return statistics.median(one[name] for one in rounds)


def _sides(kind: str, results: dict) -> list[str]:
    found = results[kind]
    lines = []
    for side, count in (("one", 1), ("many", results["models"])):
        rounds = found["rounds"][side]
        failed = sum(one["failed"] for one in rounds)
        if failed:
            raise SystemExit(f"{kind}, {side}: {failed} requests failed")
        lines.append(
            f"| {TITLES[kind]} | {count} | {_median(rounds, 'per_second'):,.0f} | {_median(rounds, 'cpu_ms'):.3f} ms |"
            f" {_median(rounds, 'p50'):.2f} ms | {_median(rounds, 'p99'):.1f} ms |"
            f" {found['one_connection'][side]['p50']:.2f} ms | {found['memory_mb'][side]:.0f} MB |"
        )
    return lines


def _verdict(kind: str, results: dict) -> list[str]:
    found, models = results[kind], results["models"]
    one, many = found["rounds"]["one"], found["rounds"]["many"]
    # Round by round, since each pair was measured within seconds.
    rate = statistics.median(b["per_second"] / a["per_second"] for a, b in zip(one, many, strict=True))
    cpu = statistics.median(a["cpu_ms"] / b["cpu_ms"] for a, b in zip(one, many, strict=True))
    each = (found["memory_mb"]["many"] - found["memory_mb"]["one"]) / (models - 1)
    beyond = each - found["file_bytes"] / 1e6
    return [
        f"- {TITLES[kind]}: **{rate:.0%}** of the throughput of one ({cpu:.0%} by CPU time):",
        f"  {_met(rate >= GOAL_RATE)};",
        f"  {each:.2f} MB each, {beyond:.2f} MB beyond its file of {found['file_bytes'] / 1e6:.2f} MB:",
        f"  {_met(beyond < GOAL_MB)}.",
        "",
    ]


def _met(it_is: bool) -> str:
    return "the goal is met" if it_is else "the goal is missed"


def _engine(kind: str, results: dict) -> str:
    taken = results[kind]["engine_us"]
    return f"| {TITLES[kind]} | {taken['one']:.0f} µs | {taken['one_of_32_rows']:.0f} µs | {taken['many']:.0f} µs |"

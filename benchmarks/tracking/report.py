"""Writes the report of the tracking benchmark: a table for people, the raw numbers for programs."""

import json
from pathlib import Path

NAMES = {
    "stock": "`mlflow server`, its defaults",
    "uvloop": "with uvloop installed",
    "ours": "ours, authenticated",
}
CALL = (("log_param", 3.5), ("log_metric", 4), ("create_run", 5), ("log_batch", 15))


def write_report(directory: Path, machine: dict, raw: dict, median: dict) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "medians": median, "raw": raw}
    (directory / "tracking.json").write_text(json.dumps(content, indent=1) + "\n")
    (directory / "tracking.md").write_text(_text(machine, median))


def _text(machine: dict, median: dict) -> str:
    shown = [name for name in NAMES if name in median]
    lines = [
        "# Tracking, by the `mlflow` client's own calls, SQLite",
        "",
        "Medians of interleaved rounds on one machine; the client shares its cores with the servers.",
        "The goals are those of the design, on a machine with nothing else to do: where the last row shows a",
        "load, single figures are too high and only the ratios between the columns mean anything.",
        "",
        "| | " + " | ".join(NAMES[name] for name in shown) + " | goal |",
        "| --- |" + " --- |" * (len(shown) + 1),
    ]

    def row(title: str, pick, goal: str) -> None:
        lines.append(
            f"| {title} | " + " | ".join(_cell(pick, median[name]) for name in shown) + f" | {goal} |"
        )

    for call, goal in CALL:
        title = f"{call} of 100 metrics" if call == "log_batch" else call
        row(f"{title}, p50", lambda one, call=call: f"{one['calls'][call]['p50']:.1f} ms", f"≤ {goal} ms")
    for call, goal in (("log_metric", 300), ("create_run", 200)):
        row(
            f"8 threads: {call}",
            lambda one, call=call: f"{one['threads'][call]['per_second']:.0f} /s",
            f"≥ {goal} /s",
        )
        row(
            f"8 threads: {call}, p99",
            lambda one, call=call: f"{one['threads'][call]['p99']:.0f} ms",
            "≤ 100 ms",
        )
    row("5,000 runs: page of 100", lambda one: f"{one['search']['page_of_100']['p50']:.0f} ms", "≤ 79 ms")
    row("5,000 runs: top 10 by a metric", lambda one: f"{one['search']['top_10']['p50']:.0f} ms", "≤ 861 ms")
    row("the same in our own lists: page", lambda one: f"{one['own_lists']['page_of_100']:.1f} ms", "≤ 50 ms")
    row("the same in our own lists: top 10", lambda one: f"{one['own_lists']['top_10']:.1f} ms", "≤ 50 ms")
    row("memory (PSS)", lambda one: f"{one['memory']['pss_mb']:.0f} MB", "≤ 400 MB")
    row("processes", lambda one: f"{one['memory']['processes']}", "1")
    row("start", lambda one: f"{one['start_seconds']:.1f} s", "≤ 10 s")
    row("load of the machine before a round", lambda one: f"{one['load_before']:.1f}", "")
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines += [
        "",
        (
            f"Machine: {machine['system']}, {machine['cores']} cores, {machine['memory_gb']} GB; "
            f"Python {machine['python']}; {versions}."
        ),
        "",
    ]
    return "\n".join(lines)


def _cell(pick, one: dict) -> str:
    try:
        return pick(one)
    except (KeyError, TypeError):
        return "-"

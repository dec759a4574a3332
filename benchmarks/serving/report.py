"""Writes the report of the serving benchmark: tables for people, the raw numbers for programs."""

import json
from pathlib import Path

OURS = "ours"
GOALS = (
    ("p50 at 1 connection", lambda one: one["one"]["p50"], "≤ 0.25 ms", lambda v, _: v <= 0.25, "{:.2f} ms"),
    (
        "requests/s at 32",
        lambda one: one["many"]["per_second"],
        "≥ 16,000",
        lambda v, _: v >= 16_000,
        "{:,.0f}",
    ),
    ("p99 at 32", lambda one: one["many"]["p99"], "≤ 4 ms", lambda v, _: v <= 4, "{:.1f} ms"),
    (
        "CPU a request at 32",
        lambda one: one["many"]["cpu_ms"],
        "≤ 0.08 ms",
        lambda v, _: v <= 0.08,
        "{:.3f} ms",
    ),
)
MEMORY_GOAL = 180


BEGIN, END = "<!-- figures: written by make bench-serving -->", "<!-- end of figures -->"


def write_report(directory: Path, document: Path, raw: dict) -> None:
    """The report and its raw numbers in a directory, and what the document quotes between its marks."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "serving.json").write_text(json.dumps(raw, indent=1) + "\n")
    (directory / "serving.md").write_text("\n".join(_text(raw)) + "\n")
    text = document.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{document} has lost the marks between which the figures stand")
    figures = "\n".join(_quoted(raw))
    document.write_text(f"{before}{BEGIN}\n{figures}\n{END}{after}")


def _text(raw: dict) -> list[str]:
    servers = raw["servers"]
    measured = {name: one for name, one in servers.items() if one["medians"].get("forms")}
    lines = [
        "# Serving: one row of the churn pipeline, beside the servers people use",
        "",
        "19 raw columns, one-hot encoding and LightGBM of 200 trees; one row a request, 64 different customers in",
        "turn; one worker, models on one thread; closed loop over kept-alive connections of the loopback address.",
        "Every server is real and in an environment of its own; it was started, gave the model's own prediction",
        "for each of the customers (within 0.0001), was warmed up, loaded by 1 and by 32 connections, weighed and",
        "stopped, in each round anew. Medians over the rounds. The generator shares the cores with the servers, so",
        "the CPU time that all processes of a server take for a request stands beside its speed.",
        "",
        *_conditions(raw, measured),
        "## JSON over HTTP",
        "",
        *_main_table(measured),
        "",
        "'ours is ...' compares the row with our main one, whose authentication, routing, validation, canary,",
        "metrics and prediction log are on; the floors have none of these. Below 1, ours is the slower one.",
        "Memory is the PSS of all processes after the load, in so many of them. 'Taken by others' is the part of",
        f"the machine that neither server nor generator used during the load. The generator took {_generator(measured)}",
        "of CPU a request. Every figure of every round is in `serving.json`.",
        "",
        *_absent(servers),
    ]  # fmt: skip
    if OURS in measured:
        lines += [
            *_goals(measured[OURS]),
            *_protocols(measured),
            *_isolated(measured),
            *_origin(raw, measured),
        ]
    return [*lines, *_machine(raw)]


def _quoted(raw: dict) -> list[str]:
    measured = {name: one for name, one in raw["servers"].items() if one["medians"].get("forms")}
    lines = [
        *_conditions(raw, measured),
        "| server | p50, 1 connection | 32 connections: requests/s | p99 | CPU a request | memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in measured.values():
        form = _main(one)
        lines.append(
            f"| {one['title']} | {_ms(form['one']['p50'])} | {form['many']['per_second']:,.0f} | "
            f"{_ms(form['many']['p99'])} | {form['many']['cpu_ms']:.3f} ms | "
            f"{one['medians']['memory']['pss_mb']:.0f} MB |"
        )
    return lines


def _conditions(raw: dict, measured: dict) -> list[str]:
    shares = [_main(one)[phase]["others_share"] for one in measured.values() for phase in ("one", "many")]
    worst, machine = max(shares, default=0.0), raw["machine"]
    loads = f"{machine['load_before'][0]:.1f} before, {machine['load_after'][0]:.1f} after"
    text = (
        f"{machine['rounds']} round(s) of {machine['seconds']:g} s a load; load average {loads}; other programs "
        f"took up to {worst:.0%} of the machine."
    )
    if worst > 0.1:
        text = (
            f"**The machine was not quiet**: {text} The figures are those of a disturbed run; even their ratios "
            "are rough, as each server was disturbed differently. CPU time a request suffers least."
        )
    return [text, ""]


def _main_table(measured: dict) -> list[str]:
    lines = [
        (
            "| server | p50, 1 conn. | p95 | p99 | 32 conn.: requests/s | p99 at 32 | CPU a request | memory | "
            "start | ours is ... by requests/s | by p50 | by CPU | taken by others |"
        ),
        "| --- |" + " --- |" * 12,
    ]
    ours = _main(measured[OURS]) if OURS in measured else None
    for name, one in measured.items():
        form, median = _main(one), one["medians"]
        memory, many = median["memory"], form["many"]
        failed = form["one"]["failed"] + many["failed"]
        title = f"{one['title']} ({failed:g} requests failed)" if failed else one["title"]
        lines.append(
            f"| {title} | {_ms(form['one']['p50'])} | {_ms(form['one']['p95'])} | "
            f"{_ms(form['one']['p99'])} | {many['per_second']:,.0f} | "
            f"{_ms(many['p99'])} | {many['cpu_ms']:.3f} ms | {memory['pss_mb']:.0f} MB in {memory['processes']:g} | "
            f"{median['start_seconds']:.1f} s | {_ratios(name, form, ours)} | {many['others_share']:.0%} |"
        )
    return lines


def _generator(measured: dict) -> str:
    taken = [_main(one)["many"]["generator_cpu_ms"] for one in measured.values()]
    return f"{min(taken, default=0):.3f} to {max(taken, default=0):.3f} ms"


def _ratios(name: str, form: dict, ours: dict | None) -> str:
    if ours is None or name == OURS:
        return "- | - | -"
    return " | ".join(
        _times(value)
        for value in (
            ours["many"]["per_second"] / form["many"]["per_second"],
            form["one"]["p50"] / ours["one"]["p50"],
            form["many"]["cpu_ms"] / ours["many"]["cpu_ms"],
        )
    )


def _absent(servers: dict) -> list[str]:
    lines = []
    for one in servers.values():
        title, failures = one["title"].strip("*"), one["failures"]
        if failures:
            when = ", ".join(failures) if one["rounds"] else "any round"
            reason = _one_line(next(iter(failures.values())))
            lines.append(f"- **{title} was not measured in {when}**: `{reason}`")
        for form, reason in one["medians"].get("failed_forms", {}).items():
            when = "every" if form in one["medians"]["forms"] else "any"
            lines.append(f"- **{form} of {title} was not measured in {when} round**: `{_one_line(reason)}`")
    return ["## Not measured", "", *lines, ""] if lines else []


def _goals(ours: dict) -> list[str]:
    form, memory = _main(ours), ours["medians"]["memory"]["pss_mb"]
    rows = [
        f"| {title} | {goal} | {style.format(pick(form))} | {'met' if met(pick(form), ours) else 'missed'} |"
        for title, pick, goal, met, style in GOALS
    ]
    met = "met" if memory <= MEMORY_GOAL else "missed"
    dropped = ours["medians"]["log"]["predictions_dropped"]
    return [
        "## Ours against the goals",
        "",
        "| | goal | measured | |",
        "| --- | --- | --- | --- |",
        *rows,
        f"| memory | ≤ {MEMORY_GOAL} MB | {memory:.0f} MB | {met} |",
        "",
        f"The prediction log kept up: {dropped:g} predictions were dropped from it.",
        "",
    ]


def _protocols(measured: dict) -> list[str]:
    ours = measured[OURS]["medians"]["forms"]
    rows = []
    for name, one in measured.items():
        for title, form in one["medians"]["forms"].items():
            same = ours.get(title)
            if same is None or name.startswith(OURS + "_"):
                continue
            ratios = _ratios(name, form, same)
            rows.append(
                f"| {title} | {one['title']} | {_ms(form['one']['p50'])} | {form['many']['per_second']:,.0f} | "
                f"{_ms(form['many']['p99'])} | {form['many']['cpu_ms']:.3f} ms | {ratios} |"
            )
    return [
        "## Protocol by protocol",
        "",
        "The same row in protocols that we share with peers, each compared with ours in the same one; V2 and gRPC with",
        "19 inputs of one element. gRPC carries raw contents, to KServe typed ones: it makes no frame of raw ones.",
        "",
        ("| protocol | server | p50, 1 conn. | 32 conn.: requests/s | p99 at 32 | CPU a request | ours is ... by "
        "requests/s | by p50 | by CPU |"),
        "| --- |" + " --- |" * 8,
        *sorted(rows),
        "",
    ]  # fmt: skip


def _isolated(measured: dict) -> list[str]:
    if not {"ours_isolated", "mlflow"} <= measured.keys():
        return []
    ours, theirs = (_main(measured[name]) for name in ("ours_isolated", "mlflow"))
    return [
        "## The same MLflow model, isolated",
        "",
        "A model that does not convert runs in a process of its own, in its own environment. Beside `mlflow models",
        f"serve`, with the same model directory and environment: {_times(ours['many']['per_second'] / theirs['many']['per_second'])}",
        (f"by requests/s at 32 connections ({ours['many']['per_second']:,.0f} and {theirs['many']['per_second']:,.0f}), "
        f"{_times(theirs['one']['p50'] / ours['one']['p50'])} by p50 ({_ms(ours['one']['p50'])} and {_ms(theirs['one']['p50'])}), "
        f"{_times(theirs['many']['cpu_ms'] / ours['many']['cpu_ms'])} by CPU. Goal: at least twice."),
        "",
    ]  # fmt: skip


def _origin(raw: dict, measured: dict) -> list[str]:
    engine, ours = raw["engine_ms"], _main(measured[OURS])["one"]["p50"]
    own = engine["onnxruntime_with_feed"]
    lines = [
        "## Where the gain comes from",
        "",
        f"In process, without any server, one row takes pandas and scikit-learn {engine['pandas_and_sklearn']:.2f} ms",
        (f"({engine['sklearn_on_a_ready_frame']:.2f} ms of it with the frame already made) and ONNX Runtime "
        f"{own:.3f} ms ({engine['onnxruntime']:.3f} ms of it with its input arrays already made)."),
        "At one connection nothing is batched and nobody waits, so what a server's p50 has beyond its engine is",
        "server and protocol. The last column says how much of what ours is faster by is the engine's.",
        "",
        ("| server | p50, 1 conn. | engine | server and protocol | ours: engine | ours: server and protocol | "
        "of the difference: engine |"),
        "| --- |" + " --- |" * 6,
    ]  # fmt: skip
    for name, one in measured.items():
        if one["engine"] is None or name.startswith(OURS):
            continue
        p50, their = _main(one)["one"]["p50"], engine[one["engine"]]
        share = f"{min(max((their - own) / (p50 - ours), 0), 1):.0%}" if p50 > ours else "-"
        lines.append(
            f"| {one['title']} | {_ms(p50)} | {their:.3f} ms | {_ms(max(p50 - their, 0))} | {own:.3f} ms | "
            f"{_ms(max(ours - own, 0))} | {share} |"
        )
    steps = ("fastapi", "fastapi_onnx", OURS)
    if measured.keys() >= set(steps):
        rates = [_main(measured[name])["many"]["per_second"] for name in steps]
        lines += [
            "",
            (f"At 32 connections: FastAPI + pandas answers {rates[0]:,.0f} requests/s; another engine in the same "
            f"framework {rates[1]:,.0f} ({rates[1] / rates[0]:.1f} times as many); our server with that engine, its "
            f"decoders compiled from the signature and whatever waits as one batch {rates[2]:,.0f} "
            f"({rates[2] / rates[1]:.1f} times more again)."),
        ]  # fmt: skip
    return [*lines, ""]


def _machine(raw: dict) -> list[str]:
    machine = raw["machine"]
    listed = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        "## Machine and versions",
        "",
        (f"{machine['system']}, {machine['cores']} cores, {machine['memory_gb']} GB; Python {machine['python']}; "
        f"load from {machine['generator']}. Parity of the converted model on {raw['parity']['rows']:,} rows: "
        f"differences of at most {raw['parity']['max_abs_difference']:.1e}."),
        "",
        f"- ours: {listed}",
    ]  # fmt: skip
    seen = set()
    for one in raw["servers"].values():
        text = ", ".join(f"{name} {number}" for name, number in one.get("versions", {}).items())
        if text and text not in seen:
            seen.add(text)
            lines.append(f"- {one['title']}: {text}")
    return lines


def _main(one: dict) -> dict:
    return next(iter(one["medians"]["forms"].values()))


def _ms(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def _times(value: float) -> str:
    return f"{value:.2f} times" if value < 10 else f"{value:.0f} times"


def _one_line(text: str) -> str:
    return " ".join(text.replace("`", "'").split())[-400:]

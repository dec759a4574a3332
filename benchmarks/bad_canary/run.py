"""Bad canaries of four kinds under traffic, and good ones, with the default plan: make bad-canary.

A control plane and an inference server are started, as `mlops up` starts them, and endpoints of several teams
in production are asked at a fixed, open rate. To each a new version is deployed, again and again, with nothing
said about its canary, and the time is taken from the first bad answer that a caller got of it until the
rollback was effective. Good versions follow, of which none may go back. Writes `benchmarks/reports/bad_canary.md`.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from benchmarks.bad_canary.callers import Answer, Callers, Target
from tests.inference.support.server import Server
from tests.support.platform import RunningPlatform, running_platform
from tests.support.rollouts import LOW, Bench, LinearTools

from ml_platform.contracts.deployments import CanaryPlan, RolloutStatus
from ml_platform.integrations.inference import InferenceClient
from ml_platform.integrations.predictionlog import LocalPredictionLog
from ml_platform.server.canary_comparison import LoggedComparison
from ml_platform.services.deployments import RolloutParts
from ml_platform.services.monitoring import AnswerKinds, Deployments, GroundTruthStore

REPORT = Path(__file__).parents[1] / "reports" / "bad_canary.md"
GOAL_SECONDS = 60.0
LONGEST_BAD = 300.0
LONGEST_GOOD = 1800.0
GOOD_STEP_SECONDS = 10
AFTERWARDS = 2.0
RATE, SLOW_RATE = 60.0, 30.0
RETURNING = 200
"""At half of the endpoints there are only so many inputs, which come back."""
WORK = 400
"""Products of two matrices of 64 x 64 for each answer: a few milliseconds."""
THRESHOLDS = {10.0: "nearly all", 50.0: "half", 60.0: "a quarter"}
SHIFTS = {15.0: "one deviation up", 30.0: "two deviations up", -30.0: "two deviations down"}


@dataclass(frozen=True)
class Kind:
    """A way to be bad: what the model is, by the number of the try, and which answers show it."""

    name: str
    model: Callable[[int], tuple[str, dict[str, Any]]]
    is_bad: Callable[[Answer], bool]
    serving: dict[str, Any]
    rate: float = RATE


def _of(table: dict[float, str], key: str, number: int, plus: float = 0.0) -> tuple[str, dict[str, Any]]:
    value, told = list(table.items())[number % len(table)]
    return told, {key: value + plus}


KINDS = (
    Kind(
        "errors: requests fail",
        lambda number: _of(THRESHOLDS, "fails_above", number),
        lambda answer: answer.status >= 500,
        {},
    ),
    Kind(
        "NaN for an answer",
        lambda number: _of(THRESHOLDS, "empty_above", number),
        lambda answer: answer.status == 200 and answer.value is None,
        {},
    ),
    Kind(
        "three times the latency",
        lambda _: ("all", {"work": 3 * WORK}),
        lambda _: True,
        {"work": WORK},
        SLOW_RATE,
    ),
    Kind(
        "drifted answers",
        lambda number: _of(SHIFTS, "bias", number, 1.0),
        lambda _: True,
        {},
    ),
)


@dataclass(frozen=True)
class Tried:
    """What became of one version."""

    kind: str
    how: str
    status: str
    reason: str
    seconds: float | None
    answers: int
    bad: int
    failed_beside: int
    milliseconds: float | None
    milliseconds_before: float | None


class Lane:
    """One endpoint, its callers, and the versions that are tried there, one after the other."""

    def __init__(self, kind: Kind, bench: Bench, callers: Callers, name: str, inputs: int | None) -> None:
        self.kind, self._bench, self._callers, self._name = kind, bench, callers, name
        bench.plant("plain", **kind.serving)
        bench.assess("plain", LOW)
        first = bench.deploy("plain", "production")
        bench.until(first, "succeeded", within=300)
        bench.answers_with(first, 2.0, within=60)
        callers.ask(Target(name, first["endpoint"], bench.engineer.token, kind.rate, inputs))

    def bad(self, number: int) -> Tried:
        """One that is rolled back, with nothing said about how."""
        how, model = self.kind.model(number)
        return self._try(how, self.kind.serving | model, self.kind.is_bad, LONGEST_BAD)

    def good(self) -> Tried:
        """One that does what the one before did."""
        return self._try(
            "good", self.kind.serving, lambda _: False, LONGEST_GOOD, {"step_seconds": GOOD_STEP_SECONDS}
        )

    def _try(
        self,
        how: str,
        model: dict[str, Any],
        is_bad: Callable[[Answer], bool],
        longest: float,
        canary: dict[str, Any] | None = None,
    ) -> Tried:
        self._bench.plant("plain", **model)
        since = len(self._callers.answers[self._name])
        accepted = self._bench.deploy("plain", "production", **({"canary": canary} if canary else {}))
        rollout = self._finished(accepted, longest)
        time.sleep(AFTERWARDS)
        heard = self._callers.answers[self._name][since:]
        mine = [answer for answer in heard if answer.revision == rollout["revision_id"]]
        others = [answer for answer in heard if answer.revision != rollout["revision_id"]]
        bad = [answer for answer in mine if is_bad(answer)]
        seconds = None
        if bad and rollout["status"] == RolloutStatus.ROLLED_BACK:
            over = datetime.fromisoformat(rollout["finished_at"]).timestamp()
            seconds = max(over, mine[-1].ended) - bad[0].ended
        return Tried(
            kind=self.kind.name,
            how=how,
            status=rollout["status"],
            reason=rollout["reason"] or "",
            seconds=seconds,
            answers=len(mine),
            bad=len(bad),
            failed_beside=sum(answer.status != 200 for answer in others),
            milliseconds=_median([answer.milliseconds for answer in mine]),
            milliseconds_before=_median([answer.milliseconds for answer in others]),
        )

    def _finished(self, accepted: dict[str, Any], longest: float) -> dict[str, Any]:
        """The rollout when it is over; what nobody decided in time is ended here, and was not rolled back."""
        deadline = time.monotonic() + longest
        while not RolloutStatus((found := self._bench.rollout(accepted))["status"]).finished:
            if time.monotonic() > deadline:
                address = f"/deployments/{accepted['deployment_id']}/rollback"
                assert self._bench.engineer.client.post(address).status_code == 200
                return found
            time.sleep(0.25)
        return found


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def prepare(running: RunningPlatform, server: Server) -> None:
    """Has the control plane use this inference server and its log, and small models; all else is as it is."""
    components = running.runtime.components
    parts = components.get(RolloutParts)
    client = InferenceClient(lambda: server.base, parts.smoke_keys.service_token())
    predictions = server.state / "predictions"
    log = LocalPredictionLog(predictions / "log", predictions / "spool", flush=client.flush)
    kinds = components.get(AnswerKinds)
    parts.tools, parts.plane, parts.inference_url = LinearTools(), client, lambda: server.base
    parts.comparison = LoggedComparison(
        components.get(Deployments), components.get(GroundTruthStore), log, kinds
    )


def measure(root: Path, canaries: int, good: int, lanes_each: int) -> tuple[list[Tried], list[Tried]]:
    """All tries, endpoints side by side."""
    with running_platform(root / "home") as running:
        server = Server(
            root / "inference",
            None,
            running.settings.home / "storage",
            control_url=running.url,
            token_file=running.settings.home / "secrets" / "inference.key",
            log_roll_seconds=30,
        )
        server.start()
        callers = Callers()
        try:
            prepare(running, server)
            lanes = []
            for number, kind in enumerate(KINDS * lanes_each):
                bench = Bench(running, root / f"models-{number}", LinearTools(), server.base)
                bench.new_team()
                returning = RETURNING if number % 2 != number // len(KINDS) % 2 else None
                lanes.append(Lane(kind, bench, callers, f"lane-{number}", returning))
            return side_by_side(lanes, canaries, good)
        finally:
            callers.close()
            server.close()


def side_by_side(lanes: list[Lane], canaries: int, good: int) -> tuple[list[Tried], list[Tried]]:
    """The bad ones of all lanes, then the good ones; each lane takes its share of both."""

    def tries(lane: Lane, place: int) -> tuple[list[Tried], list[Tried]]:
        bad = [_told(lane.bad(number)) for number in range(place, canaries, len(lanes))]
        return bad, [_told(lane.good()) for _ in range(place, good, len(lanes))]

    with ThreadPoolExecutor(len(lanes)) as pool:
        found = list(pool.map(tries, lanes, range(len(lanes))))
    return [item for bad, _ in found for item in bad], [item for _, fine in found for item in fine]


def _told(tried: Tried) -> Tried:
    seconds = "-" if tried.seconds is None else f"{tried.seconds:.1f} s"
    print(f"{tried.kind}, {tried.how}: {tried.status} after {seconds}: {tried.reason}", flush=True)
    return tried


def in_time(tried: Tried) -> bool:
    return tried.seconds is not None and tried.seconds <= GOAL_SECONDS


def report(bad: list[Tried], good: list[Tried], minutes: float, load: tuple[float, float]) -> str:
    lines = [_line([item for item in bad if item.kind == kind.name]) for kind in KINDS]
    plan = CanaryPlan()
    alarms = [item for item in good if item.status != RolloutStatus.SUCCEEDED]
    slow = [item for item in bad if item.kind == KINDS[2].name]
    medians = [
        _median([value for value in values if value is not None]) or 0.0
        for values in ([i.milliseconds_before for i in slow], [i.milliseconds for i in slow])
    ]
    seconds = "; ".join(
        f"{kind.name}: " + ", ".join(f"{i.seconds:.1f}" for i in bad if i.kind == kind.name and i.seconds)
        for kind in KINDS
    )
    return f"""# Bad canaries

`make bad-canary`: {len(bad)} versions that go wrong on live traffic, which passed all nine stages, and {len(good)} that do what
the one before did. A control plane and an inference server with one worker, {len(KINDS)} kinds of endpoints in production side
by side, each asked at an open rate of {RATE:g} requests a second ({SLOW_RATE:g} where models take time). **{sum(map(in_time, bad))}
of {len(bad)} bad ones were rolled back within {GOAL_SECONDS:g} s, {len(alarms)} of {len(good)} good ones were.** {minutes:.0f} minutes.

Nothing was said about the canaries of the bad versions: the plan is the default ({", ".join(map(str, plan.steps))} percent, {plan.step_seconds:g} s
and {plan.min_requests} requests a step, errors {plan.max_error_rate:.0%}, {plan.max_latency_ratio:g} times the latency, PSI {plan.max_answer_shift:g}), and so are all settings.
Good versions had steps of {GOOD_STEP_SECONDS} s instead of {plan.step_seconds:g}, and all else by default, {plan.min_requests} requests a step included.
The models are small graphs that build at once; what goes wrong does so for nearly all requests, for half, or for a quarter of
them, in turns; answers drift by one or two of their standard deviations.

The time runs from the first bad answer that a caller got of the new version to the rollback, or to the last answer of that
version to any caller, whichever is later. The plan judges from 20 requests on, and answers from 30 inputs; where an endpoint has
fewer than ten requests a second, the first step's share of them takes longer than a minute to be so many. At half of the endpoints
no input comes twice, at the others there are {RETURNING} which come back.

| | rolled back in time | seconds: min | median | max | bad answers to callers: median | most | failed requests of the old version |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(lines)}

| good ones | rolled back | failed requests |
| --- | --- | --- |
| {len(good)} | {len(alarms)} | {sum(item.failed_beside for item in good)} |

The slow versions answered their callers in {medians[1]:.1f} ms, the one before in {medians[0]:.1f} ms (medians).

{platform.system()} {platform.release()}, {os.cpu_count()} cores, shared with the callers; Python {platform.python_version()}; load average of a
minute {load[0]:.1f} before and {load[1]:.1f} after.

All seconds. {seconds}.
"""


def _line(tried: list[Tried]) -> str:
    seconds = [item.seconds for item in tried if item.seconds is not None] or [float("nan")]
    return (
        f"| {tried[0].kind} | {sum(map(in_time, tried))} of {len(tried)} | {min(seconds):.1f}"
        f" | {statistics.median(seconds):.1f} | {max(seconds):.1f}"
        f" | {statistics.median(item.bad for item in tried):.0f} | {max(item.bad for item in tried)}"
        f" | {sum(item.failed_beside for item in tried)} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--canaries", type=int, default=100)
    parser.add_argument("--good", type=int, default=20)
    parser.add_argument("--lanes", type=int, default=2, help="endpoints of each kind")
    parser.add_argument("--no-report", action="store_true", help="print, and leave the report as it is")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    before, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bad, good = measure(Path(folder), options.canaries, options.good, options.lanes)
    text = report(bad, good, (time.monotonic() - began) / 60, (before, os.getloadavg()[0]))
    if not options.no_report:
        REPORT.write_text(text)
    print(text)
    fine = all(map(in_time, bad)) and all(item.status == RolloutStatus.SUCCEEDED for item in good)
    return 0 if fine and not any(item.failed_beside for item in (*bad, *good)) else 1


if __name__ == "__main__":
    sys.exit(main())

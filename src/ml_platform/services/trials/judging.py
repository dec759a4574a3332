"""The judgement of an A/B test, as a pure function of what was seen: broken, mismatched, decided, or go on.

In this order: a broken guardrail stops the test, then units that did not arrive as they were dealt out, and
only then is anybody a winner. What is not known breaks nothing, and decides nothing either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ml_platform.contracts.serving import RevisionMetrics
from ml_platform.contracts.trials import (
    ABTestReport,
    ABTestRequest,
    ABTestStatus,
    ArmComparison,
    ArmResult,
    GuardedMetric,
    Guardrail,
    GuardrailResult,
    Metric,
    SampleRatioCheck,
)
from ml_platform.services.trials.statistics import NOTHING, ArmRead, ArmsRead, check_ratio, compare_arms
from ml_platform.services.trials.statistics.ratio import SampleRatio

FEWEST_GUARDED = 50
"""Requests, or units with a label, below which no guardrail is broken: one failure in three says nothing."""

Live = Mapping[str, RevisionMetrics]
"""What the inference plane counted since the test began, by revision."""


@dataclass(frozen=True, slots=True)
class Arm:
    name: str
    revision_id: str
    weight: float
    control: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """`status` is None while the test goes on."""

    status: ABTestStatus | None
    winner: str | None
    reason: str
    report: ABTestReport


def judge(
    plan: ABTestRequest, arms: Sequence[Arm], read: ArmsRead, live: Live, *, elapsed: float, now: datetime
) -> Judgement:
    """What follows from one look."""
    guardrails = check_guardrails(plan, arms, read, live)
    units = [read.arms.get(arm.revision_id, NOTHING).units for arm in arms]
    ratio = check_ratio(units, [arm.weight for arm in arms])
    comparisons = _compare(plan, arms, read)
    status, winner, reason = _verdict(plan, arms, read, guardrails, ratio, comparisons, elapsed)
    report = ABTestReport(
        looked_at=now,
        elapsed_seconds=round(elapsed, 3),
        decision=reason,
        arms=[_result(plan.metric, arm, read.arms.get(arm.revision_id, NOTHING)) for arm in arms],
        comparisons=comparisons,
        sample_ratio=SampleRatioCheck(
            chi_square=ratio.chi_square, p_value=ratio.p_value, any_look_p_value=ratio.any_look_p_value
        ),
        guardrails=guardrails,
        crossed_units=read.crossed,
    )
    return Judgement(status, winner, reason, report)


def check_guardrails(
    plan: ABTestRequest, arms: Sequence[Arm], read: ArmsRead, live: Live
) -> list[GuardrailResult]:
    """Every limit at every arm: of the control's breach the test is no less to be ended."""
    found = []
    for guardrail in plan.guardrails:
        for arm in arms:
            value = _guarded(
                guardrail.metric, live.get(arm.revision_id), read.arms.get(arm.revision_id, NOTHING)
            )
            found.append(
                GuardrailResult(
                    arm=arm.name,
                    metric=guardrail.metric,
                    value=value,
                    limit=guardrail.limit,
                    relation=guardrail.relation,
                    broken=value is not None and _breaks(guardrail, value),
                )
            )
    return found


def metrics_of(plan: ABTestRequest) -> set[Metric]:
    """What has to be read of the log, for the verdict and for the guardrails."""
    live = (GuardedMetric.ERROR_RATE, GuardedMetric.LATENCY_P95_MS)
    return {plan.metric} | {Metric(item.metric) for item in plan.guardrails if item.metric not in live}


def _breaks(guardrail: Guardrail, value: float) -> bool:
    return value > guardrail.limit if guardrail.relation == "at_most" else value < guardrail.limit


def _guarded(metric: GuardedMetric, live: RevisionMetrics | None, read: ArmRead) -> float | None:
    if metric in (GuardedMetric.ERROR_RATE, GuardedMetric.LATENCY_P95_MS):
        if live is None or live.requests < FEWEST_GUARDED:
            return None
        return live.error_rate if metric is GuardedMetric.ERROR_RATE else live.latency_ms_p95
    sums = read.sums.get(Metric(metric))
    return sums.mean if sums is not None and sums.units >= FEWEST_GUARDED else None


def _compare(plan: ABTestRequest, arms: Sequence[Arm], read: ArmsRead) -> list[ArmComparison]:
    """Each challenger with the control; they share alpha (Bonferroni), so that all hold together."""
    control = next(arm for arm in arms if arm.control)
    challengers = [arm for arm in arms if not arm.control]
    alpha = plan.alpha / len(challengers)
    base = read.arms.get(control.revision_id, NOTHING).sums.get(plan.metric)
    found = []
    for arm in challengers:
        sums = read.arms.get(arm.revision_id, NOTHING).sums.get(plan.metric)
        if base is None or sums is None:
            continue
        difference = compare_arms(
            base, sums, alpha=alpha, tau=plan.minimum_detectable_effect, rate=plan.metric.is_rate
        )
        if difference is not None:
            found.append(
                ArmComparison(
                    arm=arm.name,
                    difference=difference.estimate,
                    low=difference.low,
                    high=difference.high,
                    p_value=difference.p_value,
                    level=1 - alpha,
                )
            )
    return found


def _verdict(
    plan: ABTestRequest,
    arms: Sequence[Arm],
    read: ArmsRead,
    guardrails: Sequence[GuardrailResult],
    ratio: SampleRatio,
    comparisons: Sequence[ArmComparison],
    elapsed: float,
) -> tuple[ABTestStatus | None, str | None, str]:
    broken = next((item for item in guardrails if item.broken), None)
    if broken is not None:
        limit = f"{broken.relation.replace('_', ' ')} {broken.limit:g}"
        return (
            ABTestStatus.STOPPED_BY_GUARDRAIL,
            None,
            f"{broken.metric} of {broken.arm} is {broken.value:.4g}, and {limit} was allowed",
        )
    if ratio.alarming:
        return ABTestStatus.SAMPLE_RATIO_MISMATCH, None, _mismatch(arms, read, ratio)
    lacking = _lacking(plan, arms, read, elapsed)
    if lacking is None and len(comparisons) == len(arms) - 1:
        decided = _decide(plan, arms, comparisons)
        if decided is not None:
            if ratio.mismatch:
                return ABTestStatus.SAMPLE_RATIO_MISMATCH, None, _mismatch(arms, read, ratio)
            return decided
    open_still = lacking or "the intervals still hold differences in both directions"
    if elapsed >= plan.max_seconds:
        return ABTestStatus.EXPIRED, None, f"its time is over without a verdict: {open_still}"
    return None, None, open_still


def _decide(
    plan: ABTestRequest, arms: Sequence[Arm], comparisons: Sequence[ArmComparison]
) -> tuple[ABTestStatus, str | None, str] | None:
    def gains(item: ArmComparison) -> tuple[float, float, float]:
        """Difference, low and high, turned so that more is better."""
        if plan.direction == "increase":
            return item.difference, item.low, item.high
        return -item.difference, -item.high, -item.low

    better = [item for item in comparisons if gains(item)[1] > 0]
    if better:
        best = max(better, key=lambda item: gains(item)[0])
        return ABTestStatus.WINNER, best.arm, f"{best.arm} is better than the control: {_told(plan, best)}"
    control = next(arm for arm in arms if arm.control)
    if all(gains(item)[2] < 0 for item in comparisons):
        told = "; ".join(f"{item.arm}: {_told(plan, item)}" for item in comparisons)
        return ABTestStatus.WINNER, control.name, f"the control is better than every challenger: {told}"
    effect = plan.minimum_detectable_effect
    if all(gains(item)[2] < effect for item in comparisons):
        told = "; ".join(f"{item.arm}: {_told(plan, item)}" for item in comparisons)
        return ABTestStatus.NO_DIFFERENCE, None, f"no challenger is better by {effect:g} or more: {told}"
    return None


def _told(plan: ABTestRequest, item: ArmComparison) -> str:
    return (
        f"{plan.metric} {item.difference:+.4g}, between {item.low:+.4g} and {item.high:+.4g}"
        f" ({item.level:.4g} at any look)"
    )


def _mismatch(arms: Sequence[Arm], read: ArmsRead, ratio: SampleRatio) -> str:
    units = ", ".join(f"{arm.name} {read.arms.get(arm.revision_id, NOTHING).units}" for arm in arms)
    return (
        f"units did not arrive as the traffic was split ({units}; chi-square p {ratio.p_value:.2g}):"
        " something loses or adds them, so that no comparison can be trusted"
    )


def _lacking(plan: ABTestRequest, arms: Sequence[Arm], read: ArmsRead, elapsed: float) -> str | None:
    for arm in arms:
        sums = read.arms.get(arm.revision_id, NOTHING).sums.get(plan.metric)
        units = sums.units if sums is not None else 0
        if units < plan.min_samples:
            return f"{units} of {plan.min_samples} units of {arm.name} with a known {plan.metric}"
    if elapsed < plan.min_seconds:
        return f"{elapsed:.0f} of {plan.min_seconds:.0f} seconds"
    return None


def _result(metric: Metric, arm: Arm, read: ArmRead) -> ArmResult:
    sums = read.sums.get(metric)
    return ArmResult(
        name=arm.name,
        units=read.units,
        requests=read.requests,
        errors=read.errors,
        measured_units=sums.units if sums is not None else 0,
        value=sums.mean if sums is not None else None,
        latency_ms_p95=read.latency_ms_p95,
    )

"""The gate: whether a candidate is good enough to become a version. No input or output, only judgement."""

from collections.abc import Mapping
from datetime import datetime

from ml_platform.contracts.models import Gate, GateMetric, GateResult
from ml_platform.services.registry.interfaces import EvaluatedModel


def judge(
    gate: Gate,
    candidate: EvaluatedModel,
    *,
    champion_id: str | None,
    champion: EvaluatedModel | None,
    champion_problem: str | None,
    holdout_sha256: str,
    now: datetime,
) -> GateResult:
    """Holds a candidate against its threshold and against the champion on the same rows.

    `champion_id` is None when there is nothing to compare with; `champion` is None when the champion could
    not be evaluated, for the reason `champion_problem`.
    """
    name = gate.metric.value
    value = candidate.metrics.get(name)
    rival = champion.metrics.get(name) if champion is not None else None
    passed, reason = reaches(name, gate.threshold, candidate.metrics)
    reasons = [reason]
    if champion_id is None:
        reasons.append("there is no champion to compare with")
    elif value is not None:
        better, sentence = _compare(gate, value, rival, champion_id, champion_problem)
        passed = passed and better
        reasons.append(sentence)
    return GateResult(
        passed=passed,
        reasons=reasons,
        metric=name,
        threshold=gate.threshold,
        value=value,
        champion_model_id=champion_id,
        champion_value=rival,
        rows=candidate.rows,
        holdout_sha256=holdout_sha256,
        metrics=dict(candidate.metrics),
        checked_at=now,
    )


def reaches(name: str, threshold: float, metrics: Mapping[str, float]) -> tuple[bool, str]:
    """Whether a gate's metric reaches its threshold among these, in a sentence."""
    value = metrics.get(name)
    if value is None:
        known = ", ".join(sorted(metrics)) or "none"
        return False, f"{name} cannot be computed for this model (computed: {known})"
    lower = GateMetric(name).lower_is_better
    passed = _at_least(value, threshold, lower_is_better=lower)
    side, verb = "at most" if lower else "at least", "meets" if passed else "misses"
    return passed, f"{name} {value:.6g} {verb} the threshold: {side} {threshold:g}"


def refused(gate: Gate | None, reason: str, now: datetime) -> GateResult:
    """A gate that could not even be tried."""
    return GateResult(
        passed=False,
        reasons=[reason],
        metric=gate.metric.value if gate else None,
        threshold=gate.threshold if gate else None,
        checked_at=now,
    )


def _compare(
    gate: Gate, value: float, rival: float | None, champion_id: str, problem: str | None
) -> tuple[bool, str]:
    name = gate.metric.value
    if rival is None:
        why = problem or f"{name} cannot be computed for it"
        return False, f"the champion {champion_id} cannot be evaluated on the same rows: {why}"
    lower = gate.metric.lower_is_better
    bar = rival + gate.tolerance if lower else rival - gate.tolerance
    passed = _at_least(value, bar, lower_is_better=lower)
    word = "no worse than" if passed else "worse than"
    return passed, f"{name} {value:.6g} is {word} {rival:.6g} of the champion {champion_id} on the same rows"


def _at_least(value: float, bar: float, *, lower_is_better: bool) -> bool:
    return value <= bar if lower_is_better else value >= bar

"""test: quality on held-out data against the gate and what serves now, by slice; fairness; the bundle on trial."""

from typing import Any

from ml_platform.kit.errors import AppError
from ml_platform.services.deployments.interfaces import DeployableVersion, EvaluationResult
from ml_platform.services.deployments.ledger import Outcome, failed
from ml_platform.services.deployments.stages.context import StageContext
from ml_platform.services.deployments.stages.fairness import assess_fairness, worse_slice
from ml_platform.services.deployments.stages.trial import try_out

LOWER_IS_BETTER = frozenset({"rmse", "mae", "mse", "mape", "log_loss", "brier_score"})
_USUAL = ("roc_auc", "accuracy", "r2", "rmse")


def test(context: StageContext) -> Outcome:
    """Passes without an evaluation only when there is nothing to evaluate on, and says so."""
    version = context.resolve()
    quality = _quality(context, version)
    return try_out(context, version, quality.evidence) if quality.passed else quality


def _quality(context: StageContext, version: DeployableVersion) -> Outcome:
    if version.reference is None or version.label is None:
        reason = "not evaluated: the version has no held-out data with labels"
        return Outcome(passed=True, evidence={"evaluated": False, "complete": False, "note": reason})
    result = context.parts.tools.evaluate(version.source, version.reference, version.label)
    metric = version.gate.metric if version.gate else next((m for m in _USUAL if m in result.metrics), None)
    evidence: dict[str, Any] = {
        "evaluated": True,
        "complete": True,
        "rows": result.rows,
        "metrics": result.metrics,
        "metric": metric,
        "gate": {"metric": version.gate.metric, "threshold": version.gate.threshold}
        if version.gate
        else None,
    }
    fairness, unfair, measured = assess_fairness(version.model_card, result.slices)
    evidence |= {"fairness": fairness, "slices": result.slices, "complete": measured}
    missed = _gate_problem(version, result)
    if missed is not None:
        return failed(missed, **evidence)
    if unfair is not None:
        return failed(unfair, code="unfair", **evidence)
    return _against_champion(context, version, result, metric, evidence)


def better_by(metric: str, value: float, than: float) -> float:
    """How much better a value is; negative when it is worse."""
    return than - value if metric in LOWER_IS_BETTER else value - than


def _gate_problem(version: DeployableVersion, result: EvaluationResult) -> str | None:
    gate = version.gate
    if gate is None:
        return None
    value = result.metrics.get(gate.metric)
    if value is None:
        return (
            f"the gate asks for {gate.metric}, which cannot be computed; there is {', '.join(result.metrics)}"
        )
    if better_by(gate.metric, value, gate.threshold) < 0:
        return (
            f"{gate.metric} is {value:.4f} on {result.rows} held-out rows; the gate asks for {gate.threshold}"
        )
    return None


def _against_champion(
    context: StageContext,
    version: DeployableVersion,
    result: EvaluationResult,
    metric: str | None,
    evidence: dict[str, Any],
) -> Outcome:
    """The same rows for both. A champion that cannot answer them is no proof of anything, and is said."""
    own = f"{version.model_name}/{version.version}"
    champion = next((name for name in context.serving if name != own), None)
    if champion is None or metric is None:
        evidence["champion"] = None
        return Outcome(passed=True, evidence=evidence)
    assert version.reference is not None
    assert version.label is not None
    try:
        other = context.resolve(champion)
        theirs = context.parts.tools.evaluate(other.source, version.reference, version.label)
    except AppError as error:
        evidence |= {"champion": {"model": champion, "not_comparable": error.detail}, "complete": False}
        return Outcome(passed=True, evidence=evidence)
    evidence["champion"] = {"model": champion, "metrics": theirs.metrics}
    if metric not in theirs.metrics:
        evidence["complete"] = False
        return Outcome(passed=True, evidence=evidence)
    gain = better_by(metric, result.metrics[metric], theirs.metrics[metric])
    evidence["gain"] = gain
    if gain < -context.parts.settings.gate_tolerance:
        return failed(
            f"{metric} is {result.metrics[metric]:.4f}, and {champion}, which serves now, has"
            f" {theirs.metrics[metric]:.4f} on the same {result.rows} rows",
            **evidence,
        )
    worse = worse_slice(result.slices, theirs.slices, context.parts.settings.slice_tolerance)
    if worse is not None:
        return failed(worse, **evidence)
    return Outcome(passed=True, evidence=evidence)

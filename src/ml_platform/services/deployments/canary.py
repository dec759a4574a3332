"""The judgement of a canary, as a pure function of what was measured.

No traffic is never health: without enough requests the answer is to wait, and whoever asks gives up in
the end. Latency is compared with the old revision's in the same window, and never below a floor: 40 µs
against 15 µs is no regression.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.contracts.serving import InferenceMetrics, RevisionMetrics
from ml_platform.services.deployments.interfaces import AnswersCompared, Compared, QualityCompared

FEWEST_ANSWERS = 200
"""With ten bins, chance alone gives a PSI of about 0.09 at 200 answers a side."""
FEWEST_LABELS = 100
_EARLY_REQUESTS = 20
"""From so many requests on, a clear failure ends a step before its time (or fewer, if fewer are asked)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One side of the comparison."""

    requests: int
    errors: int
    p95_ms: float | None

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @classmethod
    def of(cls, rows: list[RevisionMetrics]) -> "Measured":
        """Several old revisions count as one; their p95 is that of the busiest."""
        busiest = max(rows, key=lambda row: row.requests, default=None)
        return cls(
            requests=sum(row.requests for row in rows),
            errors=sum(row.errors for row in rows),
            p95_ms=busiest.latency_ms_p95 if busiest is not None else None,
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Literal["promote", "rollback", "wait"]
    reason: str
    evidence: dict[str, Any]


def measured(metrics: InferenceMetrics, candidate: str, others: set[str]) -> tuple[Measured, Measured]:
    """The candidate and the old revisions of one endpoint."""
    new = [row for row in metrics.revisions if row.revision_id == candidate]
    old = [row for row in metrics.revisions if row.revision_id in others]
    return Measured.of(new), Measured.of(old)


def judge(plan: CanaryPlan, *, elapsed: float, new: Measured, old: Measured) -> Judgement:
    """Whether a step is promoted, rolled back, or goes on."""
    evidence = {
        "elapsed_seconds": round(elapsed, 3),
        "candidate": {**asdict(new), "error_rate": round(new.error_rate, 6)},
        "baseline": {**asdict(old), "error_rate": round(old.error_rate, 6)},
    }
    if new.requests >= min(_EARLY_REQUESTS, plan.min_requests):
        bad = _failure(plan, new, old)
        if bad is not None:
            return Judgement("rollback", bad, evidence)
    waiting = _lacking(plan, elapsed, new, old)
    if waiting is not None:
        return Judgement("wait", waiting, evidence)
    availability = 1 - new.error_rate
    if availability < plan.min_availability and new.error_rate > old.error_rate:
        reason = f"availability {availability:.2%} is below {plan.min_availability:.2%}"
        return Judgement("rollback", reason, evidence)
    return Judgement("promote", "no worse than the old revision in the same window", evidence)


def weigh(plan: CanaryPlan, judgement: Judgement, found: Compared) -> Judgement:
    """The judgement in the light of what both sides answered; worse answers undo a promotion, or a wait."""
    evidence = judgement.evidence | {"answers": asdict(found.answers), "quality": asdict(found.quality)}
    bad = _shifted(plan, found.answers) or _worse(plan, found.quality)
    if bad is not None:
        return Judgement("rollback", bad, evidence)
    return Judgement(judgement.verdict, judgement.reason, evidence)


def _shifted(plan: CanaryPlan, answers: AnswersCompared) -> str | None:
    if plan.max_answer_shift is None or answers.psi is None:
        return None
    if min(answers.rows, answers.baseline_rows) < FEWEST_ANSWERS or answers.psi <= plan.max_answer_shift:
        return None
    return (
        f"its answers are distributed differently from the old revision's: PSI {answers.psi:.2f} over"
        f" {answers.rows} and {answers.baseline_rows} answers is above {plan.max_answer_shift:g}"
    )


def _worse(plan: CanaryPlan, quality: QualityCompared) -> str | None:
    """Accuracy must be lost beyond two standard errors of the difference, or RMSE have grown by that part."""
    value, baseline = quality.value, quality.baseline
    if plan.max_quality_drop is None or value is None or baseline is None:
        return None
    if min(quality.labels, quality.baseline_labels) < FEWEST_LABELS:
        return None
    if quality.metric == "accuracy":
        chance = math.sqrt(
            value * (1 - value) / quality.labels + baseline * (1 - baseline) / quality.baseline_labels
        )
        bad = baseline - value > plan.max_quality_drop + 2 * chance
    else:
        bad = value > baseline * (1 + plan.max_quality_drop)
    if not bad:
        return None
    return (
        f"{quality.metric} {value:.4f} on {quality.labels} labels is worse than the old revision's"
        f" {baseline:.4f} on {quality.baseline_labels}"
    )


def _failure(plan: CanaryPlan, new: Measured, old: Measured) -> str | None:
    if new.error_rate > plan.max_error_rate:
        return f"error rate {new.error_rate:.1%} is above {plan.max_error_rate:.1%}"
    if new.p95_ms is None or old.p95_ms is None or old.requests < min(_EARLY_REQUESTS, plan.min_requests):
        return None
    limit = max(plan.latency_floor_ms, plan.max_latency_ratio * old.p95_ms)
    if new.p95_ms > limit:
        return f"p95 latency {new.p95_ms:.2f} ms is above {limit:.2f} ms (baseline {old.p95_ms:.2f} ms)"
    return None


def _lacking(plan: CanaryPlan, elapsed: float, new: Measured, old: Measured) -> str | None:
    if new.requests < plan.min_requests:
        return f"{new.requests} of {plan.min_requests} requests so far"
    if elapsed < plan.step_seconds:
        return f"{elapsed:.0f} of {plan.step_seconds:.0f} seconds so far"
    if old.requests == 0:
        return "the old revision had no traffic to compare with"
    return None

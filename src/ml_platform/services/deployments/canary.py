"""The judgement of a canary, as a pure function of what was measured.

No traffic is never health: without enough requests the answer is to wait, and whoever asks gives up in
the end. Latency is compared with the old revision's in the same window, and never below a floor: 40 µs
against 15 µs is no regression.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.contracts.serving import InferenceMetrics, RevisionMetrics

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

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

FEWEST_REQUESTS = 20
"""From so many requests on, a clear failure ends a step before its time (or fewer, if fewer are asked)."""
FEWEST_DISTINCT = 30
"""Callers come back: so many entities, or inputs, must have been answered on either side, however often each was."""
FEWEST_LABELS = 100
RECENT_SECONDS = 60.0
"""A revision that turns bad in the middle of a long step must not live on what it did well before."""
_RECENT_REQUESTS = 100
_TAIL_REQUESTS = 100
_MANY_REQUESTS = 500
_OF_A_FEW = 1.25
"""By so much more the median of fewer than a hundred must be above the limit, unless it is beyond the old tail."""
_OF_THE_FLOOR = 0.1
"""The part of the latency floor that holds for medians."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One side of the comparison."""

    requests: int
    errors: int
    p95_ms: float | None
    p50_ms: float | None = None
    p99_ms: float | None = None

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @classmethod
    def of(cls, rows: list[RevisionMetrics]) -> "Measured":
        """Several old revisions count as one; their latency is that of the busiest."""
        busiest = max(rows, key=lambda row: row.requests, default=None)
        return cls(
            requests=sum(row.requests for row in rows),
            errors=sum(row.errors for row in rows),
            p95_ms=busiest.latency_ms_p95 if busiest is not None else None,
            p50_ms=busiest.latency_ms_p50 if busiest is not None else None,
            p99_ms=busiest.latency_ms_p99 if busiest is not None else None,
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
    enough = min(FEWEST_REQUESTS, plan.min_requests)
    if new.requests >= enough:
        bad = _failure(plan, new, old, enough)
        if bad is not None:
            return Judgement("rollback", bad, evidence)
    waiting = _lacking(plan, elapsed, new, old)
    if waiting is not None:
        return Judgement("wait", waiting, evidence)
    availability = 1 - new.error_rate
    if availability < plan.min_availability and _fails_more(new, old):
        reason = f"availability {availability:.2%} is below {plan.min_availability:.2%}"
        return Judgement("rollback", reason, evidence)
    return Judgement("promote", "no worse than the old revision in the same window", evidence)


def _fails_more(new: Measured, old: Measured) -> bool:
    """Whether the candidate fails more often than the old revision, by more than chance.

    A machine that stalls for a moment fails both; of the candidate's few requests one or two weigh much.
    """
    if old.requests == 0:
        return new.errors > 0
    chance = _chance(new.errors, new.requests, old.errors, old.requests)
    return new.error_rate - old.error_rate > chance


def _chance(bad: int, of: int, bad_before: int, of_before: int) -> float:
    """Two standard errors of the difference of two shares that are the same in truth."""
    overall = (bad + bad_before) / (of + of_before)
    return 2 * math.sqrt(overall * (1 - overall) * (1 / of + 1 / of_before))


def judge_recent(plan: CanaryPlan, judgement: Judgement, *, new: Measured, old: Measured) -> Judgement:
    """The judgement in the light of the last minute, which a long step would thin out."""
    if judgement.verdict == "rollback" or new.requests < _RECENT_REQUESTS:
        return judgement
    bad = _failure(plan, new, old, _RECENT_REQUESTS)
    if bad is None:
        return judgement
    recent = {"seconds": RECENT_SECONDS, "candidate": asdict(new), "baseline": asdict(old)}
    return Judgement("rollback", f"{bad}, in the last minute", judgement.evidence | {"recent": recent})


def weigh(plan: CanaryPlan, judgement: Judgement, found: Compared) -> Judgement:
    """The judgement in the light of what both sides answered; worse answers undo a promotion, or a wait."""
    evidence = judgement.evidence | {"answers": asdict(found.answers), "quality": asdict(found.quality)}
    most = plan.max_error_rate
    if judgement.verdict == "promote":
        most = min(most, 1 - plan.min_availability)
    bad = without_value(most, found.answers) or _shifted(plan, found.answers) or _worse(plan, found.quality)
    if bad is not None:
        return Judgement("rollback", bad, evidence)
    return Judgement(judgement.verdict, judgement.reason, evidence)


def without_value(most: float, answers: AnswersCompared) -> str | None:
    """Why there are too many answers without a value, or None.

    Each is an error that says 200; the old revision's count as what cannot be helped.
    """
    if answers.rows < FEWEST_REQUESTS or answers.empty == 0:
        return None
    before = max(answers.baseline_rows, 1)
    share, baseline = answers.empty / answers.rows, answers.baseline_empty / before
    chance = _chance(answers.empty, answers.rows, answers.baseline_empty, before)
    if share - baseline <= most + chance:
        return None
    return (
        f"{answers.empty} of {answers.rows} answers have no value (NaN, infinity or null), the old revision's"
        f" {answers.baseline_empty} of {answers.baseline_rows}; {most:.1%} more are allowed"
    )


def _shifted(plan: CanaryPlan, answers: AnswersCompared) -> str | None:
    if plan.max_answer_shift is None or answers.psi is None:
        return None
    if min(answers.distinct, answers.baseline_distinct) < FEWEST_DISTINCT:
        return None
    limit = plan.max_answer_shift + answers.chance
    if answers.psi <= limit:
        return None
    return (
        f"its answers are distributed differently from the old revision's: PSI {answers.psi:.2f} over"
        f" {answers.distinct} and {answers.baseline_distinct} entities or inputs is above {limit:.2f}, which is"
        f" {plan.max_answer_shift:g} beyond chance"
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


def _failure(plan: CanaryPlan, new: Measured, old: Measured, enough: int) -> str | None:
    if new.error_rate > plan.max_error_rate:
        return f"error rate {new.error_rate:.1%} is above {plan.max_error_rate:.1%}"
    if new.p95_ms is None or old.p95_ms is None or old.requests < enough:
        return None
    limit = max(plan.latency_floor_ms, plan.max_latency_ratio * old.p95_ms)
    if new.p95_ms > limit and _has_a_tail_of_its_own(plan, new, old):
        return f"p95 latency {new.p95_ms:.2f} ms is above {limit:.2f} ms (baseline {old.p95_ms:.2f} ms)"
    return _slower_throughout(plan, new, old)


def _has_a_tail_of_its_own(plan: CanaryPlan, new: Measured, old: Measured) -> bool:
    """The p95 of twenty requests is their slowest one, and a machine that stalls once makes it.

    Of a hundred one in twenty says something, if it is slower than one in a hundred of the old revision's is.
    """
    if new.requests < min(_TAIL_REQUESTS, plan.min_requests):
        return False
    assert new.p95_ms is not None
    return new.requests >= _MANY_REQUESTS or old.p99_ms is None or new.p95_ms > old.p99_ms


def _slower_throughout(plan: CanaryPlan, new: Measured, old: Measured) -> str | None:
    """What a machine that stalls now and then does to a p95 it does to no median, so its floor is lower.

    But it does it to the median of a few, which must be clearer. And a revision that is asked now and then is
    colder than one that is asked all the time: below the floor of the plan half must be slower than one in twenty
    of the old revision's is.
    """
    if new.p50_ms is None or old.p50_ms is None:
        return None
    limit = max(_OF_THE_FLOOR * plan.latency_floor_ms, plan.max_latency_ratio * old.p50_ms)
    tail = old.p95_ms or 0.0
    if new.p50_ms <= plan.latency_floor_ms:
        limit = max(limit, tail)
    elif new.requests < _TAIL_REQUESTS:
        limit = max(limit, min(tail, _OF_A_FEW * limit))
    if new.p50_ms <= limit:
        return None
    return f"median latency {new.p50_ms:.2f} ms is above {limit:.2f} ms (baseline {old.p50_ms:.2f} ms)"


def _lacking(plan: CanaryPlan, elapsed: float, new: Measured, old: Measured) -> str | None:
    if new.requests < plan.min_requests:
        return f"{new.requests} of {plan.min_requests} requests so far"
    if elapsed < plan.step_seconds:
        return f"{elapsed:.0f} of {plan.step_seconds:.0f} seconds so far"
    if old.requests == 0:
        return "the old revision had no traffic to compare with"
    return None

"""Rolls production back by itself, long after a rollout: what serves is held against what it replaced.

The triggers are those of the deployment's own canary plan: an error rate over five minutes, the p95 latency
over five minutes against the baseline that the old revision set in the last step of the canary, answers without
a value over five minutes beside what the old revision gave, and the availability over an hour. Without enough
requests there is no judgement: no traffic is never health, and is no failure either. Only a revision that is newer
than the one that stands by is rolled back, so that two bad ones never swap for ever.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import select

from ml_platform.contracts.deployments import CanaryPlan, Environment, RevisionStatus
from ml_platform.contracts.monitoring import AlertSeverity
from ml_platform.contracts.serving import InferenceMetrics, RevisionMetrics
from ml_platform.kit.errors import UnavailableError
from ml_platform.services.access import Actor
from ml_platform.services.alerts import AlertService, NewAlert
from ml_platform.services.deployments.answerwatch import AnswerWatch
from ml_platform.services.deployments.canary import without_value
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.stages import RolloutParts
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow
from ml_platform.services.deployments.traffic import Traffic, weights

_log = structlog.get_logger(__name__)
SHORT_SECONDS = 300.0
LONG_SECONDS = 3600.0
MANY_REQUESTS = 1000
"""From here on a share speaks for itself."""
FEWEST_REQUESTS = 100


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why what serves should not, and the figures that say so."""

    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


def trouble_of(
    plan: CanaryPlan,
    short: RevisionMetrics | None,
    long: RevisionMetrics | None,
    baseline: dict[str, Any] | None,
) -> Trouble | None:
    """The first trigger that fires, or None."""
    if short is not None and short.requests >= FEWEST_REQUESTS:
        evidence = {"window_seconds": SHORT_SECONDS, "requests": short.requests, "errors": short.errors}
        if short.error_rate > plan.max_error_rate:
            reason = f"error rate {short.error_rate:.1%} over five minutes is above {plan.max_error_rate:.1%}"
            return Trouble(reason, evidence)
        before = (baseline or {}).get("p95_ms")
        if before is not None and short.latency_ms_p95 is not None:
            limit = max(plan.latency_floor_ms, plan.max_latency_ratio * before)
            if short.latency_ms_p95 > limit:
                reason = (
                    f"p95 latency {short.latency_ms_p95:.2f} ms over five minutes is above {limit:.2f} ms"
                    f" (the revision before had {before:.2f} ms)"
                )
                return Trouble(reason, evidence | {"p95_ms": short.latency_ms_p95, "baseline_p95_ms": before})
    if long is not None and long.requests >= FEWEST_REQUESTS and _unavailable(plan, long):
        reason = f"availability {1 - long.error_rate:.2%} over an hour is below {plan.min_availability:.2%}"
        evidence = {"window_seconds": LONG_SECONDS, "requests": long.requests, "errors": long.errors}
        return Trouble(reason, evidence)
    return None


def _unavailable(plan: CanaryPlan, long: RevisionMetrics) -> bool:
    """Whether it is available too seldom; of few requests, by more than chance gives one that is not."""
    most = (1 - plan.min_availability) * long.requests
    chance = 2 * math.sqrt(most * plan.min_availability) if long.requests < MANY_REQUESTS else 0.0
    return 1 - long.error_rate < plan.min_availability and long.errors > most + chance


class RollbackWatch:
    """Looks at everything that serves in production; run every few seconds, by any number of processes."""

    def __init__(self, parts: RolloutParts) -> None:
        self._parts = parts
        self._answers = AnswerWatch(parts)

    def run(self) -> list[str]:
        """One look; the ids of the deployments that were rolled back."""
        serving = self._serving()
        if not serving:
            return []
        try:
            short, long = (self._parts.plane.metrics(seconds) for seconds in (SHORT_SECONDS, LONG_SECONDS))
        except UnavailableError:
            return []  # nothing is known, so nothing is decided
        self._answers.forget_all_but({revision.id for _, revision in serving})
        done = []
        for deployment, revision in serving:
            try:
                trouble = self._trouble(deployment, revision, short, long)
                if trouble is not None and self._roll_back(deployment, revision.id, trouble):
                    done.append(deployment.id)
            except Exception:  # one deployment's failure must not leave the others unwatched
                _log.exception("rollback_watch.failed", deployment=deployment.id)
        return done

    def _serving(self) -> list[tuple[DeploymentRow, RevisionRow]]:
        """What serves in production outside of rollouts and A/B tests, over all teams; those judge for themselves."""
        query = (
            select(DeploymentRow, RevisionRow)
            .join(RevisionRow, RevisionRow.deployment_id == DeploymentRow.id)
            .where(
                DeploymentRow.environment == Environment.PRODUCTION.value,
                DeploymentRow.active_rollout_id.is_(None),
                DeploymentRow.ab_test_id.is_(None),
                RevisionRow.status == RevisionStatus.SERVING.value,
                RevisionRow.weight > 0,
            )
        )
        with self._parts.factory.database.read() as session:
            return [(row[0], row[1]) for row in session.execute(query)]

    def _trouble(
        self,
        deployment: DeploymentRow,
        revision: RevisionRow,
        short: InferenceMetrics,
        long: InferenceMetrics,
    ) -> Trouble | None:
        plan = CanaryPlan.model_validate(revision.config.get("canary") or {})
        lately = _of(short, revision.id)
        found = trouble_of(plan, lately, _of(long, revision.id), revision.baseline)
        if found is not None or lately is None or lately.requests < FEWEST_REQUESTS:
            return found
        answers = self._answers.compared(deployment, revision, SHORT_SECONDS)
        reason = without_value(plan.max_error_rate, answers) if answers is not None else None
        if answers is None or reason is None:
            return None
        evidence = {"window_seconds": SHORT_SECONDS, "rows": answers.rows, "empty": answers.empty}
        baseline = {"baseline_rows": answers.baseline_rows, "baseline_empty": answers.baseline_empty}
        return Trouble(f"{reason}, over five minutes", evidence | baseline)

    def _roll_back(self, found: DeploymentRow, revision_id: str, trouble: Trouble) -> bool:
        actor = Actor.system("rollback-watch", team_id=found.team_id, team_name=found.team_name)
        with self._parts.factory.begin(actor) as work:
            deployment = DeploymentRepository(work.session, work.team_id).deployment(found.id, lock=True)
            traffic = Traffic(work, deployment)
            rows = traffic.loaded()
            serving = next((row for row in rows if row.id == revision_id and row.weight > 0), None)
            if deployment.active_rollout_id or deployment.ab_test_id or serving is None:
                return False  # somebody was quicker
            standby = next((row for row in rows if row.status == RevisionStatus.STANDBY), None)
            bad = f"{serving.model_name}/{serving.model_version}"
            if standby is None or standby.created_at > serving.created_at:
                self._alert(
                    AlertService(work), deployment, revision_id, f"{bad} fails in production", trouble, None
                )
                return False
            before = weights(rows)
            now = traffic.swap()
            assert now is not None
            good = f"{now.model_name}/{now.model_version}"
            self._parts.catalogue.set_champion(work, now.model_name, now.model_version)
            deployment.updated_at = work.clock()
            work.record(
                "deployment.rollback",
                "deployment",
                deployment.id,
                before={"traffic": before},
                after={"traffic": weights(traffic.loaded()), "model": good, "reason": trouble.reason},
                automatic=True,
                evidence=trouble.evidence,
            )
            title = f"{deployment.name} in production was rolled back from {bad} to {good}"
            self._alert(AlertService(work), deployment, revision_id, title, trouble, good)
            return True

    def _alert(
        self,
        alerts: AlertService,
        deployment: DeploymentRow,
        revision_id: str,
        title: str,
        trouble: Trouble,
        good: str | None,
    ) -> None:
        last = f"{good} serves again." if good else "There is no older revision to go back to."
        alerts.raise_alert(
            NewAlert(
                key=f"rollback:{revision_id}",
                severity=AlertSeverity.CRITICAL,
                title=title,
                detail=f"{trouble.reason}. {last}",
                resource_kind="deployment",
                resource_id=deployment.id,
                context=trouble.evidence,
            )
        )


def _of(metrics: InferenceMetrics, revision_id: str) -> RevisionMetrics | None:
    return next((row for row in metrics.revisions if row.revision_id == revision_id), None)

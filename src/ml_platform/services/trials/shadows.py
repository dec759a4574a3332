"""What people do with shadows: start, look, compare, stop, promote."""

from datetime import timedelta
from typing import Any

from ml_platform.contracts.deployments import (
    DeploymentAccepted,
    DeployRequest,
    Environment,
    RolloutPurpose,
    RolloutStatus,
)
from ml_platform.contracts.trials import (
    Shadow,
    ShadowReport,
    ShadowRequest,
    ShadowSide,
    ShadowStatus,
    SharedQuality,
    TrialPromotion,
)
from ml_platform.kit.errors import ConflictError, UnavailableError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Work
from ml_platform.services.deployments import DeploymentService, InferencePlane, RolloutParts
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.traffic import Traffic
from ml_platform.services.trials import views
from ml_platform.services.trials.interfaces import QualityRead, ShadowRead, TrialEvidence
from ml_platform.services.trials.repository import TrialRepository
from ml_platform.services.trials.tables import ShadowRow

_LONGEST = timedelta(days=30)
_LIVE = (ShadowStatus.STARTING, ShadowStatus.RUNNING)


class ShadowService:
    """Shadows of the team of `work`."""

    def __init__(self, work: Work, parts: RolloutParts) -> None:
        self._work = work
        self._parts = parts
        self._repository = TrialRepository(work.session, work.team_id)
        self._deployments = DeploymentService(work, parts)

    def start(self, deployment_id: str, body: ShadowRequest) -> Shadow:
        """Brings a version through the stages, to answer copies of the requests.

        Raises:
            ForbiddenError, NotFoundError: as a deployment does.
            ConflictError: it has a shadow, a rollout or an A/B test already, or nothing serves there.
        """
        deployment = self._deployments.hold(deployment_id)
        self._refuse_second(deployment.id)
        rollout = self._deployments.deploy_beside(
            deployment.id,
            body.model_id,
            RolloutPurpose.SHADOW,
            justification=body.justification,
            shadow_share=body.share,
        )
        row = ShadowRow(
            id=new_id("shd"),
            team_id=self._work.team_id,
            deployment_id=deployment.id,
            rollout_id=rollout.id,
            revision_id=rollout.revision_id,
            model_name=rollout.model_name,
            model_version=rollout.model_version,
            share=body.share,
            started_by_name=self._work.actor.name,
            created_at=self._work.clock(),
        )
        self._work.session.add(row)
        self._record("shadow.start", row, model=f"{row.model_name}/{row.model_version}", share=row.share)
        return self._view(row)

    def get(self, shadow_id: str) -> Shadow:
        return self._view(self._repository.shadow(shadow_id))

    def list_shadows(self, deployment_id: str, *, before: str | None, limit: int) -> list[Shadow]:
        DeploymentRepository(self._work.session, self._work.team_id).deployment(deployment_id)
        rows = self._repository.shadows(deployment_id, before=before, limit=limit)
        rollouts, revisions = self._repository.behind(rows)
        return [views.shadow(r, rollouts[r.rollout_id], revisions.get(r.revision_id)) for r in rows]

    def stop(self, shadow_id: str) -> Shadow:
        """Ends it wherever it is; again changes nothing. What serves is not touched."""
        row = self._repository.shadow(shadow_id)
        deployment = self._deployments.hold(row.deployment_id, "cancel")
        status = self._view(row).status
        if status not in _LIVE:
            return self._view(row)
        row.stopped_at, row.stopped_by_name = self._work.clock(), self._work.actor.name
        if status is ShadowStatus.STARTING:
            self._deployments.cancel(row.rollout_id)
        else:
            revision = DeploymentRepository(self._work.session, self._work.team_id).revision(row.revision_id)
            assert revision is not None
            Traffic(self._work, deployment).unload(revision)
            self._end_notices(row)
        self._record("shadow.stop", row)
        return self._view(row)

    def promote(self, shadow_id: str, body: TrialPromotion) -> DeploymentAccepted:
        """Starts a rollout of its version, with its canary and its gates; the shadow goes when that is placed.

        Raises:
            ConflictError: it does not run, or a rollout or an A/B test is under way.
        """
        row = self._repository.shadow(shadow_id)
        deployment = self._deployments.hold(row.deployment_id, "promote")
        status = self._view(row).status
        if status is not ShadowStatus.RUNNING:
            raise ConflictError(
                f"the shadow is {status}, and one that runs can be promoted",
                hint="deploy the version: mlops deploy",
            )
        model_id = f"{row.model_name}/{row.model_version}"
        accepted = self._deployments.deploy(
            model_id,
            DeployRequest(
                environment=Environment(deployment.environment),
                name=deployment.name,
                replicas=deployment.replicas,
                auto_scale=deployment.auto_scale,
                max_replicas=deployment.max_replicas,
                justification=body.justification or f"promoted from the shadow {row.id}",
                canary=body.canary,
                **self._deployments.like_serving(deployment, model_id),
            ),
            from_shadow=row.revision_id,
        )
        row.promoted_rollout_id = accepted.rollout_id
        self._record("shadow.promote", row, rollout=accepted.rollout_id)
        return accepted

    def report(self, shadow_id: str, evidence: TrialEvidence, *, min_rows: int) -> ShadowReport:
        """What it answered beside what served, since it began (at most 30 days back)."""
        row = self._repository.shadow(shadow_id)
        others = [
            item.id
            for item in DeploymentRepository(self._work.session, self._work.team_id).revisions(
                row.deployment_id
            )
            if item.id != row.revision_id
        ]
        until = row.stopped_at or self._work.clock()
        since = max(row.created_at, until - _LONGEST)
        window = (self._work.clock() - since).total_seconds()
        found = evidence.shadow(
            self._work, row.deployment_id, shadow=row.revision_id, others=others, since=since, until=until
        )
        return ShadowReport(
            **_compared(found, min_rows, row.model_version),
            shadow_id=row.id,
            since=since,
            until=until,
            min_rows=min_rows,
            dropped=_dropped(self._parts.plane, row.revision_id, window),
            quality=_quality(found.quality, min_rows),
        )

    # -- parts

    def _refuse_second(self, deployment_id: str) -> None:
        for other in self.list_shadows(deployment_id, before=None, limit=20):
            if other.status in _LIVE:
                raise ConflictError(
                    f"{other.started_by} has {other.model_name}/{other.model_version} as its shadow"
                    f" ({other.shadow_id}, {other.status})",
                    hint=f"stop it first: mlops deployments shadow stop {other.shadow_id}",
                    extra={"shadow_id": other.shadow_id, "requested_by": other.started_by},
                )

    def _end_notices(self, row: ShadowRow) -> None:
        """A rollout whose last stages have not ended yet ends with its shadow."""
        rollouts, _ = self._repository.behind([row])
        if not RolloutStatus(rollouts[row.rollout_id].status).finished:
            self._deployments.cancel(row.rollout_id)

    def _view(self, row: ShadowRow) -> Shadow:
        self._work.session.flush()
        rollouts, revisions = self._repository.behind([row])
        return views.shadow(row, rollouts[row.rollout_id], revisions.get(row.revision_id))

    def _record(self, action: str, row: ShadowRow, **after: Any) -> None:
        facts = {"revision": row.revision_id, **after}
        self._work.record(action, "shadow", row.id, after=facts, deployment_id=row.deployment_id)


def _compared(found: ShadowRead, min_rows: int, version: int) -> dict[str, Any]:
    """The figures, as far as there are enough of them: with too few nothing is said of the differences."""
    pairs = found.pairs
    tried = pairs.compared + pairs.failed
    enough = pairs.compared >= min_rows
    reason = None if enough else f"{pairs.compared} answers of both sides, at least {min_rows} are needed"
    served = int(pairs.models[0]) if len(pairs.models) == 1 and pairs.models[0].isdigit() else None
    return {
        "status": "measured" if enough else "not_enough_data",
        "reason": reason,
        "compared": pairs.compared,
        "agreement_rate": pairs.agreed / pairs.compared if enough else None,
        "agreement_means": found.agreement_means,
        "mean_difference": pairs.mean_difference if enough else None,
        "mean_absolute_difference": pairs.mean_absolute_difference if enough else None,
        "largest_difference": pairs.largest_difference if enough else None,
        "psi": pairs.psi if enough else None,
        "js_distance": pairs.js_distance if enough else None,
        "failed": pairs.failed,
        "failure_rate": pairs.failed / tried if tried >= min_rows else None,
        "shadow": _side(pairs.shadow_latency, pairs.compared, version),
        "serving": _side(pairs.serving_latency, tried, served),
    }


def _side(latency: tuple[float | None, float | None], answers: int, version: int | None) -> ShadowSide:
    return ShadowSide(
        model_version=version, answers=answers, latency_ms_p50=latency[0], latency_ms_p95=latency[1]
    )


def _quality(found: QualityRead, min_rows: int) -> SharedQuality:
    if found.status == "not_comparable":
        return SharedQuality(status="not_comparable", metric=None, labels=0, shadow=None, serving=None)
    if found.labels < min_rows or found.metric is None:
        return SharedQuality(
            status="not_enough_data", metric=found.metric, labels=found.labels, shadow=None, serving=None
        )
    return SharedQuality(
        status="measured",
        metric=found.metric,
        labels=found.labels,
        shadow=found.shadow,
        serving=found.serving,
    )


def _dropped(plane: InferencePlane, revision_id: str, seconds: float) -> int | None:
    try:
        metrics = plane.metrics(min(86_400.0, max(1.0, seconds)))
    except UnavailableError:
        return None
    return sum(item.skipped for item in metrics.revisions if item.revision_id == revision_id)

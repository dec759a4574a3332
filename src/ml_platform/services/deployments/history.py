"""What was live at a moment, and on whose approval: read from the audit log, which nobody rewrites."""

from datetime import datetime
from typing import Any

from ml_platform.contracts.deployments import (
    ApprovedBy,
    DeploymentAsOf,
    DeploymentRestore,
    DeployRequest,
    Environment,
    LiveRevision,
)
from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.services.access import Work
from ml_platform.services.audit import AuditService
from ml_platform.services.deployments.carried import carried
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.tables import RevisionRow, RolloutRow
from ml_platform.services.governance import GovernanceRepository

TRAFFIC_ACTIONS = ("deployment.traffic", "rollout.canary.step", "deployment.rollback", "deployment.retire")
"""The actions that leave the new split of a deployment's traffic in the audit log; a retired one has none.

Their events stay in the database when others are removed after their retention.
"""


class DeploymentHistory:
    """Deployments of the team of `work`, at any moment since they were made."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._repository = DeploymentRepository(work.session, work.team_id)
        self._governance = GovernanceRepository(work.session, work.team_id)

    def as_of(self, deployment_id: str, at: datetime) -> DeploymentAsOf:
        """The split of the traffic at that moment, with the rollout and the approval behind each part."""
        deployment = self._repository.deployment(deployment_id)
        event = AuditService(self._work).last_event(deployment_id, TRAFFIC_ACTIONS, at)
        split = (event.after or {}).get("traffic", {}) if event is not None else {}
        known = {row.id: row for row in self._repository.revisions(deployment_id)}
        live = [self._live(known[name], weight) for name, weight in split.items() if name in known]
        return DeploymentAsOf(
            deployment_id=deployment_id,
            name=deployment.name,
            environment=Environment(deployment.environment),
            at=at,
            since=event.at if event is not None else None,
            changed_by=event.actor_name if event is not None else None,
            action=event.action if event is not None else None,
            audit_sequence=event.sequence if event is not None else None,
            revisions=sorted(live, key=lambda item: -item.weight),
        )

    def request(self, deployment_id: str, body: DeploymentRestore) -> tuple[str, DeployRequest]:
        """The version that had most of the traffic then, and how to deploy it again.

        Raises:
            NotFoundError: nothing was live then.
            ConflictError: it serves now.
        """
        found = self.as_of(deployment_id, body.at)
        if not found.revisions:
            raise NotFoundError(f"nothing of {found.name} was live at {body.at.isoformat()}")
        then = found.revisions[0]
        now = max(self._repository.loaded(deployment_id), key=lambda row: row.weight, default=None)
        if now is not None and now.weight > 0 and now.id == then.revision_id:
            raise ConflictError(f"{then.model_name}/{then.model_version} serves now, as it did then")
        deployment = self._repository.deployment(deployment_id)
        request = DeployRequest(
            environment=found.environment,
            name=deployment.name,
            replicas=deployment.replicas,
            auto_scale=deployment.auto_scale,
            max_replicas=deployment.max_replicas,
            **self._config(then.revision_id),
            justification=body.justification or f"back to what was live at {body.at.isoformat()}",
        )
        return f"{then.model_name}/{then.model_version}", request

    def _config(self, revision_id: str) -> dict[str, Any]:
        """What its copies had then, its budget, and what it answered without its feature store."""
        row = self._repository.revision(revision_id)
        return carried(row.config, has_features=True) if row is not None else {}

    def _live(self, row: RevisionRow, weight: float) -> LiveRevision:
        rollout = self._repository.rollout(row.rollout_id)
        return LiveRevision(
            revision_id=row.id,
            model_name=row.model_name,
            model_version=row.model_version,
            weight=weight,
            bundle_digest=row.bundle_digest,
            rollout_id=row.rollout_id,
            requested_by=rollout.requested_by_name,
            approval=self._approval(rollout),
        )

    def _approval(self, rollout: RolloutRow) -> ApprovedBy | None:
        row = self._governance.approval_for(rollout.id)
        if row is None:
            return None
        votes = self._governance.votes([row.id])[row.id]
        return ApprovedBy(
            approval_id=row.id,
            risk_level=row.risk_level,
            automatic=row.automatic,
            approvers=[vote.voter_name for vote in votes if vote.verdict == "approve"],
            glass_broken_by=row.glass_broken_by_name,
            reason=row.reason,
        )

"""Rows as they go over the wire."""

from collections.abc import Sequence

from ml_platform.contracts.deployments import (
    CanaryStep,
    Deployment,
    DeploymentStatus,
    Environment,
    Revision,
    RevisionStatus,
    Rollout,
    RolloutDetail,
    RolloutStage,
    RolloutStatus,
    StageName,
    StageStatus,
)
from ml_platform.services.deployments.ledger import purpose_of
from ml_platform.services.deployments.tables import (
    CanaryStepRow,
    DeploymentRow,
    RevisionRow,
    RolloutRow,
    RolloutStageRow,
)

_CONFIG = ("canary", "resources", "features", "budget")
"""Of a revision's configuration; its copies are the deployment's own columns, the rest is its rollout's."""


def endpoint(inference_url: str, row: DeploymentRow) -> str:
    """The address that applications call; it does not change with revisions."""
    return f"{inference_url}/{row.team_name}/{row.environment}/v1/models/{row.name}:predict"


def deployment(
    row: DeploymentRow, revisions: Sequence[RevisionRow], running: RolloutRow | None, address: str
) -> Deployment:
    """What serves and what is on its way there, which `status` alone does not tell apart."""
    serving = [item for item in revisions if item.status == RevisionStatus.SERVING]
    first = max(serving, key=lambda item: item.weight, default=None)
    return Deployment(
        deployment_id=row.id,
        name=row.name,
        environment=Environment(row.environment),
        status=DeploymentStatus(row.status),
        endpoint=address,
        replicas=row.replicas,
        auto_scale=row.auto_scale,
        max_replicas=row.max_replicas,
        serving_model_id=_model_id(first) if first else None,
        rollout_model_id=_model_id(running) if running else None,
        rollout_status=RolloutStatus(running.status) if running else None,
        rollout_paused=running is not None and running.paused_at is not None,
        config={name: first.config.get(name) for name in _CONFIG} if first else {},
        revisions=[_revision(item) for item in revisions],
        active_rollout_id=row.active_rollout_id,
        last_rollout_id=row.last_rollout_id,
        ab_test_id=row.ab_test_id,
        created_by=row.created_by_name,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def rollout(row: RolloutRow) -> Rollout:
    return Rollout(
        rollout_id=row.id,
        deployment_id=row.deployment_id,
        model_name=row.model_name,
        model_version=row.model_version,
        environment=Environment(row.environment),
        purpose=purpose_of(row),
        status=RolloutStatus(row.status),
        reason=row.reason,
        requested_by=row.requested_by_name,
        justification=row.justification,
        approval_id=row.approval_id,
        revision_id=row.revision_id,
        paused_by=row.paused_by_name,
        paused_at=row.paused_at,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def rollout_detail(
    row: RolloutRow, stages: Sequence[RolloutStageRow], canary: Sequence[CanaryStepRow]
) -> RolloutDetail:
    return RolloutDetail(
        **rollout(row).model_dump(),
        config=row.config,
        stages=[
            RolloutStage(
                name=StageName(stage.name),
                status=StageStatus(stage.status),
                evidence=stage.evidence,
                reason=stage.reason,
                started_at=stage.started_at,
                finished_at=stage.finished_at,
            )
            for stage in stages
        ],
        canary=[
            CanaryStep(
                step=step.step,
                percent=step.percent,
                status=StageStatus(step.status),
                evidence=step.evidence,
                reason=step.reason,
                started_at=step.started_at,
                finished_at=step.finished_at,
            )
            for step in canary
        ],
    )


def _model_id(row: RevisionRow | RolloutRow) -> str:
    return f"{row.model_name}/{row.model_version}"


def _revision(row: RevisionRow) -> Revision:
    return Revision(
        revision_id=row.id,
        model_name=row.model_name,
        model_version=row.model_version,
        status=RevisionStatus(row.status),
        weight=row.weight,
        bundle_digest=row.bundle_digest,
        runtime=row.runtime,
        created_at=row.created_at,
    )

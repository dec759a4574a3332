"""Rows as they go over the wire."""

from collections.abc import Sequence

from ml_platform.contracts.deployments import RevisionStatus, RolloutStatus
from ml_platform.contracts.trials import (
    ABTest,
    ABTestArm,
    ABTestDetail,
    ABTestReport,
    ABTestRequest,
    ABTestStatus,
    Shadow,
    ShadowStatus,
)
from ml_platform.services.deployments.tables import RevisionRow, RolloutRow
from ml_platform.services.trials.tables import ABTestArmRow, ABTestRow, ShadowRow


def shadow_status(row: ShadowRow, rollout: RolloutRow, revision: RevisionRow | None) -> ShadowStatus:
    """What its rollout and its revision say of it: so that nothing that ends these can forget it."""
    if revision is not None and revision.status == RevisionStatus.SHADOW:
        return ShadowStatus.RUNNING
    if row.promoted_rollout_id is not None:
        return ShadowStatus.PROMOTED
    status = RolloutStatus(rollout.status)
    if not status.finished:
        return ShadowStatus.STARTING
    if row.stopped_at is None and status is not RolloutStatus.SUCCEEDED:
        return ShadowStatus.FAILED
    return ShadowStatus.STOPPED


def shadow(row: ShadowRow, rollout: RolloutRow, revision: RevisionRow | None) -> Shadow:
    status = shadow_status(row, rollout, revision)
    return Shadow(
        shadow_id=row.id,
        deployment_id=row.deployment_id,
        rollout_id=row.rollout_id,
        revision_id=row.revision_id,
        model_name=row.model_name,
        model_version=row.model_version,
        share=row.share,
        status=status,
        reason=rollout.reason if status is ShadowStatus.FAILED else None,
        started_by=row.started_by_name,
        created_at=row.created_at,
        stopped_by=row.stopped_by_name,
        stopped_at=row.stopped_at,
        promoted_rollout_id=row.promoted_rollout_id,
    )


def ab_test(row: ABTestRow, arms: Sequence[ABTestArmRow]) -> ABTest:
    total = sum(arm.weight for arm in arms)
    return ABTest(
        ab_test_id=row.id,
        deployment_id=row.deployment_id,
        name=row.name,
        status=ABTestStatus(row.status),
        reason=row.reason,
        winner=row.winner,
        metric=row.plan["metric"],
        arms=[
            ABTestArm(
                name=arm.name,
                weight=100 * arm.weight / total,
                control=arm.control,
                model_name=arm.model_name,
                model_version=arm.model_version,
                revision_id=arm.revision_id,
                rollout_id=arm.rollout_id,
            )
            for arm in arms
        ],
        started_by=row.started_by_name,
        created_at=row.created_at,
        measured_from=row.measured_from,
        finished_at=row.finished_at,
        finished_by=row.finished_by_name,
        promoted_rollout_id=row.promoted_rollout_id,
    )


def ab_test_detail(row: ABTestRow, arms: Sequence[ABTestArmRow]) -> ABTestDetail:
    return ABTestDetail(
        **ab_test(row, arms).model_dump(),
        plan=ABTestRequest.model_validate(row.plan),
        report=ABTestReport.model_validate(row.report) if row.report is not None else None,
    )

"""The state of a rollout: which stage is where, with what evidence; each change one guarded transaction.

Every method locks the deployment first and looks whether the rollout is still under way, so that a
workflow that comes late (after a cancel, a manual promotion, a crash) changes nothing.
"""

from dataclasses import dataclass, field
from typing import Any

from ml_platform.contracts.deployments import (
    DeploymentStatus,
    Environment,
    RevisionStatus,
    RolloutPurpose,
    RolloutStatus,
    StageName,
    StageStatus,
)
from ml_platform.kit.ids import new_id
from ml_platform.kit.strictjson import finite
from ml_platform.services.access import Work
from ml_platform.services.deployments.interfaces import ModelCatalogue
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.tables import (
    CanaryStepRow,
    DeploymentRow,
    RevisionRow,
    RolloutRow,
    RolloutStageRow,
)
from ml_platform.services.deployments.traffic import Traffic, weights
from ml_platform.services.governance import PERMITTED_BY, ApprovalService, RoleDirectory

_MAX_REASON = 2000
_ASIDE = {RolloutPurpose.SHADOW: RevisionStatus.SHADOW, RolloutPurpose.TRIAL: RevisionStatus.TRIAL}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stage. `code` is a stable name of the failure."""

    passed: bool
    evidence: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    code: str | None = None


def failed(reason: str, *, code: str = "gate_failed", **evidence: Any) -> Outcome:
    return Outcome(passed=False, evidence=evidence, reason=reason, code=code)


class RolloutLedger:
    """Rollouts of the team of `work`, for their workflows and for people who step in."""

    def __init__(self, work: Work, roles: RoleDirectory, catalogue: ModelCatalogue) -> None:
        self._work = work
        self._roles = roles
        self._catalogue = catalogue
        self.repository = DeploymentRepository(work.session, work.team_id)

    def locked(self, rollout_id: str) -> tuple[DeploymentRow, RolloutRow]:
        """The deployment, locked, and the rollout as it is then."""
        deployment_id = self.repository.rollout(rollout_id).deployment_id
        deployment = self.repository.deployment(deployment_id, lock=True)
        return deployment, self.repository.rollout(rollout_id)

    def active(self, rollout_id: str) -> tuple[DeploymentRow, RolloutRow] | None:
        """Both, locked; None when the rollout is over."""
        deployment, rollout = self.locked(rollout_id)
        return None if RolloutStatus(rollout.status).finished else (deployment, rollout)

    # -- stages

    def begin(self, rollout_id: str, stage: StageName) -> bool | None:
        """Marks a stage as running (None), or answers whether the rollout goes on without running it.

        It does when the stage was settled before, and not when the rollout is over.
        """
        held = self.active(rollout_id)
        if held is None:
            return False
        row = self.stage(held[1], stage)
        if row.status == StageStatus.PASSED:
            return True
        if row.status == StageStatus.PENDING:
            row.status, row.started_at = StageStatus.RUNNING.value, self._work.clock()
        return None

    def wait(self, rollout_id: str, stage: StageName, evidence: dict[str, Any]) -> None:
        """Marks a stage as waiting for people."""
        held = self.active(rollout_id)
        if held is None:
            return
        deployment, rollout = held
        row = self.stage(rollout, stage)
        row.status, row.evidence = StageStatus.WAITING.value, finite(evidence)
        rollout.status = RolloutStatus.PENDING_APPROVAL.value
        deployment.status = DeploymentStatus.PENDING_APPROVAL.value

    def settle(self, rollout_id: str, stage: StageName, outcome: Outcome) -> bool:
        """Writes the outcome of a stage, once; a failure ends the rollout. Whether the rollout goes on."""
        held = self.active(rollout_id)
        if held is None:
            return False
        deployment, rollout = held
        row = self.stage(rollout, stage)
        if row.status in (StageStatus.PASSED, StageStatus.FAILED):
            return row.status == StageStatus.PASSED
        now = self._work.clock()
        row.started_at = row.started_at or now
        row.finished_at = now
        kept = {name: row.evidence[name] for name in (PERMITTED_BY,) if name in row.evidence}
        row.evidence, row.reason = finite(kept | outcome.evidence), _short(outcome.reason)
        row.status = (StageStatus.PASSED if outcome.passed else StageStatus.FAILED).value
        self._work.record(
            f"rollout.stage.{row.status}",
            "rollout",
            rollout.id,
            after={"stage": stage.value, "reason": row.reason, "code": outcome.code},
            deployment_id=deployment.id,
        )
        if outcome.passed:
            rollout.status = RolloutStatus.RUNNING.value
            deployment.status = DeploymentStatus.DEPLOYING.value
        else:
            self.finish(deployment, rollout, RolloutStatus.FAILED, f"{stage.value}: {outcome.reason}")
        return outcome.passed

    def stage(self, rollout: RolloutRow, stage: StageName) -> RolloutStageRow:
        return next(row for row in self.repository.stages(rollout) if row.name == stage.value)

    def evidence(self, rollout: RolloutRow) -> dict[str, Any]:
        """What every stage found so far, by stage."""
        return {row.name: row.evidence for row in self.repository.stages(rollout) if row.evidence}

    # -- traffic

    def candidate(self, rollout: RolloutRow) -> RevisionRow | None:
        """The rollout's revision while it is one to be decided about."""
        row = self.repository.revision(rollout.revision_id)
        return row if row is not None and row.status == RevisionStatus.CANDIDATE else None

    def revision(self, rollout: RolloutRow) -> RevisionRow | None:
        """The rollout's revision while the inference plane holds it."""
        row = self.repository.revision(rollout.revision_id)
        return row if row is not None and row.status != RevisionStatus.RETIRED else None

    def release(self, deployment: DeploymentRow, rollout: RolloutRow) -> None:
        """All traffic to the rollout's revision; again changes nothing."""
        candidate = self.candidate(rollout)
        if candidate is None:
            return
        traffic = Traffic(self._work, deployment)
        before = weights(traffic.loaded())
        traffic.release(candidate)
        deployment.replicas = rollout.config["replicas"]
        deployment.auto_scale = rollout.config["auto_scale"]
        deployment.max_replicas = rollout.config["max_replicas"]
        self._record_split("deployment.traffic", deployment, before, traffic, rollout=rollout.id)

    def set_aside(self, deployment: DeploymentRow, rollout: RolloutRow) -> None:
        """Has the rollout's revision stand beside the traffic, as its purpose is; again changes nothing."""
        candidate = self.candidate(rollout)
        if candidate is None:
            return
        status = _ASIDE[purpose_of(rollout)]
        Traffic(self._work, deployment).set_aside(candidate, status, rollout.config.get("shadow_share"))
        facts = {"revision": candidate.id, "as": status.value, "share": candidate.shadow_share}
        self._work.record("deployment.aside", "deployment", deployment.id, after=facts, rollout_id=rollout.id)

    def end_shadow(self, deployment: DeploymentRow, rollout: RolloutRow) -> None:
        """Unloads the shadow that this rollout promotes, now that its own revision is there."""
        row = self.repository.revision(rollout.config.get("from_shadow") or "")
        if row is not None and row.status == RevisionStatus.SHADOW:
            Traffic(self._work, deployment).unload(row)

    def shift(self, rollout_id: str, step: int, percent: int) -> bool:
        """Begins a canary step: the share is set and its clock runs; again changes nothing."""
        held = self.active(rollout_id)
        if held is None:
            return False
        deployment, rollout = held
        candidate = self.candidate(rollout)
        if candidate is None:
            return False
        if any(row.step == step for row in self.repository.canary_steps(rollout)):
            return True
        self._work.session.add(
            CanaryStepRow(
                id=new_id("cst"),
                rollout_id=rollout.id,
                step=step,
                percent=percent,
                status=StageStatus.RUNNING.value,
                evidence={},
                reason=None,
                started_at=self._work.clock(),
                finished_at=None,
            )
        )
        traffic = Traffic(self._work, deployment)
        before = weights(traffic.loaded())
        traffic.shift(candidate, percent)
        rollout.status, deployment.status = RolloutStatus.CANARY.value, DeploymentStatus.CANARY.value
        self._record_split("rollout.canary.step", deployment, before, traffic, rollout=rollout.id, step=step)
        return True

    def settle_step(
        self, rollout_id: str, step: int, *, promote: bool, reason: str, evidence: dict[str, Any]
    ) -> bool:
        """Ends a canary step, once; without a promotion the old revision gets its traffic back."""
        held = self.active(rollout_id)
        if held is None:
            return False
        deployment, rollout = held
        row = next(row for row in self.repository.canary_steps(rollout) if row.step == step)
        if row.status != StageStatus.RUNNING:
            return row.status == StageStatus.PASSED
        row.status = (StageStatus.PASSED if promote else StageStatus.FAILED).value
        row.reason, row.evidence, row.finished_at = _short(reason), finite(evidence), self._work.clock()
        if not promote:
            self.finish(deployment, rollout, RolloutStatus.ROLLED_BACK, reason)
        return promote

    # -- the end

    def finish(
        self, deployment: DeploymentRow, rollout: RolloutRow, status: RolloutStatus, reason: str | None
    ) -> None:
        """Ends a rollout whichever way. Unless it succeeded, its revision goes and what served stays."""
        now = self._work.clock()
        before = rollout.status
        traffic = Traffic(self._work, deployment)
        if status is RolloutStatus.SUCCEEDED and purpose_of(rollout) is not RolloutPurpose.TRAFFIC:
            self.set_aside(deployment, rollout)
        elif status is RolloutStatus.SUCCEEDED:
            self._keep_baseline(rollout)
            self.release(deployment, rollout)
            if rollout.environment == Environment.PRODUCTION:
                self._catalogue.set_champion(self._work, rollout.model_name, rollout.model_version)
        elif (revision := self.revision(rollout)) is not None:
            split = weights(traffic.loaded())
            traffic.withdraw(revision)
            self._record_split("deployment.traffic", deployment, split, traffic, rollout=rollout.id)
        rollout.status, rollout.reason, rollout.finished_at = status.value, _short(reason), now
        self._close_open_parts(rollout, status)
        ApprovalService(self._work, self._roles).cancel(rollout.id, f"the rollout {status.value}")
        deployment.active_rollout_id = None
        serves = bool(traffic.serving())
        deployment.status = (DeploymentStatus.ACTIVE if serves else DeploymentStatus.FAILED).value
        deployment.updated_at = now
        self._work.record(
            f"rollout.{status.value}",
            "rollout",
            rollout.id,
            before={"status": before},
            after={"status": status.value, "reason": rollout.reason},
            deployment_id=deployment.id,
        )

    def _keep_baseline(self, rollout: RolloutRow) -> None:
        """What the old revision did in the newest step, for whoever watches this one later."""
        revision = self.candidate(rollout)
        found = [row.evidence.get("baseline") for row in self.repository.canary_steps(rollout)]
        measured = [item for item in found if item]
        if revision is not None and measured:
            revision.baseline = measured[-1]

    def _close_open_parts(self, rollout: RolloutRow, status: RolloutStatus) -> None:
        left = StageStatus.CANCELLED if status is RolloutStatus.CANCELLED else StageStatus.SKIPPED
        stopped = StageStatus.PASSED if status is RolloutStatus.SUCCEEDED else StageStatus.CANCELLED
        now = self._work.clock()
        rows: list[RolloutStageRow | CanaryStepRow] = [*self.repository.stages(rollout)]
        for row in [*rows, *self.repository.canary_steps(rollout)]:
            if row.status == StageStatus.PENDING:
                row.status = left.value
            elif row.status in (StageStatus.RUNNING, StageStatus.WAITING):
                row.status, row.finished_at = stopped.value, now
                row.reason = row.reason or rollout.reason

    def _record_split(
        self,
        action: str,
        deployment: DeploymentRow,
        before: dict[str, float],
        traffic: Traffic,
        **context: Any,
    ) -> None:
        deployment.updated_at = self._work.clock()
        self._work.record(
            action,
            "deployment",
            deployment.id,
            before={"traffic": before},
            after={"traffic": weights(traffic.loaded())},
            **context,
        )


def purpose_of(rollout: RolloutRow) -> RolloutPurpose:
    """What its revision is brought for; approvers see it, and approve that alone."""
    return RolloutPurpose(rollout.config.get("purpose", RolloutPurpose.TRAFFIC))


def _short(reason: str | None) -> str | None:
    return reason[:_MAX_REASON] if reason is not None else None

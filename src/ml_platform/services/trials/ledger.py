"""The state of an A/B test; each change one guarded transaction, so that whoever comes late changes nothing."""

from typing import Any

from ml_platform.contracts.deployments import DeploymentStatus, RevisionStatus, RolloutStatus
from ml_platform.contracts.trials import ABTestReport, ABTestStatus
from ml_platform.kit.strictjson import digest
from ml_platform.services.access import Work
from ml_platform.services.deployments import DeploymentService, RolloutParts
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.snapshots import current_version
from ml_platform.services.deployments.tables import DeploymentRow
from ml_platform.services.deployments.traffic import Traffic, weights
from ml_platform.services.trials.repository import TrialRepository
from ml_platform.services.trials.tables import ABTestArmRow, ABTestRow

_MAX_REASON = 2000


class ABTestLedger:
    """Tests of the team of `work`, for their workflow and for people who step in."""

    def __init__(self, work: Work, parts: RolloutParts) -> None:
        self._work = work
        self._parts = parts
        self.repository = TrialRepository(work.session, work.team_id)
        self.deployments = DeploymentRepository(work.session, work.team_id)

    def active(self, ab_test_id: str) -> tuple[DeploymentRow, ABTestRow] | None:
        """Both, the deployment locked; None when the test is over."""
        found = self.repository.test(ab_test_id)
        deployment = self.deployments.deployment(found.deployment_id, lock=True)
        row = self.repository.test(ab_test_id)
        return None if ABTestStatus(row.status).finished else (deployment, row)

    def begin(self, ab_test_id: str) -> str | None:
        """Splits the traffic among the arms, once; answers why it cannot, or None."""
        held = self.active(ab_test_id)
        if held is None or held[1].status == ABTestStatus.RUNNING:
            return None
        deployment, row = held
        arms = self.repository.arms(row.id)
        traffic = Traffic(self._work, deployment)
        loaded = {item.id: item for item in traffic.loaded()}
        for arm in arms:
            if arm.revision_id not in loaded:
                return f"the revision of {arm.name} is not loaded any more"
        control = next(loaded[str(arm.revision_id)] for arm in arms if arm.control)
        if control.status != RevisionStatus.SERVING:
            return "another revision than the control serves now"
        before, total = weights(list(loaded.values())), sum(arm.weight for arm in arms)
        sticky = row.plan["sticky"]
        traffic.split(
            {str(arm.revision_id): 100 * arm.weight / total for arm in arms},
            {**sticky, "salt": row.id} if sticky is not None else None,
        )
        row.status = ABTestStatus.RUNNING.value
        row.snapshot_version = current_version(self._work.session)
        self._record_split(deployment, before, traffic, row)
        self._work.record("ab_test.begin", "ab_test", row.id, deployment_id=deployment.id)
        return None

    def measure_from_now(self, ab_test_id: str) -> bool:
        """Every worker splits the traffic: what they do from now on counts."""
        held = self.active(ab_test_id)
        if held is None:
            return False
        row = held[1]
        row.measured_from = row.measured_from or self._work.clock()
        return True

    def note(self, ab_test_id: str, report: ABTestReport) -> None:
        """Keeps what the newest look saw."""
        held = self.active(ab_test_id)
        if held is not None:
            held[1].report = report.model_dump(mode="json")

    def finish(
        self,
        deployment: DeploymentRow,
        row: ABTestRow,
        status: ABTestStatus,
        reason: str | None,
        *,
        winner: str | None = None,
        report: dict[str, Any] | None = None,
    ) -> None:
        """Ends a test whichever way: all traffic goes back to what served before it."""
        self._cancel_rollouts(deployment, row)
        traffic = Traffic(self._work, deployment)
        before = weights(traffic.loaded())
        traffic.rejoin()
        if before != weights(traffic.loaded()):
            self._record_split(deployment, before, traffic, row)
        deployment.ab_test_id = deployment.ab_test_by_name = None
        if traffic.serving():
            deployment.status = DeploymentStatus.ACTIVE.value
        now = self._work.clock()
        deployment.updated_at = row.finished_at = now
        row.status, row.reason, row.winner = status.value, (reason or "")[:_MAX_REASON] or None, winner
        row.finished_by_name = self._work.actor.name
        row.report = report if report is not None else row.report
        self._work.record(
            f"ab_test.{status.value}",
            "ab_test",
            row.id,
            after={
                "winner": winner,
                "reason": row.reason,
                "plan_sha256": digest(row.plan),
                "report": row.report,
            },
            deployment_id=deployment.id,
        )

    def _cancel_rollouts(self, deployment: DeploymentRow, row: ABTestRow) -> None:
        arms: list[ABTestArmRow] = self.repository.arms(row.id)
        mine = {arm.rollout_id for arm in arms if arm.rollout_id is not None}
        if deployment.active_rollout_id in mine and deployment.active_rollout_id is not None:
            rollout = self.deployments.rollout(deployment.active_rollout_id)
            if not RolloutStatus(rollout.status).finished:
                DeploymentService(self._work, self._parts).cancel(rollout.id)

    def _record_split(
        self, deployment: DeploymentRow, before: dict[str, float], traffic: Traffic, row: ABTestRow
    ) -> None:
        self._work.record(
            "deployment.traffic",
            "deployment",
            deployment.id,
            before={"traffic": before},
            after={"traffic": weights(traffic.loaded())},
            ab_test=row.id,
        )

"""`monitoring.retrain`: does the job of the serving version again and asks for a rollout of its model."""

from datetime import timedelta
from typing import Any

from ml_platform.contracts.monitoring import (
    AlertSeverity,
    RetrainingDecision,
    RetrainingStatus,
)
from ml_platform.kit.durable import JSON, Flow, Retry, StepFailedError
from ml_platform.kit.errors import NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Actor, Work, WorkFactory
from ml_platform.services.alerts import AlertService, NewAlert
from ml_platform.services.monitoring.interfaces import (
    Deployments,
    JobOutcome,
    ModelVersions,
    ServedDeployment,
    TrainingJobs,
)
from ml_platform.services.monitoring.policies import RetrainingRule, Started, refusal
from ml_platform.services.monitoring.repository import MonitoringRepository
from ml_platform.services.monitoring.tables import DriftCheckRow, MonitorRow, RetrainingRow

RETRAIN = "monitoring.retrain"
ACTOR = "retraining"
_TRANSIENT = Retry(attempts=4, first_wait=0.5)
_WEEK = timedelta(days=7)
_LONGEST_JOB = 10 * 86_400.0
_DEPLOY_ATTEMPTS = 150
"""With waits of up to ten minutes: a day, in which another rollout of the deployment may end."""


def consider_retraining(
    work: Work,
    monitor: MonitorRow,
    check: DriftCheckRow,
    deployment: ServedDeployment,
    versions: ModelVersions,
) -> RetrainingDecision:
    """Starts a retraining unless the rules forbid it, in the transaction of `work`.

    The caller holds the monitor's lock, so that no two are started at once.
    """
    rule = RetrainingRule(
        monitor.retrain_enabled,
        timedelta(hours=monitor.retrain_cooldown_hours),
        monitor.retrain_max_per_week,
    )
    now = work.clock()
    repository = MonitoringRepository(work.session, work.team_id)
    recent = repository.recent_retrainings(
        monitor.deployment_id, now - max(_WEEK, timedelta(hours=monitor.retrain_cooldown_hours))
    )
    history = [Started(row.created_at, RetrainingStatus(row.status).finished) for row in recent]
    reason = refusal(rule, history, now)
    if reason is not None:
        return RetrainingDecision(started=False, reason=reason)
    name, number = str(deployment.model_name), int(deployment.model_version or 0)
    version = versions.get(work, name, number)
    if version.job_id is None:
        return RetrainingDecision(
            started=False, reason=f"{name}/{number} was not made by a job here, so there is none to do again"
        )
    row = RetrainingRow(
        id=new_id("rtr"),
        team_id=work.team_id,
        team_name=monitor.team_name,
        deployment_id=monitor.deployment_id,
        check_id=check.id,
        status=RetrainingStatus.SUBMITTED.value,
        source_job_id=version.job_id,
        requested_by=work.actor.name,
        created_at=now,
    )
    work.session.add(row)
    work.session.flush()
    work.record(
        "retraining.start",
        "retraining",
        row.id,
        after={"check_id": check.id, "source_job_id": version.job_id},
        deployment_id=monitor.deployment_id,
    )
    work.start_workflow(RETRAIN, row.id, team_id=row.team_id, team_name=row.team_name)
    return RetrainingDecision(
        started=True, retraining_id=row.id, reason=f"job {version.job_id} is done again"
    )


class RetrainWorkflow:
    """Ends with the request of a rollout: from there on it is a rollout like anyone's, with its gates."""

    name = RETRAIN

    def __init__(
        self,
        factory: WorkFactory,
        jobs: TrainingJobs,
        deployments: Deployments,
        *,
        poll_seconds: float = 2.0,
        busy_wait_seconds: float = 15.0,
    ) -> None:
        self._factory = factory
        self._jobs = jobs
        self._deployments = deployments
        self._poll = poll_seconds
        self._busy_wait = busy_wait_seconds

    def run(self, flow: Flow, *, team_id: str, team_name: str) -> JSON:
        actor = Actor.system(ACTOR, team_id=team_id, team_name=team_name)
        steps = _RetrainSteps(self._factory, self._jobs, self._deployments, actor, flow.workflow_id)
        try:
            flow.step("submit", steps.submit, retry=_TRANSIENT)
            ended = flow.poll("job", steps.look, every=self._poll, timeout=_LONGEST_JOB)
            if not flow.step("judge", steps.judge, ended, retry=_TRANSIENT):
                return flow.step("end", steps.state)
            for attempt in range(_DEPLOY_ATTEMPTS):
                if flow.step(f"deploy.{attempt}", steps.deploy, retry=_TRANSIENT):
                    return flow.step("end", steps.state)
                flow.sleep(min(600.0, self._busy_wait * 2**attempt))
            reason = "other rollouts of the deployment did not end"
        except StepFailedError as error:
            reason = error.error.detail
        flow.step("failed", steps.fail, reason, retry=_TRANSIENT)
        return flow.step("end.failed", steps.state)


class _RetrainSteps:
    """The steps of one retraining; each writes its effect and what it was in one transaction."""

    def __init__(
        self,
        factory: WorkFactory,
        jobs: TrainingJobs,
        deployments: Deployments,
        actor: Actor,
        retraining_id: str,
    ) -> None:
        self._factory = factory
        self._jobs = jobs
        self._deployments = deployments
        self._actor = actor
        self._id = retraining_id

    def submit(self) -> str:
        """Submits the job, once: job and note of it are one transaction."""
        with self._factory.begin(self._actor) as work:
            row = self._locked(work)
            if row.job_id is None:
                row.job_id = self._jobs.resubmit(work, row.source_job_id)
                row.status = RetrainingStatus.TRAINING.value
                self._record(work, "retraining.submit", {"job_id": row.job_id})
            return row.job_id

    def look(self) -> dict[str, Any] | None:
        with self._factory.begin(self._actor, write=False) as work:
            outcome = self._jobs.outcome(work, self._row(work).job_id or "")
        if outcome is None:
            return None
        return {"succeeded": outcome.succeeded, "model_id": outcome.model_id, "reason": outcome.reason}

    def judge(self, ended: dict[str, Any] | None) -> bool:
        """Whether there is a model to roll out; if not, why, and people are told."""
        outcome = JobOutcome(**ended) if ended else JobOutcome(False, None, "the job did not end")
        with self._factory.begin(self._actor) as work:
            row = self._locked(work)
            if row.status != RetrainingStatus.TRAINING:
                return row.status == RetrainingStatus.DEPLOYING
            if outcome.succeeded and outcome.model_id is not None:
                row.status, row.model_id = RetrainingStatus.DEPLOYING.value, outcome.model_id
                self._record(work, "retraining.trained", {"model_id": row.model_id})
                return True
            status = RetrainingStatus.REJECTED if outcome.succeeded else RetrainingStatus.FAILED
            reason = outcome.reason or "the job registered no model"
            self._end(work, row, status, f"job {row.job_id}: {reason}")
            return False

    def deploy(self) -> bool:
        """Asks for the rollout, once; False while another one of the deployment is under way."""
        with self._factory.begin(self._actor) as work:
            row = self._locked(work)
            if row.rollout_id is None:
                rollout_id = self._deployments.request_rollout(
                    work,
                    row.deployment_id,
                    str(row.model_id),
                    justification=f"retrained because of drift, see check {row.check_id}",
                )
                if rollout_id is None:
                    return False
                row.rollout_id, row.finished_at = rollout_id, work.clock()
                row.status = RetrainingStatus.DEPLOYMENT_REQUESTED.value
                self._record(work, "retraining.deploy", {"rollout_id": rollout_id})
        return True

    def fail(self, reason: str) -> None:
        with self._factory.begin(self._actor) as work:
            row = self._locked(work)
            if not RetrainingStatus(row.status).finished:
                self._end(work, row, RetrainingStatus.FAILED, reason)

    def state(self) -> JSON:
        with self._factory.begin(self._actor, write=False) as work:
            row = self._row(work)
            return {"status": row.status, "model_id": row.model_id, "rollout_id": row.rollout_id}

    # -- parts

    def _end(self, work: Work, row: RetrainingRow, status: RetrainingStatus, reason: str) -> None:
        row.status, row.reason, row.finished_at = status.value, reason[:2000], work.clock()
        self._record(work, f"retraining.{status.value}", {"reason": row.reason})
        AlertService(work).raise_alert(
            NewAlert(
                key=f"retraining:{row.deployment_id}",
                severity=AlertSeverity.WARNING,
                title="A retraining gave no model to roll out",
                detail=row.reason,
                resource_kind="deployment",
                resource_id=row.deployment_id,
                context={"retraining_id": row.id, "job_id": row.job_id},
            )
        )

    def _record(self, work: Work, action: str, after: dict[str, Any]) -> None:
        work.record(action, "retraining", self._id, after=after)

    def _locked(self, work: Work) -> RetrainingRow:
        return self._row(work, lock=True)

    def _row(self, work: Work, *, lock: bool = False) -> RetrainingRow:
        row = MonitoringRepository(work.session, work.team_id).retraining(self._id, lock=lock)
        if row is None:
            raise NotFoundError.of("retraining", self._id)
        return row

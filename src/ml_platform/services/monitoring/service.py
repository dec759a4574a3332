"""What one can do with monitors: see and set them, ask for a check, read what was found."""

from datetime import timedelta
from typing import Any

from ml_platform.contracts.deployments import Environment
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.monitoring import (
    DriftCheck,
    DriftCheckAccepted,
    DriftCheckStatus,
    DriftCheckSummary,
    Monitor,
    MonitorUpdate,
    Retraining,
    RetrainSettings,
)
from ml_platform.kit.errors import ConflictError, NotFoundError, TooManyError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Work
from ml_platform.services.monitoring.interfaces import Deployments, ServedDeployment
from ml_platform.services.monitoring.repository import MonitoringRepository
from ml_platform.services.monitoring.tables import DriftCheckRow, MonitorRow, RetrainingRow

CHECK = "monitoring.check"
_MOST_UNFINISHED = 5


class MonitoringService:
    """Monitors of the team of `work`."""

    def __init__(self, work: Work, deployments: Deployments) -> None:
        self._work = work
        self._deployments = deployments
        self._repository = MonitoringRepository(work.session, work.team_id)

    # -- monitors

    def monitor(self, deployment_id: str) -> Monitor:
        """A deployment that was not looked at yet is watched with the defaults."""
        deployment = self._deployments.get(self._work, deployment_id)
        row = self._repository.monitor(deployment_id)
        return monitor_of(row if row is not None else new_monitor(self._work, deployment))

    def set_monitor(self, deployment_id: str, update: MonitorUpdate) -> Monitor:
        """Replaces the settings. Who lets drift retrain must be allowed to train and to deploy there."""
        deployment = self._deployments.get(self._work, deployment_id)
        if update.retrain.enabled:
            production = deployment.environment == Environment.PRODUCTION
            self._work.require(Permission.TRAIN_MODEL)
            self._work.require(Permission.DEPLOY_PRODUCTION if production else Permission.DEPLOY_STAGING)
        row = self.ensure(deployment)
        before = settings_of(row)
        _apply(row, update)
        row.updated_at = self._work.clock()
        row.next_check_at = min(row.next_check_at, row.updated_at + _schedule(row))
        self._work.record(
            "monitor.update", "deployment", deployment_id, before=before, after=settings_of(row)
        )
        return monitor_of(row)

    def ensure(self, deployment: ServedDeployment) -> MonitorRow:
        """The monitor of a deployment, locked; made with the defaults when there is none."""
        new = new_monitor(self._work, deployment)
        if self._repository.add_monitor(new):
            self._work.record(
                "monitor.create", "deployment", deployment.deployment_id, after=settings_of(new)
            )
        row = self._repository.monitor(deployment.deployment_id, lock=True)
        assert row is not None
        return row

    # -- checks

    def request_check(self, deployment_id: str) -> DriftCheckAccepted:
        """Starts a check of everything that was answered until now.

        Raises:
            ConflictError: nothing serves.
            TooManyError: too many checks of this deployment are under way.
        """
        deployment = self._deployments.get(self._work, deployment_id)
        if not deployment.serves:
            raise ConflictError(
                f"deployment {deployment.name!r} serves nothing", hint="deploy a model to it first"
            )
        self.ensure(deployment)
        if self._repository.count_unfinished(deployment_id) >= _MOST_UNFINISHED:
            raise TooManyError(
                f"{_MOST_UNFINISHED} checks of this deployment are under way already", retry_after=30
            )
        row = self.start_check(deployment_id, trigger="request")
        self._work.record("drift.check.request", "deployment", deployment_id, after={"check_id": row.id})
        return DriftCheckAccepted(
            check_id=row.id, deployment_id=deployment_id, status=DriftCheckStatus(row.status)
        )

    def start_check(self, deployment_id: str, *, trigger: str) -> DriftCheckRow:
        """Adds a check and its workflow."""
        actor = self._work.actor
        row = DriftCheckRow(
            id=new_id("chk"),
            team_id=self._work.team_id,
            deployment_id=deployment_id,
            status=DriftCheckStatus.QUEUED.value,
            trigger=trigger,
            reasons=[],
            drifted_features=[],
            notes=[],
            requested_by=actor.name,
            created_at=self._work.clock(),
        )
        self._work.session.add(row)
        self._work.start_workflow(CHECK, row.id, team_id=row.team_id, team_name=actor.team_name)
        return row

    def latest(self, deployment_id: str) -> DriftCheck:
        """The newest report."""
        self._deployments.get(self._work, deployment_id)
        row = self._repository.latest_check(deployment_id)
        if row is None:
            raise NotFoundError(
                "this deployment was not checked yet",
                hint=f"ask for a check: POST /deployments/{deployment_id}/drift/check",
            )
        return check_of(row)

    def check(self, deployment_id: str, check_id: str) -> DriftCheck:
        row = self._repository.check(check_id)
        if row is None or row.deployment_id != deployment_id:
            raise NotFoundError.of("check", check_id)
        return check_of(row)

    def list_checks(self, deployment_id: str, *, before: str | None, limit: int) -> list[DriftCheckSummary]:
        """Newest first."""
        self._deployments.get(self._work, deployment_id)
        rows = self._repository.checks(deployment_id, before=before, limit=limit)
        return [DriftCheckSummary(**_summary(row)) for row in rows]

    # -- retrainings

    def list_retrainings(self, deployment_id: str, *, before: str | None, limit: int) -> list[Retraining]:
        """Newest first."""
        self._deployments.get(self._work, deployment_id)
        rows = self._repository.retrainings(deployment_id, before=before, limit=limit)
        return [retraining_of(row) for row in rows]

    def retraining(self, deployment_id: str, retraining_id: str) -> Retraining:
        row = self._repository.retraining(retraining_id)
        if row is None or row.deployment_id != deployment_id:
            raise NotFoundError.of("retraining", retraining_id)
        return retraining_of(row)


def new_monitor(work: Work, deployment: ServedDeployment) -> MonitorRow:
    """A monitor with the defaults; its first check on schedule is one interval away."""
    now = work.clock()
    row = MonitorRow(
        id=new_id("mon"),
        team_id=deployment.team_id,
        team_name=deployment.team_name,
        deployment_id=deployment.deployment_id,
        deployment_name=deployment.name,
        environment=deployment.environment,
        created_at=now,
        updated_at=now,
    )
    _apply(row, MonitorUpdate())
    row.next_check_at = now + _schedule(row)
    return row


def _apply(row: MonitorRow, update: MonitorUpdate) -> None:
    row.enabled = update.enabled
    row.window_hours, row.min_rows = update.window_hours, update.min_rows
    row.psi_warn, row.psi_act = update.psi_warn, update.psi_act
    row.schedule_minutes = update.schedule_minutes
    row.retrain_enabled = update.retrain.enabled
    row.retrain_cooldown_hours = update.retrain.cooldown_hours
    row.retrain_max_per_week = update.retrain.max_per_week


def _schedule(row: MonitorRow) -> timedelta:
    return timedelta(minutes=row.schedule_minutes)


def settings_of(row: MonitorRow) -> dict[str, Any]:
    """The settings as they go over the wire and into the audit log."""
    return {
        "enabled": row.enabled,
        "window_hours": row.window_hours,
        "min_rows": row.min_rows,
        "psi_warn": row.psi_warn,
        "psi_act": row.psi_act,
        "schedule_minutes": row.schedule_minutes,
        "retrain": RetrainSettings(
            enabled=row.retrain_enabled,
            cooldown_hours=row.retrain_cooldown_hours,
            max_per_week=row.retrain_max_per_week,
        ).model_dump(),
    }


def monitor_of(row: MonitorRow) -> Monitor:
    return Monitor.model_validate(
        {
            **settings_of(row),
            "deployment_id": row.deployment_id,
            "last_verdict": row.last_verdict,
            "last_checked_at": row.last_checked_at,
            "next_check_at": row.next_check_at if row.enabled else None,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }
    )


def check_of(row: DriftCheckRow) -> DriftCheck:
    report = row.report or {}
    return DriftCheck(
        **_summary(row),
        features=report.get("features", []),
        quality=report.get("quality", []),
        reference_rows=report.get("reference_rows"),
        notes=row.notes,
    )


def _summary(row: DriftCheckRow) -> dict[str, Any]:
    return {
        "check_id": row.id,
        "deployment_id": row.deployment_id,
        "status": row.status,
        "trigger": row.trigger,
        "verdict": row.verdict,
        "reasons": row.reasons,
        "reason": row.reason,
        "model_name": row.model_name,
        "model_version": row.model_version,
        "window_start": row.window_start,
        "window_end": row.window_end,
        "rows": row.rows,
        "data_quality_score": row.quality_score,
        "drifted_features": row.drifted_features,
        "alert_id": row.alert_id,
        "retraining": row.retraining,
        "requested_by": row.requested_by,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
    }


def retraining_of(row: RetrainingRow) -> Retraining:
    return Retraining.model_validate(
        {
            "retraining_id": row.id,
            "deployment_id": row.deployment_id,
            "check_id": row.check_id,
            "status": row.status,
            "reason": row.reason,
            "source_job_id": row.source_job_id,
            "job_id": row.job_id,
            "model_id": row.model_id,
            "rollout_id": row.rollout_id,
            "requested_by": row.requested_by,
            "created_at": row.created_at,
            "finished_at": row.finished_at,
        }
    )

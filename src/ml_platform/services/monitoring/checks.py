"""`monitoring.check`: measures a window and does, in one transaction, what its verdict asks for."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ml_platform.contracts.monitoring import AlertSeverity, DriftCheckStatus, DriftVerdict
from ml_platform.kit.durable import JSON, Flow, Retry, StepFailedError
from ml_platform.kit.errors import NotFoundError
from ml_platform.kit.strictjson import finite
from ml_platform.services.access import Actor, Work, WorkFactory
from ml_platform.services.alerts import AlertService, NewAlert
from ml_platform.services.monitoring.baselines import Baseline, build_baseline, drifted, measure
from ml_platform.services.monitoring.interfaces import (
    Deployments,
    ModelVersions,
    PredictionLog,
    ReferenceScores,
    ServedDeployment,
)
from ml_platform.services.monitoring.repository import MonitoringRepository
from ml_platform.services.monitoring.retraining import consider_retraining
from ml_platform.services.monitoring.service import CHECK
from ml_platform.services.monitoring.statistics import DriftThresholds, ReferenceProfile, WindowReport
from ml_platform.services.monitoring.tables import DriftBaselineRow, DriftCheckRow, MonitorRow

_TRANSIENT = Retry(attempts=3, first_wait=0.5)
_MAX_REASONS = 100


@dataclass(frozen=True, slots=True)
class MonitoringParts:
    """What checks and retrainings are made with."""

    factory: WorkFactory
    deployments: Deployments
    versions: ModelVersions
    scores: ReferenceScores
    log: PredictionLog


class DriftCheckWorkflow:
    """A check on request first waits until the prediction log holds what was answered before it."""

    name = CHECK

    def __init__(
        self, parts: MonitoringParts, *, log_wait_seconds: float = 60.0, poll_seconds: float = 0.5
    ) -> None:
        self._parts = parts
        self._log_wait = log_wait_seconds
        self._poll = poll_seconds

    def run(self, flow: Flow, *, team_id: str, team_name: str) -> JSON:
        steps = _CheckSteps(self._parts, Actor.system("monitoring", team_id=team_id, team_name=team_name))
        check_id = flow.workflow_id
        try:
            begun = flow.step("begin", steps.begin, check_id, retry=_TRANSIENT)
            complete: bool | None = True
            if begun["fresh"]:
                complete = flow.poll(
                    "log", lambda: steps.log_is_complete(check_id), every=self._poll, timeout=self._log_wait
                )
            flow.step("baseline", steps.ensure_baseline, check_id, retry=_TRANSIENT)
            return flow.step("measure", steps.measure, check_id, bool(complete), retry=_TRANSIENT)
        except StepFailedError as error:
            return flow.step("failed", steps.fail, check_id, error.error.detail, retry=_TRANSIENT)


class _CheckSteps:
    """The steps of one check. Slow work is outside of transactions; each effect is guarded by the row."""

    def __init__(self, parts: MonitoringParts, actor: Actor) -> None:
        self._parts = parts
        self._actor = actor

    def begin(self, check_id: str) -> dict[str, Any]:
        with self._begin() as work:
            row = _check(work, check_id, lock=True)
            if row.status == DriftCheckStatus.QUEUED:
                row.status = DriftCheckStatus.RUNNING.value
            return {"fresh": row.trigger == "request"}

    def log_is_complete(self, check_id: str) -> bool | None:
        with self._begin(write=False) as work:
            until = _check(work, check_id).created_at
        return self._parts.log.is_complete(until) or None

    def ensure_baseline(self, check_id: str) -> bool:
        """Computes the served version's baseline unless it is there; whether anything serves."""
        with self._begin(write=False) as work:
            deployment = self._deployment(work, check_id)
            if not deployment.serves or _baseline(work, deployment) is not None:
                return deployment.serves
            version = self._parts.versions.get(
                work, str(deployment.model_name), int(deployment.model_version or 0)
            )
        built = build_baseline(deployment, version, self._parts.scores)
        with self._begin() as work:
            MonitoringRepository(work.session, work.team_id).add_baseline(
                DriftBaselineRow(
                    team_id=work.team_id,
                    model_name=version.model_name,
                    model_version=version.version,
                    bundle_digest=deployment.bundle_digest or "",
                    profile=built.profile.to_json() if built.profile is not None else None,
                    prediction_name=built.prediction_name,
                    prediction_column=built.prediction_column,
                    notes=list(built.notes),
                    created_at=work.clock(),
                )
            )
        return True

    def measure(self, check_id: str, log_is_complete: bool) -> JSON:
        """Measures the window and concludes the check; again it answers what was concluded."""
        with self._begin(write=False) as work:
            row = _check(work, check_id)
            if DriftCheckStatus(row.status).finished:
                return {"verdict": row.verdict}
            deployment = self._deployment(work, check_id)
            monitor = MonitoringRepository(work.session, work.team_id).monitor(row.deployment_id)
            baseline = _baseline(work, deployment) if deployment.serves else None
        assert monitor is not None
        since, until = row.created_at - timedelta(hours=monitor.window_hours), row.created_at
        report = None
        if baseline is not None:
            report = measure(
                baseline,
                deployment,
                self._parts.log,
                since=since,
                until=until,
                thresholds=DriftThresholds(
                    psi_warning=monitor.psi_warn, psi_drift=monitor.psi_act, min_rows=monitor.min_rows
                ),
            )
        notes = list(baseline.notes) if baseline is not None else ["nothing serves"]
        if not log_is_complete:
            notes.append("the prediction log was still being written: the newest predictions are not in it")
        with self._begin() as work:
            return _Conclusion(work, self._parts, deployment).conclude(
                check_id, report, notes, since=since, until=until
            )

    def fail(self, check_id: str, reason: str) -> JSON:
        with self._begin() as work:
            row = _check(work, check_id)
            monitor = _lock_monitor(work, row.deployment_id)
            row = _check(work, check_id, lock=True)
            if DriftCheckStatus(row.status).finished:
                return {"verdict": row.verdict}
            row.status, row.reason = DriftCheckStatus.FAILED.value, reason[:2000]
            row.finished_at = work.clock()
            alert = AlertService(work).raise_alert(
                NewAlert(
                    key=f"drift-check:{row.deployment_id}",
                    severity=AlertSeverity.WARNING,
                    title=f"Drift of {monitor.deployment_name} ({monitor.environment}) cannot be measured",
                    detail=row.reason,
                    resource_kind="deployment",
                    resource_id=row.deployment_id,
                    context={"check_id": check_id},
                )
            )
            row.alert_id = alert.alert_id
            work.record(
                "drift.check.failed",
                "deployment",
                row.deployment_id,
                after={"check_id": check_id, "reason": row.reason},
            )
        return {"verdict": None, "failed": reason[:2000]}

    def _deployment(self, work: Work, check_id: str) -> ServedDeployment:
        return self._parts.deployments.get(work, _check(work, check_id).deployment_id)

    def _begin(self, *, write: bool = True) -> AbstractContextManager[Work]:
        return self._parts.factory.begin(self._actor, write=write)


class _Conclusion:
    """What follows from a report: rows, alert, audit event and retraining, in the transaction of `work`."""

    def __init__(self, work: Work, parts: MonitoringParts, deployment: ServedDeployment) -> None:
        self._work = work
        self._parts = parts
        self._deployment = deployment

    def conclude(
        self,
        check_id: str,
        report: WindowReport | None,
        notes: list[str],
        *,
        since: datetime,
        until: datetime,
    ) -> JSON:
        # The monitor's lock makes checks of one deployment conclude one after the other.
        monitor = _lock_monitor(self._work, self._deployment.deployment_id)
        row = _check(self._work, check_id, lock=True)
        if DriftCheckStatus(row.status).finished:
            return {"verdict": row.verdict}
        row.window_start, row.window_end, row.notes = since, until, notes
        verdict = self._write(row, report, notes)
        before = monitor.last_verdict
        monitor.last_check_id, monitor.last_verdict = row.id, verdict.value
        monitor.last_quality, monitor.last_checked_at = row.quality_score, row.finished_at
        AlertService(self._work).clear(f"drift-check:{row.deployment_id}", "a check succeeded")
        if verdict is DriftVerdict.DRIFT:
            self._drifted(row, monitor)
        elif verdict is DriftVerdict.NONE:
            AlertService(self._work).clear(_key(row), f"check {row.id} found no drift any more")
        if verdict is DriftVerdict.DRIFT or (before is not None and before != verdict):
            self._work.record(
                "drift.verdict",
                "deployment",
                row.deployment_id,
                before={"verdict": before},
                after={
                    "verdict": verdict.value,
                    "check_id": row.id,
                    "features": row.drifted_features,
                    "alert_id": row.alert_id,
                    "retraining": row.retraining,
                },
            )
        return {"verdict": verdict.value}

    def _write(self, row: DriftCheckRow, report: WindowReport | None, notes: list[str]) -> DriftVerdict:
        row.status, row.finished_at = DriftCheckStatus.SUCCEEDED.value, self._work.clock()
        row.model_name, row.model_version = self._deployment.model_name, self._deployment.model_version
        if report is None:
            row.verdict, row.reasons = DriftVerdict.NOT_ENOUGH_DATA.value, notes
            return DriftVerdict.NOT_ENOUGH_DATA
        drift, quality = report.drift.to_json(), report.quality.to_json()
        row.verdict = report.verdict.value
        row.reasons = list(report.drift.reasons)[:_MAX_REASONS]
        row.rows, row.quality_score = report.drift.rows, report.quality.score
        row.drifted_features = list(drifted(report))
        baseline = _baseline(self._work, self._deployment)
        row.report = finite(
            {
                "features": drift["features"],
                "quality": quality["columns"],
                "reference_rows": baseline.profile.rows if baseline and baseline.profile else None,
            }
        )
        return DriftVerdict(report.verdict.value)

    def _drifted(self, row: DriftCheckRow, monitor: MonitorRow) -> None:
        production = monitor.environment == "production"
        decision = consider_retraining(self._work, monitor, row, self._deployment, self._parts.versions)
        row.retraining = decision.model_dump()
        worst, model = ", ".join(row.drifted_features[:5]), f"{row.model_name}/{row.model_version}"
        alert = AlertService(self._work).raise_alert(
            NewAlert(
                key=_key(row),
                severity=AlertSeverity.CRITICAL if production else AlertSeverity.WARNING,
                title=f"{monitor.deployment_name} ({monitor.environment}) has drifted: {worst}"[:300],
                detail="\n".join(
                    [
                        f"{len(row.drifted_features)} columns drifted in {row.rows} predictions of {model}",
                        *row.reasons[:20],
                        f"retraining: {decision.reason}",
                    ]
                ),
                resource_kind="deployment",
                resource_id=row.deployment_id,
                context={"check_id": row.id, "retraining_id": decision.retraining_id},
            )
        )
        row.alert_id = alert.alert_id


def _key(row: DriftCheckRow) -> str:
    return f"drift:{row.deployment_id}"


def _check(work: Work, check_id: str, *, lock: bool = False) -> DriftCheckRow:
    row = MonitoringRepository(work.session, work.team_id).check(check_id, lock=lock)
    if row is None:
        raise NotFoundError.of("check", check_id)
    return row


def _lock_monitor(work: Work, deployment_id: str) -> MonitorRow:
    row = MonitoringRepository(work.session, work.team_id).monitor(deployment_id, lock=True)
    assert row is not None
    return row


def _baseline(work: Work, deployment: ServedDeployment) -> Baseline | None:
    row = MonitoringRepository(work.session, work.team_id).baseline(
        str(deployment.model_name), int(deployment.model_version or 0), deployment.bundle_digest or ""
    )
    if row is None:
        return None
    profile = ReferenceProfile.from_json(row.profile) if row.profile is not None else None
    return Baseline(profile, row.prediction_name, row.prediction_column, tuple(row.notes))

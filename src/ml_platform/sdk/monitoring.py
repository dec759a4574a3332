"""Drift of deployments and the alerts that follow from it."""

import builtins
import time
from typing import Any

from ml_platform.contracts.monitoring import (
    Alert,
    DriftCheck,
    DriftCheckAccepted,
    DriftCheckSummary,
    Monitor,
    MonitorUpdate,
    Retraining,
)
from ml_platform.sdk.errors import InvalidInputError, PlatformError, WaitTimeoutError
from ml_platform.sdk.jobs import Progress, report_to_terminal
from ml_platform.sdk.transport import Transport, at


class Drift:
    """`platform.drift`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def check(self, deployment_id: str) -> DriftCheckAccepted:
        """Starts comparing what was asked until now with the model's reference data, and returns at once."""
        return self._transport.post(_of(deployment_id, "drift", "check"), DriftCheckAccepted)

    def wait(
        self,
        deployment_id: str,
        check_id: str,
        timeout: float = 300,
        *,
        poll: float = 0.3,
        progress: Progress = report_to_terminal,
    ) -> DriftCheck:
        """The report of a check, when it is there.

        Raises:
            PlatformError: the check failed; the message says why.
            WaitTimeoutError: it is still under way after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        said = None
        while not (check := self.report(deployment_id, check_id)).status.finished:
            if check.status is not said:
                said = check.status
                progress(f"check {check_id}: {said.value}")
            if time.monotonic() >= deadline:
                raise WaitTimeoutError(f"check {check_id} is still {check.status.value} after {timeout} s")
            time.sleep(poll)
        if check.status.value == "failed":
            raise PlatformError(f"check {check_id} failed: {check.reason or 'no reason was given'}")
        return check

    def report(self, deployment_id: str, check_id: str | None = None) -> DriftCheck:
        """A check's report; without an id, the newest one.

        Raises:
            NotFoundError: there is none yet.
        """
        tail = ("drift",) if check_id is None else ("drift", "checks", check_id)
        return self._transport.get(_of(deployment_id, *tail), DriftCheck)

    def checks(self, deployment_id: str, *, limit: int | None = 50) -> list[DriftCheckSummary]:
        """Newest first."""
        path = _of(deployment_id, "drift", "checks")
        return list(self._transport.pages(path, DriftCheckSummary, limit=limit))

    def monitor(self, deployment_id: str) -> Monitor:
        """How often a deployment is checked, against which limits, and what drift starts."""
        return self._transport.get(_of(deployment_id, "monitor"), Monitor)

    def configure(
        self, deployment_id: str, *, retrain: dict[str, Any] | None = None, **changes: Any
    ) -> Monitor:
        """Changes some settings of the monitor and leaves the others as they are.

        Args:
            deployment_id: whose monitor.
            retrain: `{"enabled", "cooldown_hours", "max_per_week"}`, any of them.
            **changes: `enabled`, `window_hours`, `min_rows`, `psi_warn`, `psi_act`, `schedule_minutes`.
        """
        if unknown := sorted(set(changes) - set(MonitorUpdate.model_fields)):
            raise InvalidInputError(f"a monitor has no setting {unknown[0]!r}")
        now = self.monitor(deployment_id).model_dump(mode="json", include=set(MonitorUpdate.model_fields))
        body = now | changes | {"retrain": now["retrain"] | (retrain or {})}
        return self._transport.put(_of(deployment_id, "monitor"), Monitor, body)

    def retrainings(self, deployment_id: str, *, limit: int | None = 50) -> list[Retraining]:
        """Newest first."""
        return list(self._transport.pages(_of(deployment_id, "retrainings"), Retraining, limit=limit))

    def retraining(self, deployment_id: str, retraining_id: str) -> Retraining:
        return self._transport.get(_of(deployment_id, "retrainings", retraining_id), Retraining)


class Alerts:
    """`platform.alerts`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        status: str | None = None,
        severity: str | None = None,
        resource: str | None = None,
        limit: int | None = 50,
    ) -> builtins.list[Alert]:
        """Newest first; `resource` is an id, e.g. of a deployment."""
        params = {"status": status, "severity": severity, "resource": resource}
        return list(self._transport.pages("/alerts", Alert, params, limit))

    def get(self, alert_id: str) -> Alert:
        return self._transport.get(at("alerts", alert_id), Alert)

    def acknowledge(self, alert_id: str, note: str | None = None) -> Alert:
        """Says that somebody looks after it."""
        return self._transport.post(at("alerts", alert_id, "acknowledge"), Alert, {"note": note})

    def resolve(self, alert_id: str, note: str | None = None) -> Alert:
        """Ends it; the same trouble found again is a new alert."""
        return self._transport.post(at("alerts", alert_id, "resolve"), Alert, {"note": note})


def _of(deployment_id: str, *tail: str) -> str:
    return at("deployments", deployment_id, *tail)

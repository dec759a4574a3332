"""Starts the checks that are due. Any number of control planes may run it: each check is started once."""

from datetime import timedelta

import structlog

from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.monitoring.interfaces import Deployments
from ml_platform.services.monitoring.repository import (
    MonitoringRepository,
    due_monitors,
    monitored_deployments,
)
from ml_platform.services.monitoring.service import MonitoringService
from ml_platform.services.monitoring.tables import MonitorRow

_log = structlog.get_logger(__name__)
_MOST_AT_ONCE = 200


class CheckSchedule:
    """Gives every deployment that serves a monitor, and starts its checks on time."""

    def __init__(self, factory: WorkFactory, deployments: Deployments) -> None:
        self._factory = factory
        self._deployments = deployments

    def run(self) -> int:
        """Answers how many checks were started here."""
        self._watch_new()
        with self._factory.begin(Actor.system("monitoring"), write=False) as work:
            due = due_monitors(work.session, work.clock(), _MOST_AT_ONCE)
        return sum(self._start(monitor) for monitor in due)

    def _watch_new(self) -> None:
        with self._factory.begin(Actor.system("monitoring"), write=False) as work:
            known = monitored_deployments(work.session)
            new = [d for d in self._deployments.list_serving(work.session) if d.deployment_id not in known]
        for deployment in new:
            actor = Actor.system("monitoring", team_id=deployment.team_id, team_name=deployment.team_name)
            with self._factory.begin(actor) as work:
                MonitoringService(work, self._deployments).ensure(deployment)

    def _start(self, monitor: MonitorRow) -> bool:
        """Claims a due monitor and starts its check, in one transaction; False when another did."""
        actor = Actor.system("monitoring", team_id=monitor.team_id, team_name=monitor.team_name)
        with self._factory.begin(actor) as work:
            following = work.clock() + timedelta(minutes=monitor.schedule_minutes)
            repository = MonitoringRepository(work.session, work.team_id)
            if not repository.claim(monitor.id, monitor.next_check_at, following):
                return False
            if not self._deployments.get(work, monitor.deployment_id).serves:
                return False
            if repository.count_unfinished(monitor.deployment_id):
                _log.info("drift.check_skipped", deployment=monitor.deployment_id, reason="one is under way")
                return False
            MonitoringService(work, self._deployments).start_check(monitor.deployment_id, trigger="schedule")
            return True

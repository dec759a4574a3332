"""Looks for reviews that are overdue, and raises one alert for each model; run by any number of processes."""

import structlog

from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.alerts import AlertService
from ml_platform.services.governance.interfaces import ProductionUse, ServesInProduction
from ml_platform.services.governance.personal_data import PersonalDataCheck, gravest_risk
from ml_platform.services.governance.register import due_of, overdue_alert, overdue_key
from ml_platform.services.governance.repository import GovernanceRepository

_log = structlog.get_logger(__name__)


class ReviewWatch:
    """Over everything that serves in production, of all teams."""

    def __init__(
        self, factory: WorkFactory, production: ProductionUse, check: PersonalDataCheck | None = None
    ) -> None:
        self._factory = factory
        self._production = production
        self._check = check

    def run(self) -> list[str]:
        """One look; the names of the models that are overdue."""
        with self._factory.begin(Actor.system("model-reviews"), write=False) as work:
            uses = self._production.everywhere(work)
        found = []
        for team_id, team_name, model, use in uses:
            actor = Actor.system("model-reviews", team_id=team_id, team_name=team_name)
            try:
                if self._look(actor, model, use):
                    found.append(model)
            except Exception:  # one model's failure must not hide the others
                _log.exception("review_watch.failed", model=model, team=team_name)
        return found

    def _look(self, actor: Actor, model: str, use: ServesInProduction) -> bool:
        with self._factory.begin(actor, write=False) as work:
            repository = GovernanceRepository(work.session, work.team_id)
            risk = gravest_risk(self._check, work.session, repository.risk(model), use.numbers)
            last, revalidated = repository.last_reviews([model])[model]
            due = due_of(risk, use, last.reviewed_at if last else None, revalidated)
            now = work.clock()
        if risk is None or not due.overdue(now):
            return False
        alert = overdue_alert(model, risk.level, due, now)
        with self._factory.begin(actor) as work:
            alerts = AlertService(work)
            if not alerts.is_open(overdue_key(model), alert.severity):
                alerts.raise_alert(alert)
        return True

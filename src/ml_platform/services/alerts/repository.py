"""Queries over the alerts of one team."""

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from ml_platform.contracts.monitoring import AlertStatus
from ml_platform.services.alerts.tables import AlertRow


class AlertRepository:
    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    def alert(self, alert_id: str, *, lock: bool = False) -> AlertRow | None:
        return self._one(AlertRow.id == alert_id, lock=lock)

    def unresolved(self, dedup_key: str) -> AlertRow | None:
        """The alert of this trouble that is not resolved, locked."""
        return self._one(
            AlertRow.dedup_key == dedup_key, AlertRow.status != AlertStatus.RESOLVED.value, lock=True
        )

    def alerts(
        self,
        *,
        status: str | None,
        severity: str | None,
        resource: str | None,
        before: str | None,
        limit: int,
    ) -> list[AlertRow]:
        """Newest first."""
        query = (
            select(AlertRow)
            .where(AlertRow.team_id == self._team_id)
            .order_by(AlertRow.id.desc())
            .limit(limit)
        )
        for column, value in (
            (AlertRow.status, status),
            (AlertRow.severity, severity),
            (AlertRow.resource_id, resource),
        ):
            if value is not None:
                query = query.where(column == value)
        if before is not None:
            query = query.where(AlertRow.id < before)
        return list(self._session.scalars(query))

    def _one(self, *conditions: ColumnElement[bool], lock: bool) -> AlertRow | None:
        query = select(AlertRow).where(AlertRow.team_id == self._team_id, *conditions)
        if lock:
            query = query.with_for_update().execution_options(populate_existing=True)
        return self._session.scalars(query).first()


def count_unresolved(session: Session) -> dict[tuple[str, str], int]:
    """Alerts of the whole installation that are not resolved, by team's name and severity."""
    query = (
        select(AlertRow.team_name, AlertRow.severity, func.count())
        .where(AlertRow.status != AlertStatus.RESOLVED.value)
        .group_by(AlertRow.team_name, AlertRow.severity)
    )
    return {(team, severity): count for team, severity, count in session.execute(query)}

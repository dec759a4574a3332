"""Queries over monitors, checks, baselines, retrainings and ground truth."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ml_platform.contracts.monitoring import DriftCheckStatus, RetrainingStatus
from ml_platform.services.monitoring.tables import (
    DriftBaselineRow,
    DriftCheckRow,
    GroundTruthRow,
    MonitorRow,
    RetrainingRow,
)

_UNFINISHED = tuple(status.value for status in DriftCheckStatus if not status.finished)
_RETRAINING = tuple(status.value for status in RetrainingStatus if not status.finished)


class MonitoringRepository:
    """Of one team. Whoever concludes a check locks the monitor's row first."""

    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    # -- monitors

    def add_monitor(self, row: MonitorRow) -> bool:
        """Adds a monitor unless the deployment has one; whether it was added."""
        return self._add_once(MonitorRow, row)

    def monitor(self, deployment_id: str, *, lock: bool = False) -> MonitorRow | None:
        query = select(MonitorRow).where(
            MonitorRow.team_id == self._team_id, MonitorRow.deployment_id == deployment_id
        )
        return self._session.scalars(_locked(query) if lock else query).first()

    def claim(self, monitor_id: str, due_at: datetime, next_check_at: datetime) -> bool:
        """Moves a due monitor on; of all who try, one is told that it was them."""
        done = self._session.execute(
            update(MonitorRow)
            .where(
                MonitorRow.team_id == self._team_id,
                MonitorRow.id == monitor_id,
                MonitorRow.enabled.is_(True),
                MonitorRow.next_check_at == due_at,
            )
            .values(next_check_at=next_check_at)
            .returning(MonitorRow.id)
            .execution_options(synchronize_session=False)
        )
        return done.scalar() is not None

    # -- checks

    def check(self, check_id: str, *, lock: bool = False) -> DriftCheckRow | None:
        query = select(DriftCheckRow).where(
            DriftCheckRow.team_id == self._team_id, DriftCheckRow.id == check_id
        )
        return self._session.scalars(_locked(query) if lock else query).first()

    def latest_check(self, deployment_id: str) -> DriftCheckRow | None:
        """The newest one that was measured."""
        query = self._checks(deployment_id).where(DriftCheckRow.status == DriftCheckStatus.SUCCEEDED.value)
        return self._session.scalars(query.limit(1)).first()

    def checks(self, deployment_id: str, *, before: str | None, limit: int) -> list[DriftCheckRow]:
        """Newest first."""
        query = self._checks(deployment_id).limit(limit)
        if before is not None:
            query = query.where(DriftCheckRow.id < before)
        return list(self._session.scalars(query))

    def count_unfinished(self, deployment_id: str) -> int:
        query = select(func.count()).where(
            DriftCheckRow.team_id == self._team_id,
            DriftCheckRow.deployment_id == deployment_id,
            DriftCheckRow.status.in_(_UNFINISHED),
        )
        return self._session.scalar(query) or 0

    # -- baselines

    def baseline(self, model_name: str, model_version: int, bundle_digest: str) -> DriftBaselineRow | None:
        return self._session.get(DriftBaselineRow, (self._team_id, model_name, model_version, bundle_digest))

    def add_baseline(self, row: DriftBaselineRow) -> None:
        """Adds a baseline; one that is there stays."""
        self._add_once(DriftBaselineRow, row)

    # -- retrainings

    def retraining(self, retraining_id: str, *, lock: bool = False) -> RetrainingRow | None:
        query = select(RetrainingRow).where(
            RetrainingRow.team_id == self._team_id, RetrainingRow.id == retraining_id
        )
        return self._session.scalars(_locked(query) if lock else query).first()

    def retrainings(self, deployment_id: str, *, before: str | None, limit: int) -> list[RetrainingRow]:
        """Newest first."""
        query = self._retrainings(deployment_id).limit(limit)
        if before is not None:
            query = query.where(RetrainingRow.id < before)
        return list(self._session.scalars(query))

    def recent_retrainings(self, deployment_id: str, since: datetime) -> list[RetrainingRow]:
        """Those that started since then, and those that are under way."""
        query = self._retrainings(deployment_id).where(
            (RetrainingRow.created_at > since) | RetrainingRow.status.in_(_RETRAINING)
        )
        return list(self._session.scalars(query))

    # -- ground truth

    def add_upload(self, row: GroundTruthRow) -> bool:
        """Adds an upload unless it is there; whether it was added."""
        return self._add_once(GroundTruthRow, row)

    def upload(self, deployment_id: str, digest: str) -> GroundTruthRow | None:
        query = self._uploads(deployment_id).where(GroundTruthRow.digest == digest)
        return self._session.scalars(query).first()

    def uploads(self, deployment_id: str, *, before: str | None, limit: int) -> list[GroundTruthRow]:
        """Newest first."""
        query = self._uploads(deployment_id).order_by(GroundTruthRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(GroundTruthRow.id < before)
        return list(self._session.scalars(query))

    def uploads_since(self, deployment_id: str, since: datetime) -> list[GroundTruthRow]:
        query = self._uploads(deployment_id).where(GroundTruthRow.created_at >= since)
        return list(self._session.scalars(query))

    def count_uploads(self, deployment_id: str, since: datetime) -> int:
        query = self._uploads(deployment_id).where(GroundTruthRow.created_at >= since)
        return self._session.scalar(select(func.count()).select_from(query.subquery())) or 0

    # -- parts

    def _uploads(self, deployment_id: str) -> Select[GroundTruthRow]:
        return select(GroundTruthRow).where(
            GroundTruthRow.team_id == self._team_id, GroundTruthRow.deployment_id == deployment_id
        )

    def _checks(self, deployment_id: str) -> Select[DriftCheckRow]:
        return (
            select(DriftCheckRow)
            .where(DriftCheckRow.team_id == self._team_id, DriftCheckRow.deployment_id == deployment_id)
            .order_by(DriftCheckRow.id.desc())
        )

    def _retrainings(self, deployment_id: str) -> Select[RetrainingRow]:
        return (
            select(RetrainingRow)
            .where(RetrainingRow.team_id == self._team_id, RetrainingRow.deployment_id == deployment_id)
            .order_by(RetrainingRow.id.desc())
        )

    def _add_once(
        self,
        table: type[MonitorRow | DriftBaselineRow | GroundTruthRow],
        row: MonitorRow | DriftBaselineRow | GroundTruthRow,
    ) -> bool:
        postgres = self._session.get_bind().dialect.name == "postgresql"
        insert = postgresql.insert if postgres else sqlite.insert
        values = {column.key: getattr(row, column.key) for column in table.__mapper__.column_attrs}
        statement = insert(table).values(values).on_conflict_do_nothing().returning(table.team_id)
        return self._session.execute(statement).scalar() is not None


def due_monitors(session: Session, now: datetime, limit: int) -> list[MonitorRow]:
    """Monitors of the whole installation whose time has come, the longest waiting first."""
    query = (
        select(MonitorRow)
        .where(MonitorRow.enabled.is_(True), MonitorRow.next_check_at <= now)
        .order_by(MonitorRow.next_check_at)
        .limit(limit)
    )
    return list(session.scalars(query))


def monitored_deployments(session: Session) -> set[str]:
    """The deployments of the whole installation that have a monitor."""
    return set(session.scalars(select(MonitorRow.deployment_id)))


def measured_monitors(session: Session, since: timedelta, now: datetime) -> list[MonitorRow]:
    """Monitors of the whole installation that were measured lately, for the metrics."""
    query = select(MonitorRow).where(MonitorRow.last_checked_at > now - since)
    return list(session.scalars(query))


def _locked(query: Select[Any]) -> Select[Any]:
    """Waits for whoever holds the row, and then sees it as they left it."""
    return query.with_for_update().execution_options(populate_existing=True)

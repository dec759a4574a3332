"""Queries over sources and jobs."""

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from ml_platform.contracts.jobs import JobStatus
from ml_platform.services.training.tables import JobRow, SourceRow

_QUEUE_LOCK = 0x4A4F4253  # "JOBS"
_WAITING = (JobStatus.SUBMITTED.value, JobStatus.QUEUED.value)


class TrainingRepository:
    """Sources and jobs of one team."""

    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    def source(self, source_id: str) -> SourceRow | None:
        return self._session.scalars(
            select(SourceRow).where(SourceRow.team_id == self._team_id, SourceRow.id == source_id)
        ).first()

    def source_by_digest(self, sha256: str) -> SourceRow | None:
        return self._session.scalars(
            select(SourceRow).where(SourceRow.team_id == self._team_id, SourceRow.sha256 == sha256)
        ).first()

    def last_source_of(self, experiment_id: str) -> SourceRow | None:
        """What the newest job of an experiment was made from."""
        return self._session.scalars(
            select(SourceRow)
            .join(JobRow, JobRow.source_id == SourceRow.id)
            .where(JobRow.team_id == self._team_id, JobRow.experiment_id == experiment_id)
            .order_by(JobRow.id.desc())
            .limit(1)
        ).first()

    def job(self, job_id: str) -> JobRow | None:
        return self._session.scalars(
            select(JobRow).where(JobRow.team_id == self._team_id, JobRow.id == job_id)
        ).first()

    def jobs(
        self, *, experiment_id: str | None, status: str | None, before: str | None, limit: int
    ) -> list[JobRow]:
        query = select(JobRow).where(JobRow.team_id == self._team_id).order_by(JobRow.id.desc()).limit(limit)
        if experiment_id is not None:
            query = query.where(JobRow.experiment_id == experiment_id)
        if status is not None:
            query = query.where(JobRow.status == status)
        if before is not None:
            query = query.where(JobRow.id < before)
        return list(self._session.scalars(query))

    def count_waiting(self) -> int:
        query = select(func.count()).where(
            JobRow.team_id == self._team_id,
            JobRow.finished_at.is_(None),
            JobRow.slot_at.is_(None),
            JobRow.status.in_(_WAITING),
        )
        return self._session.scalar(query) or 0


class QueueRepository:
    """The queue is one for the installation: it is what is fair over the teams."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lock(self) -> None:
        """One at a time counts and changes the queue; on SQLite the write transaction is that already."""
        if self._session.get_bind().dialect.name == "postgresql":
            self._session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _QUEUE_LOCK})

    def running_by_team(self) -> dict[str, int]:
        query = (
            select(JobRow.team_id, func.count())
            .where(JobRow.finished_at.is_(None), JobRow.slot_at.is_not(None))
            .group_by(JobRow.team_id)
        )
        return {row[0]: row[1] for row in self._session.execute(query)}

    def first_waiting_by_team(self) -> list[JobRow]:
        """The oldest queued job of each team that has one."""
        first = (
            select(func.min(JobRow.id))
            .where(
                JobRow.finished_at.is_(None),
                JobRow.slot_at.is_(None),
                JobRow.cancel_requested_at.is_(None),
                JobRow.status == JobStatus.QUEUED.value,
            )
            .group_by(JobRow.team_id)
        )
        return list(self._session.scalars(select(JobRow).where(JobRow.id.in_(first))))

    def counts(self) -> dict[tuple[str, str], int]:
        """Jobs by team and status."""
        query = select(JobRow.team_id, JobRow.status, func.count()).group_by(JobRow.team_id, JobRow.status)
        return {(team, status): count for team, status, count in self._session.execute(query)}

"""Queries over one team's datasets."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.services.datasets.tables import DatasetRow, DatasetVersionRow


class DatasetRepository:
    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    def dataset(self, name_or_id: str, *, lock: bool = False) -> DatasetRow | None:
        query = select(DatasetRow).where(
            DatasetRow.team_id == self._team_id,
            (DatasetRow.name == name_or_id) | (DatasetRow.id == name_or_id),
        )
        return self._session.scalars(query.with_for_update() if lock else query).first()

    def datasets(self, *, after: str | None, limit: int) -> list[DatasetRow]:
        query = (
            select(DatasetRow).where(DatasetRow.team_id == self._team_id).order_by(DatasetRow.id).limit(limit)
        )
        if after is not None:
            query = query.where(DatasetRow.id > after)
        return list(self._session.scalars(query))

    def version(self, dataset_id: str, version: int) -> DatasetVersionRow | None:
        return self._session.scalars(
            select(DatasetVersionRow).where(
                DatasetVersionRow.team_id == self._team_id,
                DatasetVersionRow.dataset_id == dataset_id,
                DatasetVersionRow.version == version,
            )
        ).first()

    def versions(self, dataset_id: str, *, before: int | None, limit: int) -> list[DatasetVersionRow]:
        """Newest first."""
        query = (
            select(DatasetVersionRow)
            .where(DatasetVersionRow.team_id == self._team_id, DatasetVersionRow.dataset_id == dataset_id)
            .order_by(DatasetVersionRow.version.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(DatasetVersionRow.version < before)
        return list(self._session.scalars(query))

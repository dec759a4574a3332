"""Queries over one team's features."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.services.features.tables import FeatureViewRow, MaterializationRow, TrainingSetRow


class FeatureRepository:
    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    def view(self, name: str) -> FeatureViewRow | None:
        return self._session.scalars(
            select(FeatureViewRow).where(FeatureViewRow.team_id == self._team_id, FeatureViewRow.name == name)
        ).first()

    def views(self, *, after: str | None, limit: int) -> list[FeatureViewRow]:
        query = (
            select(FeatureViewRow)
            .where(FeatureViewRow.team_id == self._team_id)
            .order_by(FeatureViewRow.id)
            .limit(limit)
        )
        if after is not None:
            query = query.where(FeatureViewRow.id > after)
        return list(self._session.scalars(query))

    def materialization(self, row_id: str) -> MaterializationRow | None:
        return self._session.scalars(
            select(MaterializationRow).where(
                MaterializationRow.team_id == self._team_id, MaterializationRow.id == row_id
            )
        ).first()

    def under_way(self, view: str) -> MaterializationRow | None:
        """A materialisation of the view that has not ended."""
        return self._session.scalars(
            select(MaterializationRow).where(
                MaterializationRow.team_id == self._team_id,
                MaterializationRow.feature_view == view,
                MaterializationRow.finished_at.is_(None),
            )
        ).first()

    def training_set(self, row_id: str) -> TrainingSetRow | None:
        return self._session.scalars(
            select(TrainingSetRow).where(TrainingSetRow.team_id == self._team_id, TrainingSetRow.id == row_id)
        ).first()

    def training_sets(self, *, before: str | None, limit: int) -> list[TrainingSetRow]:
        """Newest first."""
        query = (
            select(TrainingSetRow)
            .where(TrainingSetRow.team_id == self._team_id)
            .order_by(TrainingSetRow.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(TrainingSetRow.id < before)
        return list(self._session.scalars(query))

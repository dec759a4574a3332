"""Queries over shadows and A/B tests; always of one team."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.kit.errors import NotFoundError
from ml_platform.services.deployments.tables import RevisionRow, RolloutRow
from ml_platform.services.trials.tables import ABTestArmRow, ABTestRow, ShadowRow


class TrialRepository:
    """Whoever changes a trial locks its deployment first."""

    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    def shadow(self, shadow_id: str) -> ShadowRow:
        query = select(ShadowRow).where(ShadowRow.team_id == self._team_id, ShadowRow.id == shadow_id)
        row = self._session.scalars(query.execution_options(populate_existing=True)).first()
        if row is None:
            raise NotFoundError.of("shadow", shadow_id)
        return row

    def shadows(self, deployment_id: str, *, before: str | None, limit: int) -> list[ShadowRow]:
        """Newest first."""
        query = (
            select(ShadowRow)
            .where(ShadowRow.team_id == self._team_id, ShadowRow.deployment_id == deployment_id)
            .order_by(ShadowRow.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(ShadowRow.id < before)
        return list(self._session.scalars(query))

    def behind(self, rows: Sequence[ShadowRow]) -> tuple[dict[str, RolloutRow], dict[str, RevisionRow]]:
        """The rollouts and the revisions of shadows, by their ids."""
        rollouts = select(RolloutRow).where(RolloutRow.id.in_([row.rollout_id for row in rows]))
        revisions = select(RevisionRow).where(RevisionRow.id.in_([row.revision_id for row in rows]))
        fresh = {"populate_existing": True}
        return (
            {row.id: row for row in self._session.scalars(rollouts.execution_options(**fresh))},
            {row.id: row for row in self._session.scalars(revisions.execution_options(**fresh))},
        )

    def test(self, ab_test_id: str) -> ABTestRow:
        query = select(ABTestRow).where(ABTestRow.team_id == self._team_id, ABTestRow.id == ab_test_id)
        row = self._session.scalars(query.execution_options(populate_existing=True)).first()
        if row is None:
            raise NotFoundError.of("A/B test", ab_test_id)
        return row

    def tests(self, deployment_id: str, *, before: str | None, limit: int) -> list[ABTestRow]:
        """Newest first."""
        query = (
            select(ABTestRow)
            .where(ABTestRow.team_id == self._team_id, ABTestRow.deployment_id == deployment_id)
            .order_by(ABTestRow.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(ABTestRow.id < before)
        return list(self._session.scalars(query))

    def arms(self, *ab_test_ids: str) -> list[ABTestArmRow]:
        """In the order in which they were given."""
        query = select(ABTestArmRow).where(ABTestArmRow.ab_test_id.in_(ab_test_ids))
        ordered = query.order_by(ABTestArmRow.ab_test_id, ABTestArmRow.position)
        return list(self._session.scalars(ordered.execution_options(populate_existing=True)))

"""Queries over deployments, revisions and rollouts; always of one team."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ml_platform.contracts.deployments import RevisionStatus
from ml_platform.kit.errors import NotFoundError
from ml_platform.services.deployments.tables import (
    BundleRow,
    CanaryStepRow,
    DeploymentRow,
    RevisionRow,
    RolloutRow,
    RolloutStageRow,
)

LOADED = tuple(status.value for status in RevisionStatus if status is not RevisionStatus.RETIRED)


class DeploymentRepository:
    """Whoever changes a deployment, its revisions or its rollout locks the deployment's row first."""

    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    def ensure(self, row: DeploymentRow) -> DeploymentRow:
        """The endpoint of that team, environment and name, locked; made from `row` if there is none."""
        dialect = self._session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        values = {column.key: getattr(row, column.key) for column in DeploymentRow.__mapper__.column_attrs}
        self._session.execute(insert(DeploymentRow).values(values).on_conflict_do_nothing())
        query = select(DeploymentRow).where(
            DeploymentRow.team_id == self._team_id,
            DeploymentRow.environment == row.environment,
            DeploymentRow.name == row.name,
        )
        return self._session.scalars(_locked(query)).one()

    def deployment(self, deployment_id: str, *, lock: bool = False) -> DeploymentRow:
        query = select(DeploymentRow).where(
            DeploymentRow.team_id == self._team_id, DeploymentRow.id == deployment_id
        )
        row = self._session.scalars(_locked(query) if lock else query).first()
        if row is None:
            raise NotFoundError.of("deployment", deployment_id)
        return row

    def find(self, environment: str, name: str) -> DeploymentRow | None:
        query = select(DeploymentRow).where(
            DeploymentRow.team_id == self._team_id,
            DeploymentRow.environment == environment,
            DeploymentRow.name == name,
        )
        return self._session.scalars(query).first()

    def deployments(
        self, *, environment: str | None, name: str | None, before: str | None, limit: int
    ) -> list[DeploymentRow]:
        """Newest first."""
        query = (
            select(DeploymentRow)
            .where(DeploymentRow.team_id == self._team_id)
            .order_by(DeploymentRow.id.desc())
            .limit(limit)
        )
        if environment is not None:
            query = query.where(DeploymentRow.environment == environment)
        if name is not None:
            query = query.where(DeploymentRow.name == name)
        if before is not None:
            query = query.where(DeploymentRow.id < before)
        return list(self._session.scalars(query))

    def loaded(self, *deployment_ids: str) -> list[RevisionRow]:
        """The revisions of these deployments that the inference plane holds, newest first."""
        query = (
            select(RevisionRow)
            .where(
                RevisionRow.team_id == self._team_id,
                RevisionRow.deployment_id.in_(deployment_ids),
                RevisionRow.status.in_(LOADED),
            )
            .order_by(RevisionRow.id.desc())
        )
        return list(self._session.scalars(query))

    def all_loaded(self) -> list[RevisionRow]:
        """The revisions of all of the team's deployments that the inference plane holds."""
        query = select(RevisionRow).where(
            RevisionRow.team_id == self._team_id, RevisionRow.status.in_(LOADED)
        )
        return list(self._session.scalars(query))

    def holder(self, deployment_id: str) -> tuple[RevisionRow, str] | None:
        """The newest revision of those that stand at an endpoint, and who asked for it; None at a free one."""
        query = (
            select(RevisionRow, RolloutRow.requested_by_name)
            .join(RolloutRow, RolloutRow.id == RevisionRow.rollout_id)
            .where(
                RevisionRow.team_id == self._team_id,
                RevisionRow.deployment_id == deployment_id,
                RevisionRow.status.in_(LOADED),
            )
            .order_by(RevisionRow.weight.desc(), RevisionRow.id.desc())
            .limit(1)
        )
        row = self._session.execute(query).first()
        return (row[0], row[1]) if row is not None else None

    def had(self, deployment_id: str, model_name: str) -> bool:
        """Whether a revision of this model ever stood at the endpoint."""
        query = select(RevisionRow.id).where(
            RevisionRow.team_id == self._team_id,
            RevisionRow.deployment_id == deployment_id,
            RevisionRow.model_name == model_name,
        )
        return self._session.scalars(query.limit(1)).first() is not None

    def revisions(self, deployment_id: str) -> list[RevisionRow]:
        """All that a deployment ever had, newest first."""
        query = select(RevisionRow).where(
            RevisionRow.team_id == self._team_id, RevisionRow.deployment_id == deployment_id
        )
        return list(self._session.scalars(query.order_by(RevisionRow.id.desc())))

    def revision(self, revision_id: str) -> RevisionRow | None:
        query = select(RevisionRow).where(RevisionRow.team_id == self._team_id, RevisionRow.id == revision_id)
        return self._session.scalars(query).first()

    def bundle(self, key: str) -> BundleRow | None:
        """What was built under this key."""
        return self._session.get(BundleRow, (self._team_id, key))

    def is_loaded_from(self, uri: str) -> bool:
        """Whether a revision that the inference plane holds has its bundle there."""
        query = select(RevisionRow.id).where(
            RevisionRow.team_id == self._team_id,
            RevisionRow.bundle_uri == uri,
            RevisionRow.status.in_(LOADED),
        )
        return self._session.scalars(query).first() is not None

    def rollout(self, rollout_id: str) -> RolloutRow:
        query = select(RolloutRow).where(RolloutRow.team_id == self._team_id, RolloutRow.id == rollout_id)
        row = self._session.scalars(query.execution_options(populate_existing=True)).first()
        if row is None:
            raise NotFoundError.of("rollout", rollout_id)
        return row

    def running(self, deployments: Sequence[DeploymentRow]) -> dict[str, RolloutRow]:
        """The rollouts under way, by deployment."""
        ids = [row.active_rollout_id for row in deployments if row.active_rollout_id is not None]
        if not ids:
            return {}
        query = select(RolloutRow).where(RolloutRow.team_id == self._team_id, RolloutRow.id.in_(ids))
        found = self._session.scalars(query.execution_options(populate_existing=True))
        return {row.deployment_id: row for row in found}

    def under_way(self) -> list[RolloutRow]:
        """All rollouts of the team that are not over."""
        query = (
            select(RolloutRow)
            .join(DeploymentRow, DeploymentRow.active_rollout_id == RolloutRow.id)
            .where(RolloutRow.team_id == self._team_id)
        )
        return list(self._session.scalars(query.execution_options(populate_existing=True)))

    def rollouts(self, deployment_id: str, *, before: str | None, limit: int) -> list[RolloutRow]:
        """Newest first."""
        query = (
            select(RolloutRow)
            .where(RolloutRow.team_id == self._team_id, RolloutRow.deployment_id == deployment_id)
            .order_by(RolloutRow.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(RolloutRow.id < before)
        return list(self._session.scalars(query))

    def stages(self, rollout: RolloutRow) -> list[RolloutStageRow]:
        query = select(RolloutStageRow).where(RolloutStageRow.rollout_id == rollout.id)
        return list(self._session.scalars(query.order_by(RolloutStageRow.position)))

    def built(self, deployment_id: str, rollout_id: str | None) -> tuple[RolloutRow, RolloutStageRow] | None:
        """A rollout whose build stage passed, with that stage; the newest when none is named."""
        query = (
            select(RolloutRow, RolloutStageRow)
            .join(RolloutStageRow, RolloutStageRow.rollout_id == RolloutRow.id)
            .where(
                RolloutRow.team_id == self._team_id,
                RolloutRow.deployment_id == deployment_id,
                RolloutStageRow.name == "build",
                RolloutStageRow.status == "passed",
            )
            .order_by(RolloutRow.id.desc())
            .limit(1)
        )
        if rollout_id is not None:
            query = query.where(RolloutRow.id == rollout_id)
        row = self._session.execute(query).first()
        return (row[0], row[1]) if row is not None else None

    def canary_steps(self, rollout: RolloutRow) -> list[CanaryStepRow]:
        query = select(CanaryStepRow).where(CanaryStepRow.rollout_id == rollout.id)
        return list(self._session.scalars(query.order_by(CanaryStepRow.step)))


def _locked(query: Select[DeploymentRow]) -> Select[DeploymentRow]:
    """Waits for whoever holds the row, and then sees it as they left it."""
    return query.with_for_update().execution_options(populate_existing=True)

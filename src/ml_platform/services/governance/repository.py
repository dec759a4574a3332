"""Queries over risks, owners, reviews, approvals and votes; always of one team."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ml_platform.services.governance.tables import (
    ApprovalRow,
    ApprovalVoteRow,
    ModelOwnerRow,
    ModelReviewRow,
    ModelRiskRow,
)


class GovernanceRepository:
    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    def risk(self, model_name: str, *, lock: bool = False) -> ModelRiskRow | None:
        query = select(ModelRiskRow).where(
            ModelRiskRow.team_id == self._team_id, ModelRiskRow.model_name == model_name
        )
        return self._session.scalars(query.with_for_update() if lock else query).first()

    def risks(self, names: Collection[str]) -> dict[str, ModelRiskRow]:
        query = select(ModelRiskRow).where(
            ModelRiskRow.team_id == self._team_id, ModelRiskRow.model_name.in_(list(names))
        )
        return {row.model_name: row for row in self._session.scalars(query)}

    def owners(self, names: Collection[str]) -> dict[str, ModelOwnerRow]:
        """Those who were named."""
        query = select(ModelOwnerRow).where(
            ModelOwnerRow.team_id == self._team_id, ModelOwnerRow.model_name.in_(list(names))
        )
        return {row.model_name: row for row in self._session.scalars(query)}

    def reviews(self, model_name: str, *, before: str | None, limit: int) -> list[ModelReviewRow]:
        """Newest first."""
        query = select(ModelReviewRow).where(
            ModelReviewRow.team_id == self._team_id, ModelReviewRow.model_name == model_name
        )
        if before is not None:
            query = query.where(ModelReviewRow.id < before)
        return list(self._session.scalars(query.order_by(ModelReviewRow.id.desc()).limit(limit)))

    def last_reviews(
        self, names: Collection[str]
    ) -> dict[str, tuple[ModelReviewRow | None, datetime | None]]:
        """Of each model the last review, and when it was last revalidated."""
        ours = (ModelReviewRow.team_id == self._team_id, ModelReviewRow.model_name.in_(list(names)))
        newest = select(func.max(ModelReviewRow.id)).where(*ours).group_by(ModelReviewRow.model_name)
        last = {
            row.model_name: row
            for row in self._session.scalars(select(ModelReviewRow).where(ModelReviewRow.id.in_(newest)))
        }
        query = (
            select(ModelReviewRow.model_name, func.max(ModelReviewRow.reviewed_at))
            .where(*ours, ModelReviewRow.revalidated)
            .group_by(ModelReviewRow.model_name)
        )
        revalidated = {row[0]: row[1] for row in self._session.execute(query)}
        return {name: (last.get(name), revalidated.get(name)) for name in names}

    def approval(self, approval_id: str, *, lock: bool = False) -> ApprovalRow | None:
        query = select(ApprovalRow).where(ApprovalRow.team_id == self._team_id, ApprovalRow.id == approval_id)
        return self._session.scalars(query.with_for_update() if lock else query).first()

    def approval_for(self, subject_id: str, *, lock: bool = False) -> ApprovalRow | None:
        query = select(ApprovalRow).where(
            ApprovalRow.team_id == self._team_id, ApprovalRow.subject_id == subject_id
        )
        return self._session.scalars(query.with_for_update() if lock else query).first()

    def approvals(self, *, status: str | None, before: str | None, limit: int) -> list[ApprovalRow]:
        """Newest first."""
        query = (
            select(ApprovalRow)
            .where(ApprovalRow.team_id == self._team_id)
            .order_by(ApprovalRow.id.desc())
            .limit(limit)
        )
        if status is not None:
            query = query.where(ApprovalRow.status == status)
        if before is not None:
            query = query.where(ApprovalRow.id < before)
        return list(self._session.scalars(query))

    def unreviewed(self, model_name: str, *, before: datetime) -> ApprovalRow | None:
        """A deployment of the model behind a broken glass whose review was due before then."""
        query = (
            select(ApprovalRow)
            .where(
                ApprovalRow.team_id == self._team_id,
                ApprovalRow.model_name == model_name,
                ApprovalRow.review_due_at < before,
                ApprovalRow.reviewed_at.is_(None),
            )
            .order_by(ApprovalRow.id)
            .limit(1)
        )
        return self._session.scalars(query).first()

    def votes(self, approval_ids: Collection[str]) -> dict[str, list[ApprovalVoteRow]]:
        """The votes on each of these approvals, oldest first."""
        found: dict[str, list[ApprovalVoteRow]] = {approval_id: [] for approval_id in approval_ids}
        query = (
            select(ApprovalVoteRow)
            .join(ApprovalRow, ApprovalRow.id == ApprovalVoteRow.approval_id)
            .where(ApprovalRow.team_id == self._team_id, ApprovalRow.id.in_(list(approval_ids)))
            .order_by(ApprovalVoteRow.id)
        )
        for vote in self._session.scalars(query):
            found[vote.approval_id].append(vote)
        return found

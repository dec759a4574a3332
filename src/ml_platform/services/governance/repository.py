"""Queries over risks, approvals and votes; always of one team."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.services.governance.tables import ApprovalRow, ApprovalVoteRow, ModelRiskRow


class GovernanceRepository:
    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    def risk(self, model_name: str, *, lock: bool = False) -> ModelRiskRow | None:
        query = select(ModelRiskRow).where(
            ModelRiskRow.team_id == self._team_id, ModelRiskRow.model_name == model_name
        )
        return self._session.scalars(query.with_for_update() if lock else query).first()

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

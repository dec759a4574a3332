"""Queries over the versions of the organisation's policies, which are the installation's and no team's."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ml_platform.services.policies.tables import PolicySetRow


class PolicyRepository:
    def __init__(self, session: Session) -> None:
        self._session = session

    def newest_version(self) -> int:
        """Its number; 0 when none was ever applied."""
        return self._session.scalar(select(func.max(PolicySetRow.version))) or 0

    def version(self, number: int) -> PolicySetRow | None:
        return self._session.get(PolicySetRow, number)

    def versions(self, *, before: int | None, limit: int) -> list[PolicySetRow]:
        """Newest first."""
        query = select(PolicySetRow).order_by(PolicySetRow.version.desc()).limit(limit)
        if before is not None:
            query = query.where(PolicySetRow.version < before)
        return list(self._session.scalars(query))

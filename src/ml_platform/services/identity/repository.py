"""Queries over users, teams, memberships and keys."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ml_platform.services.identity.tables import KeyRow, MembershipRow, TeamRow, UserRow


class IdentityRepository:
    """Identity spans the installation; whatever belongs to a team is asked for by its id."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def team(self, name_or_id: str) -> TeamRow | None:
        return self._session.scalars(
            select(TeamRow).where((TeamRow.name == name_or_id) | (TeamRow.id == name_or_id))
        ).first()

    def teams(self, *, only: Sequence[str] | None, after: str | None, limit: int) -> list[TeamRow]:
        query = select(TeamRow).order_by(TeamRow.id).limit(limit)
        if only is not None:
            query = query.where(TeamRow.id.in_(only))
        if after is not None:
            query = query.where(TeamRow.id > after)
        return list(self._session.scalars(query))

    def user(self, name_or_id: str) -> UserRow | None:
        return self._session.scalars(
            select(UserRow).where((UserRow.name == name_or_id) | (UserRow.id == name_or_id))
        ).first()

    def users(self, *, after: str | None, limit: int) -> list[UserRow]:
        query = select(UserRow).order_by(UserRow.id).limit(limit)
        if after is not None:
            query = query.where(UserRow.id > after)
        return list(self._session.scalars(query))

    def memberships(self, user_id: str) -> list[MembershipRow]:
        query = select(MembershipRow).where(MembershipRow.user_id == user_id).order_by(MembershipRow.id)
        return list(self._session.scalars(query))

    def teams_of(self, user_id: str) -> list[tuple[MembershipRow, TeamRow]]:
        query = (
            select(MembershipRow, TeamRow)
            .join(TeamRow, TeamRow.id == MembershipRow.team_id)
            .where(MembershipRow.user_id == user_id)
            .order_by(MembershipRow.id)
        )
        return [(membership, team) for membership, team in self._session.execute(query)]

    def membership(self, team_id: str, user_id: str) -> MembershipRow | None:
        return self._session.scalars(
            select(MembershipRow).where(MembershipRow.team_id == team_id, MembershipRow.user_id == user_id)
        ).first()

    def members(self, team_id: str) -> list[tuple[MembershipRow, UserRow]]:
        query = (
            select(MembershipRow, UserRow)
            .join(UserRow, UserRow.id == MembershipRow.user_id)
            .where(MembershipRow.team_id == team_id)
            .order_by(UserRow.name)
        )
        return [(membership, user) for membership, user in self._session.execute(query)]

    def key(self, team_id: str, key_id: str) -> KeyRow | None:
        return self._session.scalars(
            select(KeyRow).where(KeyRow.id == key_id, KeyRow.team_id == team_id)
        ).first()

    def key_and_owner(self, token_sha256: str) -> tuple[KeyRow, UserRow] | None:
        found = self._session.execute(
            select(KeyRow, UserRow)
            .join(UserRow, UserRow.id == KeyRow.user_id)
            .where(KeyRow.token_sha256 == token_sha256)
        ).first()
        return (found[0], found[1]) if found is not None else None

    def keys(
        self, team_id: str, *, user_id: str | None, after: str | None, limit: int
    ) -> list[tuple[KeyRow, UserRow]]:
        query = (
            select(KeyRow, UserRow)
            .join(UserRow, UserRow.id == KeyRow.user_id)
            .where(KeyRow.team_id == team_id, KeyRow.purpose == "api")
            .order_by(KeyRow.id)
            .limit(limit)
        )
        if user_id is not None:
            query = query.where(KeyRow.user_id == user_id)
        if after is not None:
            query = query.where(KeyRow.id > after)
        return [(key, user) for key, user in self._session.execute(query)]

    def revoke_keys_for(self, purpose: str, name: str, now: datetime) -> None:
        """Revokes the keys that the platform made for one purpose, e.g. those of a job that ended."""
        self._session.execute(
            update(KeyRow)
            .where(KeyRow.purpose == purpose, KeyRow.name == name, KeyRow.revoked_at.is_(None))
            .values(revoked_at=now)
        )

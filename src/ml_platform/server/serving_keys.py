"""The keys that inference servers accept: those of identity, hashed, with what policies permit them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.identity import Permission, Role
from ml_platform.contracts.serving import PREDICT, READ_FEATURES, READ_METRICS, ServingKey
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.services.access import Actor, Authorizer, Resource, Work
from ml_platform.services.governance.interfaces import Member
from ml_platform.services.identity.tables import KeyRow, MembershipRow, TeamRow, UserRow

_ASKED = {
    Permission.PREDICT: PREDICT,
    Permission.READ_METRICS: READ_METRICS,
    Permission.READ_DATA: READ_FEATURES,
}


class IdentityKeys:
    """Implements `KeyRing`. A key that may do nothing at an inference server is left out."""

    def __init__(self, authorizer: Authorizer, clock: Clock = utc_now) -> None:
        self._authorizer = authorizer
        self._clock = clock

    def serving_keys(self, session: Session) -> Sequence[ServingKey]:
        now = self._clock()
        roles = {
            (row.team_id, row.user_id): frozenset(Role(role) for role in row.roles)
            for row in session.scalars(select(MembershipRow))
        }
        query = (
            select(KeyRow, UserRow, TeamRow)
            .join(UserRow, UserRow.id == KeyRow.user_id)
            .join(TeamRow, TeamRow.id == KeyRow.team_id)
            .where(KeyRow.revoked_at.is_(None), UserRow.active)
            .order_by(KeyRow.id)
        )
        found = []
        decided: dict[tuple[str, bool, frozenset[Role]], tuple[str, ...]] = {}
        for key, user, team in session.execute(query):
            if key.expires_at is not None and key.expires_at <= now:
                continue
            admin, held = _rights(key, user, roles.get((key.team_id, user.id), frozenset()))
            asked = (key.team_id, admin, held)
            if asked not in decided:
                decided[asked] = self._permissions(*asked)
            if decided[asked]:
                found.append(
                    ServingKey(
                        key_id=key.id,
                        token_sha256=key.token_sha256,
                        team=None if admin else team.name,  # an administrator may name any team
                        permissions=decided[asked],
                        expires_at=key.expires_at,
                        requests_per_second=key.requests_per_second,
                        team_requests_per_second=None if admin else team.requests_per_second,
                    )
                )
        return found

    def _permissions(self, team_id: str, admin: bool, held: frozenset[Role]) -> tuple[str, ...]:
        actor = Actor("snapshot", "snapshot", admin=admin, team_id=team_id, memberships={team_id: held})
        team = Resource("team", team_id, team_id)
        return tuple(
            name
            for permission, name in _ASKED.items()
            if self._authorizer.decide(actor, permission, team).allowed
        )


def _rights(key: KeyRow, user: UserRow, held: frozenset[Role]) -> tuple[bool, frozenset[Role]]:
    """As the control plane's own authenticator sees the key."""
    if key.roles is None:
        return user.admin, held
    narrowed = frozenset(Role(role) for role in key.roles)
    return False, narrowed if user.admin or user.kind == "service" else held & narrowed


class MembershipRoles:
    """Implements governance's `RoleDirectory`."""

    def actor_of(self, work: Work, user_id: str, key_id: str | None = None) -> Actor | None:
        row = work.session.get(UserRow, user_id)
        if row is None or not row.active:
            return None
        held = self.roles_of(work, [user_id]).get(user_id, frozenset())
        admin = row.admin
        if key_id is not None:
            key = work.session.get(KeyRow, key_id)
            if key is None or key.user_id != user_id or key.revoked_at is not None:
                return None
            admin, held = _rights(key, row, held)
        return Actor(
            row.id,
            row.name,
            kind=row.kind,
            admin=admin,
            team_id=work.team_id,
            team_name=work.actor.team_name,
            memberships={work.team_id: held} if held else {},
        )

    def roles_of(self, work: Work, user_ids: Sequence[str]) -> dict[str, frozenset[Role]]:
        query = (
            select(MembershipRow)
            .join(UserRow, UserRow.id == MembershipRow.user_id)
            .where(
                MembershipRow.team_id == work.team_id,
                MembershipRow.user_id.in_(list(user_ids)),
                UserRow.active,
            )
        )
        return {
            row.user_id: frozenset(Role(role) for role in row.roles) for row in work.session.scalars(query)
        }

    def member(self, work: Work, name: str) -> Member | None:
        query = (
            select(UserRow)
            .join(MembershipRow, MembershipRow.user_id == UserRow.id)
            .where(MembershipRow.team_id == work.team_id, UserRow.name == name, UserRow.active)
        )
        user = work.session.scalars(query).first()
        return Member(user.id, user.name) if user is not None else None

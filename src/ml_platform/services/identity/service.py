"""What one can do with users, teams, roles, keys and sessions."""

import secrets
from datetime import datetime, timedelta
from typing import Any

from ml_platform.contracts.identity import (
    Key,
    KeyCreate,
    KeyCreated,
    Member,
    Permission,
    Role,
    SignInLink,
    Team,
    TeamCreate,
    TeamUpdate,
    User,
    UserCreate,
    WhoAmI,
)
from ml_platform.kit import tokens
from ml_platform.kit.errors import BadInputError, ConflictError, ForbiddenError, NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Resource, Work
from ml_platform.services.identity.repository import IdentityRepository
from ml_platform.services.identity.tables import KeyRow, MembershipRow, SignInCodeRow, TeamRow, UserRow

KEYS_CHANGED = "inference.changed"
_LIMITS = (
    "requests_per_second",
    "max_deployments",
    "max_replicas",
    "max_cpu",
    "max_memory_mb",
    "session_idle_minutes",
)
_LINK_LIFE = timedelta(minutes=10)


class IdentityService:
    """Identity in one unit of work. Times are UTC; tokens are returned once and stored hashed."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._repository = IdentityRepository(work.session)

    # -- teams

    def create_team(self, body: TeamCreate) -> Team:
        self._work.require(Permission.MANAGE_PLATFORM)
        if self._repository.team(body.name) is not None:
            raise ConflictError(f"team {body.name!r} exists already")
        row = TeamRow(
            id=new_id("team"),
            name=body.name,
            description=body.description,
            created_at=self._work.clock(),
            **{name: getattr(body, name) for name in _LIMITS},
        )
        self._work.session.add(row)
        self._work.record("team.create", "team", row.id, after=_limited(row), team_id=row.id)
        return _team(row)

    def update_team(self, team: str, body: TeamUpdate) -> Team:
        """Changes what the body names; a new limit reaches the inference servers within two seconds."""
        self._work.require(Permission.MANAGE_PLATFORM)
        row = self._own_team(team)
        before = _limited(row)
        for name in body.model_fields_set:
            setattr(row, name, getattr(body, name))
        self._work.record("team.update", "team", row.id, before=before, after=_limited(row), team_id=row.id)
        self._work.emit(KEYS_CHANGED, {"reason": "team"})
        return _team(row)

    def list_teams(self, after: str | None, limit: int) -> list[Team]:
        actor = self._work.actor
        only = None if actor.admin else sorted(actor.memberships)
        return [_team(row) for row in self._repository.teams(only=only, after=after, limit=limit)]

    def list_members(self, team: str) -> list[Member]:
        row = self._own_team(team)
        self._work.require(Permission.READ, Resource("team", row.id, row.id))
        return [
            Member(user_id=user.id, user_name=user.name, roles=[Role(r) for r in membership.roles])
            for membership, user in self._repository.members(row.id)
        ]

    def set_member(self, team: str, user: str, roles: list[Role]) -> Member:
        """Replaces the roles of a user in a team; none removes the user from it."""
        row, person = self._own_team(team), self._user(user)
        self._work.require(Permission.MANAGE_TEAM, Resource("team", row.id, row.id))
        membership = self._repository.membership(row.id, person.id)
        before = sorted(membership.roles) if membership else []
        after = sorted({role.value for role in roles})
        if person.id == self._work.actor.actor_id and not self._work.actor.admin and set(after) - set(before):
            raise ForbiddenError("nobody gives roles to themselves", hint="ask another team lead")
        if membership is not None and after:
            membership.roles = list(after)
        elif membership is not None:
            self._work.session.delete(membership)
        elif after:
            self._work.session.add(
                MembershipRow(id=new_id("mbr"), team_id=row.id, user_id=person.id, roles=list(after))
            )
        self._work.record(
            "team.member.set",
            "user",
            person.id,
            before={"roles": before},
            after={"roles": after},
            team_id=row.id,
        )
        self._work.emit(KEYS_CHANGED, {"reason": "roles"})
        return Member(user_id=person.id, user_name=person.name, roles=[Role(r) for r in after])

    # -- users

    def create_user(self, body: UserCreate, *, kind: str = "user") -> User:
        self._work.require(Permission.MANAGE_PLATFORM)
        if self._repository.user(body.name) is not None:
            raise ConflictError(f"user {body.name!r} exists already")
        row = UserRow(
            id=new_id("usr"),
            name=body.name,
            display_name=body.display_name,
            kind=kind,
            admin=body.admin,
            active=True,
            created_at=self._work.clock(),
        )
        self._work.session.add(row)
        self._work.record("user.create", "user", row.id, after={"name": row.name, "admin": row.admin})
        return _user(row)

    def list_users(self, after: str | None, limit: int) -> list[User]:
        return [_user(row) for row in self._repository.users(after=after, limit=limit)]

    def set_active(self, name: str, *, active: bool) -> User:
        self._work.require(Permission.MANAGE_PLATFORM)
        row = self._user(name)
        if not active and row.id == self._work.actor.actor_id:
            raise ConflictError("you cannot deactivate yourself")
        self._work.record(
            "user.activate" if active else "user.deactivate",
            "user",
            row.id,
            before={"active": row.active},
            after={"active": active},
        )
        row.active = active
        self._work.emit(KEYS_CHANGED, {"reason": "user"})
        return _user(row)

    def who_am_i(self) -> WhoAmI:
        actor = self._work.actor
        names = {row.id: row.name for row in self._repository.teams(only=None, after=None, limit=10_000)}
        return WhoAmI(
            user_id=actor.actor_id,
            name=actor.name,
            admin=actor.admin,
            team=actor.team_name,
            teams={names[team]: sorted(roles) for team, roles in actor.memberships.items()},
            permissions=[p for p in Permission if self._work.decide(p).allowed],
        )

    # -- keys

    def create_key(self, body: KeyCreate) -> KeyCreated:
        """A key for oneself, or, with `manage_team`, for another member of the team."""
        self._refuse_narrowed("makes no further keys")
        actor = self._work.actor
        owner = self._user(body.user) if body.user else self._user(actor.actor_id)
        if owner.id != actor.actor_id:
            self._work.require(Permission.MANAGE_TEAM)
            if owner.admin and not actor.admin:
                raise ForbiddenError("only an administrator makes keys for an administrator")
        expires = None
        if body.expires_in_days is not None:
            expires = self._work.clock() + timedelta(days=body.expires_in_days)
        roles = self._granted(owner, body.roles)
        return self.issue_key(
            owner,
            name=body.name,
            roles=roles,
            expires_at=expires,
            requests_per_second=body.requests_per_second,
        )

    def _granted(self, owner: UserRow, asked: list[Role] | None) -> list[Role] | None:
        held = self._repository.membership(self._work.team_id, owner.id)
        if held is None and not owner.admin:
            raise NotFoundError.of("user", owner.name)
        if asked is None or owner.admin:
            return asked
        missing = {role.value for role in asked} - set(held.roles if held else [])
        if missing:
            raise BadInputError.of("roles", f"{owner.name} does not hold {', '.join(sorted(missing))}")
        return asked

    def issue_key(
        self,
        owner: UserRow,
        *,
        name: str,
        roles: list[Role] | None,
        expires_at: datetime | None = None,
        purpose: str = "api",
        requests_per_second: float | None = None,
    ) -> KeyCreated:
        """Makes a key without asking who wants it; `create_key` asks."""
        key_id = new_id("key")
        token = tokens.new_token(key_id)
        row = KeyRow(
            id=key_id,
            name=name,
            user_id=owner.id,
            team_id=self._work.team_id,
            token_sha256=tokens.sha256_of(token),
            roles=[role.value for role in roles] if roles is not None else None,
            purpose=purpose,
            requests_per_second=requests_per_second,
            created_at=self._work.clock(),
            expires_at=expires_at,
            revoked_at=None,
        )
        self._work.session.add(row)
        self._work.record(
            "key.create",
            "key",
            key_id,
            after={
                "name": name,
                "user": owner.name,
                "roles": row.roles,
                "purpose": purpose,
                "requests_per_second": requests_per_second,
            },
        )
        self._work.emit(KEYS_CHANGED, {"reason": "key"})
        return KeyCreated(**_key(row, owner).model_dump(), token=token)

    def list_keys(self, after: str | None, limit: int) -> list[Key]:
        everyone = self._work.decide(Permission.MANAGE_TEAM).allowed
        user_id = None if everyone else self._work.actor.actor_id
        rows = self._repository.keys(self._work.team_id, user_id=user_id, after=after, limit=limit)
        return [_key(key, user) for key, user in rows]

    def revoke_key(self, key_id: str) -> Key:
        """Effective at once here, within two seconds at the inference servers; again is no error."""
        row = self._repository.key(self._work.team_id, key_id)
        if row is None:
            raise NotFoundError.of("key", key_id)
        if row.user_id != self._work.actor.actor_id:
            self._work.require(Permission.MANAGE_TEAM)
        owner = self._user(row.user_id)
        if row.revoked_at is None:
            row.revoked_at = self._work.clock()
            self._work.record("key.revoke", "key", row.id, after={"name": row.name, "user": owner.name})
            self._work.emit(KEYS_CHANGED, {"reason": "revoked"})
        return _key(row, owner)

    # -- browser sign-in

    def create_sign_in_link(self, base_url: str) -> SignInLink:
        """A link that opens one browser session for the caller; its code is spent by the first use."""
        self._refuse_narrowed("opens no browser session")
        code = secrets.token_urlsafe(32)
        expires = self._work.clock() + _LINK_LIFE
        self._work.session.add(
            SignInCodeRow(
                code_sha256=tokens.sha256_of(code),
                user_id=self._work.actor.actor_id,
                team_id=self._work.team_id,
                expires_at=expires,
                used_at=None,
            )
        )
        self._work.record("session.link", "user", self._work.actor.actor_id)
        return SignInLink(url=f"{base_url.rstrip('/')}/login#code={code}", expires_at=expires)

    # -- parts

    def _refuse_narrowed(self, what: str) -> None:
        """A key that was narrowed must not be a way to all that its owner may do."""
        if self._work.actor.narrowed:
            raise ForbiddenError(f"a key that is narrowed to some roles {what}", hint="use an own, full key")

    def _own_team(self, name: str) -> TeamRow:
        row = self._repository.team(name)
        if row is None or not (self._work.actor.admin or row.id in self._work.actor.memberships):
            raise NotFoundError.of("team", name)
        return row

    def _user(self, name: str) -> UserRow:
        row = self._repository.user(name)
        if row is None:
            raise NotFoundError.of("user", name)
        return row


def _team(row: TeamRow) -> Team:
    return Team(
        team_id=row.id,
        name=row.name,
        description=row.description,
        created_at=row.created_at,
        **{name: getattr(row, name) for name in _LIMITS},
    )


def _limited(row: TeamRow) -> dict[str, Any]:
    limits = {name: getattr(row, name) for name in _LIMITS}
    return {"name": row.name, "description": row.description} | limits


def _user(row: UserRow) -> User:
    return User(
        user_id=row.id,
        name=row.name,
        display_name=row.display_name,
        admin=row.admin,
        active=row.active,
        created_at=row.created_at,
    )


def _key(row: KeyRow, owner: UserRow) -> Key:
    return Key(
        key_id=row.id,
        name=row.name,
        user_name=owner.name,
        roles=[Role(role) for role in row.roles] if row.roles is not None else None,
        requests_per_second=row.requests_per_second,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )

"""Turns a bearer token or a session cookie into an actor."""

from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from ml_platform.contracts.identity import Role
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.errors import NotFoundError, UnauthenticatedError
from ml_platform.kit.tokens import sha256_of
from ml_platform.services.access import Actor
from ml_platform.services.identity.repository import IdentityRepository
from ml_platform.services.identity.tables import BrowserSessionRow, KeyRow, TeamRow, UserRow

SESSION_IDLE = timedelta(hours=8)
_TOUCH_EVERY = timedelta(minutes=1)
_HINT = "make a new key with `mlops keys create`, or sign in again with `mlops login`"


class TokenAuthenticator:
    """Asks the database on every request: a revoked key is refused at once."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def authenticate(self, token: str, *, team: str | None, source: str | None) -> Actor:
        with self._database.read() as session:
            known = IdentityRepository(session).key_and_owner(sha256_of(token))
            if known is None:
                raise UnauthenticatedError("this key is not known here", hint=_HINT)
            key, owner = known
            if key.revoked_at is not None:
                raise UnauthenticatedError("this key was revoked", hint=_HINT)
            if key.expires_at is not None and key.expires_at <= self._clock():
                raise UnauthenticatedError("this key has expired", hint=_HINT)
            return self._actor(
                session,
                user=owner,
                team=team or key.team_id,
                narrowed={Role(role) for role in key.roles} if key.roles is not None else None,
                key=key,
                source=source,
            )

    def authenticate_session(
        self, cookie: str, *, team: str | None, source: str | None, background: bool = False
    ) -> Actor:
        """The actor of a browser session; what a page asks by itself (`background`) does not keep one alive."""
        now = self._clock()
        with self._database.read() as session:
            row = session.get(BrowserSessionRow, sha256_of(cookie))
            if row is None or row.ended_at is not None or row.expires_at <= now:
                raise UnauthenticatedError("the session has ended", hint="open a new link: mlops login --web")
            actor = self._actor(
                session,
                user=session.get(UserRow, row.user_id),
                team=team or row.team_id,
                narrowed=None,
                key=None,
                source=source,
            )
            if row.last_seen_at + _idle(session, row.user_id, actor.team_id) <= now:
                raise UnauthenticatedError("the session timed out", hint="open a new link: mlops login --web")
        if not background and row.last_seen_at + _TOUCH_EVERY <= now:
            self._touch(row.token_sha256, now)
        return actor

    def _touch(self, token_sha256: str, now: datetime) -> None:
        with self._database.write() as session:
            session.execute(
                update(BrowserSessionRow)
                .where(BrowserSessionRow.token_sha256 == token_sha256)
                .values(last_seen_at=now)
            )

    def _actor(
        self,
        session: Session,
        *,
        user: UserRow | None,
        team: str,
        narrowed: set[Role] | None,
        key: KeyRow | None,
        source: str | None,
    ) -> Actor:
        repository = IdentityRepository(session)
        if user is None or not user.active:
            raise UnauthenticatedError("this user is not active", hint="ask an administrator")
        joined = repository.teams_of(user.id)
        memberships = {member.team_id: frozenset(Role(role) for role in member.roles) for member, _ in joined}
        admin = user.admin
        if narrowed is not None:  # a narrowed key never does more than its owner, nor outside its team
            admin = False
            own = memberships.get(key.team_id, frozenset()) if key else frozenset()
            granted = frozenset(narrowed) if user.admin or user.kind == "service" else own & narrowed
            memberships = {key.team_id: granted} if key else {}
        row = next((own for _, own in joined if team in (own.id, own.name)), None) or repository.team(team)
        if row is None or not (admin or row.id in memberships):
            raise NotFoundError(f"team {team!r} was not found", hint="list your teams: mlops teams list")
        return _actor_of(user, row, memberships, admin=admin, key=key, source=source)


def _actor_of(
    user: UserRow,
    team: TeamRow,
    memberships: dict[str, frozenset[Role]],
    *,
    admin: bool,
    key: KeyRow | None,
    source: str | None,
) -> Actor:
    return Actor(
        actor_id=user.id,
        name=user.name,
        kind="job" if key is not None and key.purpose == "job" else user.kind,
        admin=admin,
        team_id=team.id,
        team_name=team.name,
        memberships=memberships,
        key_id=key.id if key else None,
        narrowed=key is not None and key.roles is not None,
        source=source,
    )


def _idle(session: Session, user_id: str, team_id: str) -> timedelta:
    """How long a session may be unused: the shortest that any of its user's teams asks for.

    One session serves all teams of its user, so that the strictest team's rule holds in each of them; an
    administrator also meets that of the team that is asked for.
    """
    teams = [team for _, team in IdentityRepository(session).teams_of(user_id)]
    teams.append(session.get_one(TeamRow, team_id))
    asked = [team.session_idle_minutes for team in teams]
    minutes = [each for each in asked if each is not None]
    return min([SESSION_IDLE, *(timedelta(minutes=each) for each in minutes)])

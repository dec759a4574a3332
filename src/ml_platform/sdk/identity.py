"""Teams, users, keys, and who one is."""

import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ml_platform.contracts.audit import AuditArchive, AuditEvent, AuditKey, AuditVerification
from ml_platform.contracts.identity import (
    Key,
    KeyCreated,
    Member,
    Role,
    SignInLink,
    Team,
    User,
    WhoAmI,
)
from ml_platform.sdk.transport import Transport, at


class Identity:
    """`platform.identity`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def whoami(self) -> WhoAmI:
        """Whose key this is, in which team, and what it may do there."""
        return self._transport.get("/whoami", WhoAmI)

    def create_team(
        self, name: str, description: str | None = None, *, requests_per_second: float | None = None
    ) -> Team:
        body = {"name": name, "description": description, "requests_per_second": requests_per_second}
        return self._transport.post("/teams", Team, body)

    def limit_team(self, name: str, requests_per_second: float | None) -> Team:
        """Bounds the predictions a second of all of the team's keys together; None takes the limit away."""
        return self._transport.patch(at("teams", name), Team, {"requests_per_second": requests_per_second})

    def set_quota(self, name: str, **limits: float | None) -> Team:
        """Bounds what the team's deployments take together; needs an administrator.

        `limits` are `deployments`, `replicas`, `cpu` (cores) and `memory_mb`. What is left out stays; None is the
        installation's own limit again.
        """
        body = {f"max_{limit}": value for limit, value in limits.items()}
        return self._transport.patch(at("teams", name), Team, body)

    def set_session_idle(self, name: str, minutes: int | None) -> Team:
        """Ends browser sessions of the team's members that are unused for so long; None: 8 hours again."""
        return self._transport.patch(at("teams", name), Team, {"session_idle_minutes": minutes})

    def list_teams(self) -> list[Team]:
        return list(self._transport.pages("/teams", Team))

    def list_members(self, team: str) -> list[Member]:
        return list(self._transport.pages(at("teams", team, "members"), Member))

    def set_member(self, team: str, user: str, roles: Sequence[Role | str]) -> Member:
        """Replaces the user's roles in the team; none removes the user from it."""
        body = {"roles": [str(role) for role in roles]}
        return self._transport.put(at("teams", team, "members", user), Member, body)

    def create_user(self, name: str, *, display_name: str | None = None, admin: bool = False) -> User:
        body = {"name": name, "display_name": display_name, "admin": admin}
        return self._transport.post("/users", User, body)

    def list_users(self) -> list[User]:
        return list(self._transport.pages("/users", User))

    def set_user_active(self, name: str, *, active: bool) -> User:
        return self._transport.post(at("users", name, "activate" if active else "deactivate"), User)

    def create_key(
        self,
        name: str,
        *,
        user: str | None = None,
        roles: Sequence[Role | str] | None = None,
        expires_in_days: int | None = None,
        requests_per_second: float | None = None,
    ) -> KeyCreated:
        """A new key; its token is in this answer and nowhere else.

        `requests_per_second` bounds the predictions that may be asked for with it.
        """
        body = {
            "name": name,
            "user": user,
            "roles": [str(role) for role in roles] if roles is not None else None,
            "expires_in_days": expires_in_days,
            "requests_per_second": requests_per_second,
        }
        return self._transport.post("/keys", KeyCreated, body)

    def list_keys(self) -> list[Key]:
        return list(self._transport.pages("/keys", Key))

    def revoke_key(self, key_id: str) -> Key:
        return self._transport.delete(at("keys", key_id), Key)

    def create_sign_in_link(self) -> SignInLink:
        """A link that opens one browser session."""
        return self._transport.post("/sign-in-links", SignInLink)


class Audit:
    """`platform.audit`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def events(
        self,
        *,
        action: str | None = None,
        resource: str | None = None,
        actor: str | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[AuditEvent]:
        """Events, newest first; `action` may end in `*`, times have a time zone."""
        params = {"action": action, "resource": resource, "actor": actor, "kind": kind}
        for name, moment in (("since", since), ("until", until)):
            params[name] = moment.astimezone(UTC).isoformat() if moment is not None else None
        return self._transport.pages("/audit/events", AuditEvent, params, limit)

    def verify(self) -> AuditVerification:
        """Checks the whole log against its hashes and checkpoints."""
        return self._transport.get("/audit/verify", AuditVerification)

    def archive(self) -> AuditArchive:
        """How far the copy of the log in write-once storage has come, and what is wrong with it."""
        return self._transport.get("/audit/archive", AuditArchive)

    def verify_archive(
        self, where: str | Path, public_key: str | None = None, *, until: datetime | None = None
    ) -> AuditVerification:
        """Checks a copy in write-once storage by itself, then beside the platform's own log, event by event.

        Args:
            where: a directory, or `s3://bucket/prefix`.
            public_key: as for `sdk.auditarchive.verify_archive`, which does without the platform.
            until: the copy must speak for the log up to then.
        """
        from ml_platform.sdk import auditarchive

        told = self.archive()
        here = told.location is not None and auditarchive.same_place(told.location, where)
        return auditarchive.verify_archive(
            where, public_key, until=until, at_least=told.archived if here else 0, log=self._exported()
        )

    def _exported(self) -> Iterator[str]:
        """The platform's log as it is when the first line is asked for."""
        with (
            tempfile.TemporaryDirectory() as folder,
            self.export(Path(folder) / "log.jsonl").open(encoding="utf-8") as lines,
        ):
            yield from lines

    def key(self) -> str:
        """The installation's public key, which checks exports; keep it apart from them."""
        return self._transport.get("/audit/key", AuditKey).public_key

    def export(self, path: str | Path, *, first: int = 1) -> Path:
        """Writes the log up to now to a file that can be checked without the platform."""
        return self._transport.download("/audit/export", Path(path), {"first": first})

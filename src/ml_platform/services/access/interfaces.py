"""What access needs of others: who holds a token, whether a policy permits, where to record."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.orm import Session

from ml_platform.contracts.identity import Permission
from ml_platform.services.access.actor import Actor


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked for. Every resource belongs to a team; `attributes` feed the policies."""

    kind: str
    resource_id: str
    team_id: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    policies: tuple[str, ...]
    """The ids of the policies that made the decision; empty when none permits."""
    advice: tuple[str, ...] = ()
    """What the policies that forbid it have to say."""

    @property
    def reason(self) -> str:
        if not self.policies:
            return "no policy permits it"
        if self.allowed:
            return f"permitted by {', '.join(self.policies)}"
        said = f": {'; '.join(self.advice)}" if self.advice else ""
        return f"forbidden by {', '.join(self.policies)}{said}"

    def evidence(self) -> dict[str, Any]:
        """As it is kept with what was decided."""
        return {"allowed": self.allowed, "policies": list(self.policies)}


class Authenticator(Protocol):
    def authenticate(self, token: str, *, team: str | None, source: str | None) -> Actor:
        """The actor who holds this token, in `team` (a name; default: the token's own).

        Raises UnauthenticatedError, or NotFoundError for a team that is not the actor's.
        """

    def authenticate_session(
        self, cookie: str, *, team: str | None, source: str | None, background: bool = False
    ) -> Actor:
        """The actor of a browser session; what a page asks by itself (`background`) does not keep one alive."""


class Authorizer(Protocol):
    def decide(
        self, actor: Actor, permission: Permission, resource: Resource, operation: str | None = None
    ) -> Decision:
        """Deny unless a policy permits. `operation` is what is done with the permission, e.g. `promote`."""


class AuditRecorder(Protocol):
    def append(self, session: Session, events: list[dict[str, Any]]) -> None:
        """Adds events to the chain, in the transaction of `session`."""

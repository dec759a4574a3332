"""Cedar decides: readable policies, deny by default, and every decision names its policies."""

from collections.abc import Mapping, Sequence

import structlog

from ml_platform.contracts.cedar import SCHEMA, Question, Rules, check, platform_policies
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.policies import PolicyCheck, PolicySummary
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.services.access import Actor, Decision, Resource

_log = structlog.get_logger(__name__)
_UNREADABLE = "organisation-policies-unreadable"
_SYSTEM = "system"


class CedarAuthorizer:
    """Evaluates the platform's policies, and an organisation's own beside them.

    It begins without the organisation's; `use` puts a version of them into force, from one moment to the next.
    """

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._rules = Rules()
        self._version = 0
        self._closed: str | None = None

    @property
    def version(self) -> int:
        """The version of the organisation's policies that is in force; 0 for none."""
        return self._version

    @property
    def schema(self) -> str:
        """What policies can be about."""
        return SCHEMA

    def use(self, version: int, files: Mapping[str, str]) -> str | None:
        """Puts a version into force; why it cannot be, in which case the one before stays."""
        try:
            rules = Rules(files)
        except ValueError as error:
            _log.exception("policies.unreadable", version=version)
            return f"version {version} cannot be read: {error}"[:500]
        self._rules, self._version, self._closed = rules, version, None
        return None

    def close(self, why: str) -> None:
        """Refuses what policies of the organisation have a say in: there are some, and none can be read."""
        self._closed = why

    def check(self, files: Mapping[str, str], tests: Mapping[str, str]) -> PolicyCheck:
        """What a set is worth; nothing is changed."""
        return check(files, tests)

    def platform_policies(self) -> Sequence[PolicySummary]:
        """The platform's own."""
        return platform_policies()

    def decide(
        self, actor: Actor, permission: Permission, resource: Resource, operation: str | None = None
    ) -> Decision:
        """Asks the policies; an error in evaluating one is a denial."""
        question = Question(
            actor_id=actor.actor_id,
            name=actor.name,
            action=permission,
            kind=resource.kind,
            resource_id=resource.resource_id,
            team_id=resource.team_id,
            now=self._clock(),
            roles=actor.memberships.get(resource.team_id, frozenset()),
            actor_kind=actor.kind,
            admin=actor.admin,
            narrowed=actor.narrowed,
            trusted=actor.kind == _SYSTEM,
            team_name=actor.team_name if actor.team_id == resource.team_id else None,
            attributes=tuple(sorted((k, v) for k, v in resource.attributes.items() if v is not None)),
            **({"operation": operation} if operation else {}),
        )
        if self._closed is not None and question.governed:
            return Decision(False, (_UNREADABLE,), (self._closed,))
        ruling = self._rules.decide(question)
        return Decision(ruling.allowed, ruling.policies, ruling.advice)

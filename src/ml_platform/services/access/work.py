"""A unit of work: one actor, one transaction that holds the rows, their audit events, their outbox."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy.orm import Session

from ml_platform.contracts.identity import Permission, Role
from ml_platform.contracts.policies import ENTER
from ml_platform.kit import idempotency, outbox
from ml_platform.kit.clock import Clock, rfc3339, utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.errors import ForbiddenError
from ml_platform.kit.ids import new_id
from ml_platform.services.access.actor import Actor
from ml_platform.services.access.interfaces import AuditRecorder, Authorizer, Decision, Resource

_log = structlog.get_logger(__name__)
START_WORKFLOW = "workflow.start"
SEND_TO_WORKFLOW = "workflow.send"
_PEOPLE = tuple(role for role in Role if role not in (Role.INFERENCE_SERVER, Role.TRAINING_JOB))


class Work:
    """What a service gets by its constructor.

    The transaction opens at the first use of `session`, so that slow work (an upload, a download) is
    done before it and holds no lock. It commits when the block that opened the work ends.
    """

    def __init__(
        self,
        *,
        actor: Actor,
        database: Database,
        authorizer: Authorizer,
        recorder: AuditRecorder,
        relay: outbox.OutboxRelay | None,
        write: bool,
        clock: Clock = utc_now,
        request_id: str | None = None,
    ) -> None:
        self.actor = actor
        self.database = database
        self.clock = clock
        self.request_id = request_id or new_id("req")
        self.idempotency_id: str | None = None
        self._authorizer = authorizer
        self._recorder = recorder
        self._relay = relay
        self._write = write
        self._session: Session | None = None
        self._events: list[dict[str, Any]] = []
        self._decisions: list[Decision] = []
        self._enqueued = False

    @property
    def session(self) -> Session:
        """The transaction of this work."""
        if self._session is None:
            self._session = self.database.open_session(write=self._write)
        return self._session

    @property
    def idle(self) -> bool:
        """Whether there is nothing to commit, to roll back or to close."""
        return self._session is None and not self._events

    @property
    def team_id(self) -> str:
        return self.actor.team_id

    # -- authorisation

    def decide(
        self,
        permission: Permission,
        resource: Resource | None = None,
        operation: str | None = None,
        *,
        actor: Actor | None = None,
    ) -> Decision:
        """What the policies say, by default to the actor of this work about their current team."""
        target = resource or Resource("team", self.actor.team_id, self.actor.team_id)
        return self._authorizer.decide(actor or self.actor, permission, target, operation)

    def require(
        self, permission: Permission, resource: Resource | None = None, operation: str | None = None
    ) -> Decision:
        """Raises ForbiddenError with the reason unless a policy permits.

        A decision about an `operation` is named in every audit event of this work that follows.
        """
        decision = self.decide(permission, resource, operation)
        if decision.allowed and operation not in (None, ENTER):
            self._decisions.append(decision)
        if not decision.allowed:
            roles = ", ".join(sorted(self.actor.roles)) or "none"
            raise ForbiddenError(
                f"{self.actor.name} may not {permission.value} in team {self.actor.team_name!r}:"
                f" {decision.reason} (roles there: {roles})",
                hint=self._way_out(permission, resource, operation),
                extra={"permission": permission.value, "policies": list(decision.policies)},
            )
        return decision

    def _way_out(self, permission: Permission, resource: Resource | None, operation: str | None) -> str:
        """Who may do what was refused."""
        target = resource or Resource("team", self.actor.team_id, self.actor.team_id)

        def permits(*roles: Role, admin: bool = False) -> bool:
            held = {target.team_id: frozenset(roles)}
            somebody = replace(self.actor, admin=admin, narrowed=False, memberships=held)
            return self._authorizer.decide(somebody, permission, target, operation).allowed

        able = ", ".join(role.value for role in _PEOPLE if permits(role))
        if able:
            return (
                f"who may: {able}; `mlops teams members` shows who is that, and a team lead gives roles:"
                " mlops teams set-member"
            )
        if permits(admin=True):
            return "ask an administrator of the installation"
        return "no role helps; if a policy of the organisation forbids it: mlops policies list"

    # -- what the transaction carries besides its rows

    def record(
        self,
        action: str,
        kind: str,
        resource_id: str,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        team_id: str | None = None,
        **context: Any,
    ) -> None:
        """Adds an audit event, e.g. `record("experiment.create", "experiment", id, after={...})`.

        Never put a secret into `before`, `after` or the context: the audit log is kept for years.
        """
        if self._decisions:
            names = {name for decision in self._decisions for name in decision.policies}
            context = {**context, "policies": sorted(names)}
        self._events.append(
            {
                "event_id": new_id("evt"),
                "at": rfc3339(self.clock()),
                "actor_id": self.actor.actor_id,
                "actor_name": self.actor.name,
                "actor_kind": self.actor.kind,
                "key_id": self.actor.key_id,
                "source": self.actor.source,
                "request_id": self.request_id,
                "team_id": self.actor.team_id if team_id is None else team_id,
                "action": action,
                "resource_kind": kind,
                "resource_id": resource_id,
                "before": dict(before) if before is not None else None,
                "after": dict(after) if after is not None else None,
                "context": context,
            }
        )

    def emit(self, topic: str, payload: Mapping[str, Any]) -> str:
        """Adds an outbox entry: delivered after the commit, at least once."""
        self._enqueued = True
        return outbox.enqueue(self.session, topic, payload, now=self.clock())

    def start_workflow(self, name: str, workflow_id: str, **arguments: Any) -> None:
        """Starts a durable workflow if and when this transaction commits; once for each id."""
        self.emit(START_WORKFLOW, {"name": name, "workflow_id": workflow_id, "arguments": arguments})

    def send_to_workflow(self, workflow_id: str, topic: str, message: Mapping[str, Any]) -> None:
        """Sends a durable message to a waiting workflow if and when this transaction commits."""
        self.emit(SEND_TO_WORKFLOW, {"workflow_id": workflow_id, "topic": topic, "message": dict(message)})

    # -- the end of it

    def commit(self) -> None:
        """Appends the audit events last (the chain's lock is held as briefly as can be) and commits."""
        if self._session is None and not self._events:
            return
        session = self.session
        session.flush()
        if self.idempotency_id is not None:
            idempotency.mark_committed(session, self.idempotency_id)
            self.idempotency_id = None
        if self._events:
            self._recorder.append(session, self._events)
        session.commit()
        for event in self._events:
            _log.info(event["action"], resource=event["resource_id"], actor=event["actor_name"])
        self._events = []
        if self._enqueued and self._relay is not None:
            self._relay.nudge()
        self._enqueued = False

    def rollback(self) -> None:
        self._events = []
        self._enqueued = False
        if self._session is not None:
            self._session.rollback()

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class WorkFactory:
    """Opens units of work outside a request: in workflows, the relay and the supervisor's tasks."""

    def __init__(
        self,
        database: Database,
        authorizer: Authorizer,
        recorder: AuditRecorder,
        relay: outbox.OutboxRelay | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self.database = database
        self._authorizer = authorizer
        self._recorder = recorder
        self._relay = relay
        self._clock = clock

    def create(self, actor: Actor, *, write: bool, request_id: str | None = None) -> Work:
        return Work(
            actor=actor,
            database=self.database,
            authorizer=self._authorizer,
            recorder=self._recorder,
            relay=self._relay,
            write=write,
            clock=self._clock,
            request_id=request_id,
        )

    @contextmanager
    def begin(self, actor: Actor, *, write: bool = True, request_id: str | None = None) -> Iterator[Work]:
        """A work that commits at the end of the block and rolls back when it raises."""
        work = self.create(actor, write=write, request_id=request_id)
        try:
            yield work
            work.commit()
        except BaseException:
            work.rollback()
            raise
        finally:
            work.close()

"""Reading the audit log."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select

from ml_platform.contracts.audit import AuditEvent
from ml_platform.services.access import Work
from ml_platform.services.audit.tables import AuditEventRow, AuditKeptRow


class AuditService:
    """An auditor reads the log of the team; an administrator that of the installation."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def list_events(
        self,
        *,
        action: str | None,
        resource: str | None,
        actor: str | None,
        kind: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: int | None,
        limit: int,
    ) -> list[AuditEvent]:
        """Newest first; `action` may end in `*`."""
        query = select(AuditEventRow).order_by(AuditEventRow.sequence.desc()).limit(limit)
        if not self._work.actor.admin:
            query = query.where(AuditEventRow.team_id == self._work.team_id)
        if before is not None:
            query = query.where(AuditEventRow.sequence < before)
        if action is not None and action.endswith("*"):
            query = query.where(AuditEventRow.action.startswith(action[:-1], autoescape=True))
        elif action is not None:
            query = query.where(AuditEventRow.action == action)
        if resource is not None:
            query = query.where(AuditEventRow.resource_id == resource)
        if actor is not None:
            query = query.where(AuditEventRow.actor_name == actor)
        if kind is not None:
            query = query.where(AuditEventRow.resource_kind == kind)
        if since is not None:
            query = query.where(AuditEventRow.at >= since)
        if until is not None:
            query = query.where(AuditEventRow.at < until)
        return [AuditEvent.model_validate(row) for row in self._work.session.scalars(query)]

    def last_event(self, resource_id: str, actions: Collection[str], at: datetime) -> AuditEvent | None:
        """The last of these actions on a resource of the team until then; None when there was none.

        Events that were removed after their retention count as long as their actions are kept (`AuditPruner`).
        """
        tables: tuple[type[AuditEventRow | AuditKeptRow], ...] = (AuditEventRow, AuditKeptRow)
        for table in tables:  # what was kept is older than all that is there
            query = (
                select(table)
                .where(
                    table.team_id == self._work.team_id,
                    table.resource_id == resource_id,
                    table.action.in_(sorted(actions)),
                    table.at <= at,
                )
                .order_by(table.sequence.desc())
                .limit(1)
            )
            row = self._work.session.scalars(query).first()
            if row is not None:
                return AuditEvent.model_validate(row)
        return None

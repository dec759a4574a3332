"""What one can do with alerts: raise them, see them, acknowledge and resolve them."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite

from ml_platform.contracts.monitoring import Alert, AlertSeverity, AlertStatus
from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.kit.strictjson import finite
from ml_platform.services.access import Work
from ml_platform.services.alerts.repository import AlertRepository
from ml_platform.services.alerts.tables import AlertRow

NOTIFY = "alerts.notify"
_MAX_DETAIL = 4_000
_ORDER = (AlertSeverity.INFO, AlertSeverity.WARNING, AlertSeverity.CRITICAL)


@dataclass(frozen=True, slots=True)
class NewAlert:
    """A trouble that was found. `key` names it: the same trouble again has the same key."""

    key: str
    severity: AlertSeverity
    title: str
    detail: str
    resource_kind: str
    resource_id: str
    context: dict[str, Any] = field(default_factory=dict)


class AlertService:
    """Alerts of the team of `work`."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._repository = AlertRepository(work.session, work.team_id)

    # -- for the platform

    def raise_alert(self, new: NewAlert) -> Alert:
        """Opens an alert and has people told; of a trouble that is known it counts one more occurrence.

        People are told again only when it became worse.
        """
        if self._insert(new):
            row = self._known(new)
            self._work.record(
                "alert.open",
                "alert",
                row.id,
                after={"severity": row.severity, "title": row.title},
                resource=row.resource_id,
            )
            self._notify(row)
            return alert_of(row)
        row = self._known(new)
        row.occurrences += 1
        row.last_seen_at, row.detail = self._work.clock(), new.detail[:_MAX_DETAIL]
        row.title, row.context = new.title, finite(new.context)
        if _ORDER.index(new.severity) > _ORDER.index(AlertSeverity(row.severity)):
            self._work.record(
                "alert.escalate",
                "alert",
                row.id,
                before={"severity": row.severity},
                after={"severity": new.severity.value},
                resource=row.resource_id,
            )
            row.severity = new.severity.value
            self._notify(row)
        return alert_of(row)

    def is_open(self, key: str, severity: AlertSeverity) -> bool:
        """Whether a trouble is known already, at least as grave as this."""
        row = self._repository.unresolved(key)
        return row is not None and _ORDER.index(AlertSeverity(row.severity)) >= _ORDER.index(severity)

    def clear(self, key: str, note: str) -> bool:
        """Resolves the alert of a trouble that is over; whether there was one."""
        row = self._repository.unresolved(key)
        if row is None:
            return False
        self._resolve(row, note)
        return True

    # -- for people

    def list_alerts(
        self,
        *,
        status: AlertStatus | None,
        severity: AlertSeverity | None,
        resource: str | None,
        before: str | None,
        limit: int,
    ) -> list[Alert]:
        """Newest first."""
        rows = self._repository.alerts(
            status=status.value if status else None,
            severity=severity.value if severity else None,
            resource=resource,
            before=before,
            limit=limit,
        )
        return [alert_of(row) for row in rows]

    def get(self, alert_id: str) -> Alert:
        return alert_of(self._row(alert_id))

    def acknowledge(self, alert_id: str, note: str | None) -> Alert:
        """Says that somebody looks after it; again changes nothing."""
        row = self._row(alert_id, lock=True)
        if row.status == AlertStatus.RESOLVED:
            raise ConflictError(f"alert {alert_id} is resolved already, by {row.resolved_by}")
        if row.status == AlertStatus.OPEN:
            row.status = AlertStatus.ACKNOWLEDGED.value
            row.acknowledged_by, row.acknowledged_at = self._work.actor.name, self._work.clock()
            row.note = note or row.note
            self._work.record(
                "alert.acknowledge", "alert", row.id, before={"status": "open"}, after={"note": note}
            )
        return alert_of(row)

    def resolve(self, alert_id: str, note: str | None) -> Alert:
        """Ends it; again changes nothing. If the trouble is found again it is a new alert."""
        row = self._row(alert_id, lock=True)
        if row.status != AlertStatus.RESOLVED:
            self._resolve(row, note)
        return alert_of(row)

    # -- parts

    def _insert(self, new: NewAlert) -> bool:
        """Adds the alert unless its trouble has one, whoever else is about to do the same."""
        session, now = self._work.session, self._work.clock()
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        statement = insert(AlertRow).values(
            id=new_id("alr"),
            team_id=self._work.team_id,
            team_name=self._work.actor.team_name,
            dedup_key=new.key,
            severity=new.severity.value,
            status=AlertStatus.OPEN.value,
            title=new.title,
            detail=new.detail[:_MAX_DETAIL],
            resource_kind=new.resource_kind,
            resource_id=new.resource_id,
            context=finite(new.context),
            occurrences=1,
            created_at=now,
            last_seen_at=now,
        )
        added = session.execute(statement.on_conflict_do_nothing().returning(AlertRow.id)).scalar()
        return added is not None

    def _known(self, new: NewAlert) -> AlertRow:
        row = self._repository.unresolved(new.key)
        if row is None:
            raise ConflictError("the alert was resolved at this very moment", hint="try again")
        return row

    def _notify(self, row: AlertRow) -> None:
        row.notification = None
        self._work.start_workflow(
            NOTIFY, new_id("ntf"), alert_id=row.id, team_id=row.team_id, team_name=row.team_name
        )

    def _resolve(self, row: AlertRow, note: str | None) -> None:
        before = row.status
        row.status = AlertStatus.RESOLVED.value
        row.resolved_by, row.resolved_at = self._work.actor.name, self._work.clock()
        row.note = note or row.note
        self._work.record("alert.resolve", "alert", row.id, before={"status": before}, after={"note": note})

    def _row(self, alert_id: str, *, lock: bool = False) -> AlertRow:
        row = self._repository.alert(alert_id, lock=lock)
        if row is None:
            raise NotFoundError.of("alert", alert_id)
        return row


def alert_of(row: AlertRow) -> Alert:
    return Alert(
        alert_id=row.id,
        severity=AlertSeverity(row.severity),
        status=AlertStatus(row.status),
        title=row.title,
        detail=row.detail,
        resource_kind=row.resource_kind,
        resource_id=row.resource_id,
        team=row.team_name,
        occurrences=row.occurrences,
        context=row.context,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
        acknowledged_by=row.acknowledged_by,
        acknowledged_at=row.acknowledged_at,
        resolved_by=row.resolved_by,
        resolved_at=row.resolved_at,
        note=row.note,
        notification=row.notification,
    )

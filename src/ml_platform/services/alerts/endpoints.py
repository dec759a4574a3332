"""Routes of alerts."""

from typing import Annotated

from fastapi import Path as PathParam
from fastapi import Query

from ml_platform.contracts.base import Page
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.monitoring import Alert, AlertNote, AlertSeverity, AlertStatus
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, text_cursor
from ml_platform.services.access import ApiRouter, Work, requires
from ml_platform.services.alerts.service import AlertService

router = ApiRouter(prefix="/alerts", tags=["alerts"])

AlertId = Annotated[str, PathParam(max_length=64, pattern=r"^[A-Za-z0-9_]+$")]


@router.get("")
def list_alerts(
    work: Annotated[Work, requires(Permission.READ)],
    status: Annotated[AlertStatus | None, Query()] = None,
    severity: Annotated[AlertSeverity | None, Query()] = None,
    resource: Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9_]+$")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Alert]:
    """Newest first. `resource` is an id, e.g. that of a deployment."""
    rows = AlertService(work).list_alerts(
        status=status,
        severity=severity,
        resource=resource,
        before=text_cursor(cursor) if cursor else None,
        limit=limit + 1,
    )
    items, following = cut(rows, limit, lambda alert: alert.alert_id)
    return Page(items=items, next_cursor=following)


@router.get("/{alert_id}")
def get_alert(alert_id: AlertId, work: Annotated[Work, requires(Permission.READ)]) -> Alert:
    return AlertService(work).get(alert_id)


@router.post("/{alert_id}/acknowledge")
def acknowledge_alert(
    alert_id: AlertId,
    work: Annotated[Work, requires(Permission.DEPLOY_STAGING)],
    body: AlertNote | None = None,
) -> Alert:
    """Says that somebody looks after it."""
    return AlertService(work).acknowledge(alert_id, body.note if body else None)


@router.post("/{alert_id}/resolve")
def resolve_alert(
    alert_id: AlertId,
    work: Annotated[Work, requires(Permission.DEPLOY_STAGING)],
    body: AlertNote | None = None,
) -> Alert:
    """Ends it. If the trouble is found again it becomes a new alert."""
    return AlertService(work).resolve(alert_id, body.note if body else None)

"""Routes of the audit log."""

from typing import Annotated

from fastapi import Query

from ml_platform.contracts.audit import AuditEvent, AuditVerification
from ml_platform.contracts.base import Page
from ml_platform.contracts.identity import Permission
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, number_cursor
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.audit.service import AuditService
from ml_platform.services.audit.verify import AuditVerifier

router = ApiRouter(prefix="/audit", tags=["audit"])

Filter = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.get("/events")
def list_events(
    work: Annotated[Work, requires(Permission.READ_AUDIT)],
    action: Filter = None,
    resource: Filter = None,
    actor: Filter = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AuditEvent]:
    """Newest first. `action` may end in `*`, e.g. `deployment.*`."""
    rows = AuditService(work).list_events(
        action=action,
        resource=resource,
        actor=actor,
        before=number_cursor(cursor) if cursor else None,
        limit=limit + 1,
    )
    items, following = cut(rows, limit, lambda event: event.sequence)
    return Page(items=items, next_cursor=following)


@router.get("/verify")
def verify(
    work: Annotated[Work, requires(Permission.READ_AUDIT)],  # noqa: ARG001 - it authorises
    verifier: Annotated[AuditVerifier, provided(AuditVerifier)],
) -> AuditVerification:
    """Checks the whole chain against its hashes, its head and the checkpoints outside the database."""
    return verifier.verify()

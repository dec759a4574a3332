"""Routes of the audit log."""

from typing import Annotated

from fastapi import Query
from fastapi.responses import StreamingResponse

from ml_platform.contracts.audit import AuditArchive, AuditEvent, AuditKey, AuditVerification
from ml_platform.contracts.base import Moment, Page
from ml_platform.contracts.identity import Permission
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, number_cursor
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.audit.archive import ArchiveDesk
from ml_platform.services.audit.export import AuditExporter
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
    kind: Annotated[Filter, Query(description="Of the resource, such as `deployment`")] = None,
    since: Annotated[Moment | None, Query(description="With its time zone; this moment included")] = None,
    until: Annotated[Moment | None, Query(description="With its time zone; this moment not included")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AuditEvent]:
    """Newest first. `action` may end in `*`, e.g. `deployment.*`."""
    rows = AuditService(work).list_events(
        action=action,
        resource=resource,
        actor=actor,
        kind=kind,
        since=since,
        until=until,
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


@router.get("/archive")
def get_archive(
    work: Annotated[Work, requires(Permission.READ_AUDIT)],  # noqa: ARG001 - it authorises
    desk: Annotated[ArchiveDesk, provided(ArchiveDesk)],
) -> AuditArchive:
    """How far the copy of the log in write-once storage has come, and what is wrong with it."""
    return desk.status()


@router.get("/key")
def get_key(
    work: Annotated[Work, requires(Permission.READ_AUDIT)],  # noqa: ARG001 - it authorises
    exporter: Annotated[AuditExporter, provided(AuditExporter)],
) -> AuditKey:
    """The public key that checks exports. Keep it apart from them: whoever has it need not trust us."""
    return AuditKey(public_key=exporter.public_key)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-ndjson": {}}, "description": "JSON Lines, signed at its end"}
    },
)
def export(
    work: Annotated[Work, requires(Permission.READ_AUDIT)],
    exporter: Annotated[AuditExporter, provided(AuditExporter)],
    first: Annotated[int, Query(ge=1, le=2**62, description="Number of the first event")] = 1,
) -> StreamingResponse:
    """The log up to now, which `mlops audit verify --file` checks without us.

    An auditor of a team gets the team's events, and of all others their digests, so that the chain holds.
    """
    team_id = None if work.actor.admin else work.team_id
    work.close()  # the stream reads in a transaction of its own
    return StreamingResponse(exporter.lines(team_id=team_id, first=first), media_type="application/x-ndjson")

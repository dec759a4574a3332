"""Health and metrics of the control plane's process."""

from typing import Annotated

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from ml_platform.contracts.identity import Permission
from ml_platform.kit.db import Database
from ml_platform.server.metrics import ApiMetrics
from ml_platform.services.access import ComponentsOf, Router, Work, requires

router = Router(tags=["health"])


class Health(BaseModel):
    status: str
    version: str


@router.get("/health/live")
async def live(request: Request) -> Health:
    """The process answers, however many requests wait for a thread."""
    return Health(status="ok", version=request.app.version)


@router.get("/health/ready")
def ready(request: Request, components: ComponentsOf) -> Health:
    """The process can do its work: its database answers."""
    components.get(Database).ping()
    return Health(status="ok", version=request.app.version)


@router.get("/metrics", include_in_schema=False)
def metrics(
    work: Annotated[Work, requires(Permission.READ_METRICS)],  # noqa: ARG001 - it authorises
    components: ComponentsOf,
) -> Response:
    """Prometheus text; a scraper uses a key of its own."""
    return Response(generate_latest(components.get(ApiMetrics).registry), media_type=CONTENT_TYPE_LATEST)

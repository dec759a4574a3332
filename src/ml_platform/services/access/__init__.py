"""Who asks, whether they may, and the unit of work in which they do it."""

from ml_platform.services.access.actor import Actor
from ml_platform.services.access.dependencies import ComponentsOf, authenticate, provided, requires
from ml_platform.services.access.interfaces import (
    AuditRecorder,
    Authenticator,
    Authorizer,
    Decision,
    Resource,
)
from ml_platform.services.access.routing import API, ApiRouter, Router
from ml_platform.services.access.work import Work, WorkFactory

__all__ = [
    "API",
    "Actor",
    "ApiRouter",
    "AuditRecorder",
    "Authenticator",
    "Authorizer",
    "ComponentsOf",
    "Decision",
    "Resource",
    "Router",
    "Work",
    "WorkFactory",
    "authenticate",
    "provided",
    "requires",
]

"""Users, teams, roles, API keys and browser sign-in."""

from ml_platform.services.identity.endpoints import router
from ml_platform.services.identity.service import IdentityService
from ml_platform.services.identity.sessions import router as session_router
from ml_platform.services.identity.tokens import TokenAuthenticator

__all__ = ["IdentityService", "TokenAuthenticator", "router", "session_router"]

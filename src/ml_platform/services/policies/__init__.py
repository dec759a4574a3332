"""An organisation's own policies: versioned, tested before they apply, in force within moments."""

from ml_platform.services.policies.endpoints import router
from ml_platform.services.policies.interfaces import PolicyEngine
from ml_platform.services.policies.service import CHANGED, PolicyService
from ml_platform.services.policies.sync import PolicySync
from ml_platform.services.policies.tables import PolicySetRow

__all__ = ["CHANGED", "PolicyEngine", "PolicyService", "PolicySetRow", "PolicySync", "router"]

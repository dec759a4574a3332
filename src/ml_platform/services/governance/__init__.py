"""Risk of models, and approvals bound to what was approved."""

from ml_platform.services.governance.approvals import DECIDED, ApprovalService, Subject
from ml_platform.services.governance.cards import missing_sections
from ml_platform.services.governance.endpoints import router
from ml_platform.services.governance.facts import PERMITTED_BY, policy_facts
from ml_platform.services.governance.interfaces import (
    ModelDirectory,
    ProductionUse,
    Revalidator,
    RoleDirectory,
)
from ml_platform.services.governance.model_endpoints import router as models_router
from ml_platform.services.governance.policies import REMINDERS, RULES, level_of, subject_digest
from ml_platform.services.governance.repository import GovernanceRepository
from ml_platform.services.governance.review_watch import ReviewWatch
from ml_platform.services.governance.risks import RiskService, risk_facts
from ml_platform.services.governance.tables import ApprovalRow, ModelRiskRow

__all__ = [
    "DECIDED",
    "PERMITTED_BY",
    "REMINDERS",
    "RULES",
    "ApprovalRow",
    "ApprovalService",
    "GovernanceRepository",
    "ModelDirectory",
    "ModelRiskRow",
    "ProductionUse",
    "Revalidator",
    "ReviewWatch",
    "RiskService",
    "RoleDirectory",
    "Subject",
    "level_of",
    "missing_sections",
    "models_router",
    "policy_facts",
    "risk_facts",
    "router",
    "subject_digest",
]

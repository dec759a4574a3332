"""Risk of models, and approvals bound to what was approved."""

from ml_platform.services.governance.approvals import DECIDED, ApprovalService, Subject
from ml_platform.services.governance.endpoints import router
from ml_platform.services.governance.interfaces import ModelDirectory, RoleDirectory
from ml_platform.services.governance.policies import REMINDERS, RULES, level_of, subject_digest
from ml_platform.services.governance.repository import GovernanceRepository
from ml_platform.services.governance.risks import RiskService, risk_facts
from ml_platform.services.governance.tables import ApprovalRow, ModelRiskRow

__all__ = [
    "DECIDED",
    "REMINDERS",
    "RULES",
    "ApprovalRow",
    "ApprovalService",
    "GovernanceRepository",
    "ModelDirectory",
    "ModelRiskRow",
    "RiskService",
    "RoleDirectory",
    "Subject",
    "level_of",
    "risk_facts",
    "router",
    "subject_digest",
]

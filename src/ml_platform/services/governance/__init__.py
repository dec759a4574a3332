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
    TrainingColumn,
    TrainingData,
    TrainingFacts,
)
from ml_platform.services.governance.model_endpoints import router as models_router
from ml_platform.services.governance.personal_data import (
    DECLARED,
    InputRule,
    PersonalDataCheck,
    PersonalDataRules,
    PersonalInput,
    TrainedOn,
    evidence_of,
    risk_of_version,
    trained_on,
)
from ml_platform.services.governance.policies import REMINDERS, RULES, level_of, subject_digest
from ml_platform.services.governance.repository import GovernanceRepository
from ml_platform.services.governance.review_watch import ReviewWatch
from ml_platform.services.governance.risks import RiskService, risk_facts
from ml_platform.services.governance.tables import ApprovalRow, ModelRiskRow

__all__ = [
    "DECIDED",
    "DECLARED",
    "PERMITTED_BY",
    "REMINDERS",
    "RULES",
    "ApprovalRow",
    "ApprovalService",
    "GovernanceRepository",
    "InputRule",
    "ModelDirectory",
    "ModelRiskRow",
    "PersonalDataCheck",
    "PersonalDataRules",
    "PersonalInput",
    "ProductionUse",
    "Revalidator",
    "ReviewWatch",
    "RiskService",
    "RoleDirectory",
    "Subject",
    "TrainedOn",
    "TrainingColumn",
    "TrainingData",
    "TrainingFacts",
    "evidence_of",
    "level_of",
    "missing_sections",
    "models_router",
    "policy_facts",
    "risk_facts",
    "risk_of_version",
    "router",
    "subject_digest",
    "trained_on",
]

"""The audit log: written in the transaction of the change, hash-chained, verifiable."""

from ml_platform.services.audit.chain import AuditChain
from ml_platform.services.audit.checkpoints import CheckpointFile
from ml_platform.services.audit.endpoints import router
from ml_platform.services.audit.export import AuditExporter
from ml_platform.services.audit.service import AuditService
from ml_platform.services.audit.verify import AuditVerifier

__all__ = ["AuditChain", "AuditExporter", "AuditService", "AuditVerifier", "CheckpointFile", "router"]

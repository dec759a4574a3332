"""The audit log: written in the transaction of the change, hash-chained, verifiable, copied to write-once storage."""

from ml_platform.services.audit.archive import ArchiveDesk, AuditArchiver
from ml_platform.services.audit.chain import AuditChain
from ml_platform.services.audit.checkpoints import CheckpointFile
from ml_platform.services.audit.endpoints import router
from ml_platform.services.audit.export import AuditExporter
from ml_platform.services.audit.interfaces import WriteOnceStore
from ml_platform.services.audit.pruning import AuditPruner
from ml_platform.services.audit.service import AuditService
from ml_platform.services.audit.verify import AuditVerifier

__all__ = [
    "ArchiveDesk",
    "AuditArchiver",
    "AuditChain",
    "AuditExporter",
    "AuditPruner",
    "AuditService",
    "AuditVerifier",
    "CheckpointFile",
    "WriteOnceStore",
    "router",
]

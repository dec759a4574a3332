"""Write-once storage for the audit log: a directory, or a bucket with Object Lock."""

from ml_platform.integrations.writeonce.bucket import LockedBucket
from ml_platform.integrations.writeonce.directory import ArchiveDirectory

__all__ = ["ArchiveDirectory", "LockedBucket"]

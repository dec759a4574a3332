"""Object storage and the prediction log in S3."""

from ml_platform.integrations.s3.storage import S3Storage

__all__ = ["S3Storage"]

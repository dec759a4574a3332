"""The Python SDK: `from ml_platform import Platform`."""

from ml_platform.sdk.errors import PlatformError
from ml_platform.sdk.platform import Platform

__all__ = ["Platform", "PlatformError"]

"""Datasets as versions of tables, each with a validated schema and a profile."""

from ml_platform.services.datasets.endpoints import router
from ml_platform.services.datasets.interfaces import DatasetStore, Ingested
from ml_platform.services.datasets.service import DatasetService

__all__ = ["DatasetService", "DatasetStore", "Ingested", "router"]

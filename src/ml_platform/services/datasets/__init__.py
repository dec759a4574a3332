"""Datasets as versions of tables, each with a validated schema, a profile and what it holds of personal data."""

from ml_platform.services.datasets.endpoints import router
from ml_platform.services.datasets.interfaces import (
    ColumnSample,
    DatasetStore,
    Examination,
    FoundPersonalData,
    Ingested,
    PersonalDataFinder,
)
from ml_platform.services.datasets.personal_data import columns_of, findings_of, kinds_of
from ml_platform.services.datasets.service import DatasetService

__all__ = [
    "ColumnSample",
    "DatasetService",
    "DatasetStore",
    "Examination",
    "FoundPersonalData",
    "Ingested",
    "PersonalDataFinder",
    "columns_of",
    "findings_of",
    "kinds_of",
    "router",
]

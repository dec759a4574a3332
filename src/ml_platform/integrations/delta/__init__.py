"""Datasets: uploads inspected, schemas inferred and enforced, versions kept as Delta tables."""

from ml_platform.integrations.delta.errors import (
    DatasetNameError,
    SchemaDocumentError,
    UnknownColumnsError,
    UnreadableUploadError,
    VersionConflictError,
)
from ml_platform.integrations.delta.schema import ColumnSchema, TableSchema, Violation
from ml_platform.integrations.delta.store import DeltaDatasetStore, VersionInfo
from ml_platform.integrations.delta.uploads import Inspection, UploadLimits, UploadProblem

__all__ = [
    "ColumnSchema",
    "DatasetNameError",
    "DeltaDatasetStore",
    "Inspection",
    "SchemaDocumentError",
    "TableSchema",
    "UnknownColumnsError",
    "UnreadableUploadError",
    "UploadLimits",
    "UploadProblem",
    "VersionConflictError",
    "VersionInfo",
    "Violation",
]

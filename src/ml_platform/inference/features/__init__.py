"""Online features for predictions, read from Feast's own store without Feast."""

from ml_platform.inference.features.errors import (
    FeatureKeyError,
    FeatureNotFound,
    FeatureStoreUnavailable,
)
from ml_platform.inference.features.opening import open_online_features
from ml_platform.inference.features.reader import FeastSqliteReader, FeatureVectors, Status

__all__ = [
    "FeastSqliteReader",
    "FeatureKeyError",
    "FeatureNotFound",
    "FeatureStoreUnavailable",
    "FeatureVectors",
    "Status",
    "open_online_features",
]

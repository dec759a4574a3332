"""Online features for predictions, read from Feast's own stores without Feast."""

from ml_platform.inference.features.errors import (
    FeatureKeyError,
    FeatureNotFound,
    FeatureStoreUnavailable,
)
from ml_platform.inference.features.opening import open_online_features, open_reader
from ml_platform.inference.features.reader import (
    FeastReader,
    FeastRedisReader,
    FeastSqliteReader,
    FeatureVectors,
    Status,
)

__all__ = [
    "FeastReader",
    "FeastRedisReader",
    "FeastSqliteReader",
    "FeatureKeyError",
    "FeatureNotFound",
    "FeatureStoreUnavailable",
    "FeatureVectors",
    "Status",
    "open_online_features",
    "open_reader",
]

"""Feature engineering, and the feature definitions for the feature store."""

from churn_mlops.features.engineer import (
    DERIVED_FEATURES,
    FeatureEngineer,
    build_transformer,
    derive,
    raw_columns,
)
from churn_mlops.features.plain import load_feature_definitions

__all__ = [
    "DERIVED_FEATURES",
    "FeatureEngineer",
    "build_transformer",
    "derive",
    "load_feature_definitions",
    "raw_columns",
]

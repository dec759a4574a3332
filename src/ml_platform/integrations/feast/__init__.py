"""The feature store: Feast's definitions and layout, with joins and writes that one machine can bear."""

from ml_platform.integrations.feast.errors import FeatureDefinitionError, FeatureSourceError
from ml_platform.integrations.feast.repository import FeastRepository
from ml_platform.integrations.feast.specs import EntitySpec, FeatureViewSpec, FieldSpec, SourceSpec

__all__ = [
    "EntitySpec",
    "FeastRepository",
    "FeatureDefinitionError",
    "FeatureSourceError",
    "FeatureViewSpec",
    "FieldSpec",
    "SourceSpec",
]

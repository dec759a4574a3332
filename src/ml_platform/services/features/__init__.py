"""Features: defined once, joined point-in-time for training, looked up online for predictions."""

from ml_platform.services.features.endpoints import router
from ml_platform.services.features.inputs import TableInputs
from ml_platform.services.features.interfaces import FeatureEngine, OnlineStore, PushedView, ViewDefinition
from ml_platform.services.features.lookups import FeatureLookups, OnlineLookups
from ml_platform.services.features.pushing import FeaturePushes
from ml_platform.services.features.service import FeatureService
from ml_platform.services.features.workflows import MaterializeWorkflow

__all__ = [
    "FeatureEngine",
    "FeatureLookups",
    "FeaturePushes",
    "FeatureService",
    "MaterializeWorkflow",
    "OnlineLookups",
    "OnlineStore",
    "PushedView",
    "TableInputs",
    "ViewDefinition",
    "router",
]

"""Deployments: endpoints, revisions, the rollout through nine stages, and the inference plane's state."""

from ml_platform.services.deployments.endpoints import router
from ml_platform.services.deployments.history import TRAFFIC_ACTIONS
from ml_platform.services.deployments.interfaces import (
    Advisory,
    AdvisoryReport,
    Answer,
    BuiltBundle,
    BundleTrial,
    DeployableVersion,
    EvaluationResult,
    FeatureLookups,
    FeatureSource,
    FeatureStores,
    Gate,
    InferencePlane,
    Inspection,
    KeyRing,
    ModelCatalogue,
    ModelSignatures,
    ModelTools,
    Notifier,
    Origin,
    Quota,
    ScanFinding,
    SecretFinding,
    SupplyChain,
    TeamQuotas,
)
from ml_platform.services.deployments.service import DeploymentService, Requester
from ml_platform.services.deployments.settings import Prices, RolloutSettings
from ml_platform.services.deployments.smoke_keys import SmokeKeys
from ml_platform.services.deployments.snapshots import SnapshotBuilder, SnapshotFeed
from ml_platform.services.deployments.stages import RolloutParts
from ml_platform.services.deployments.traffic import SNAPSHOT_RAISED, raise_snapshot_version
from ml_platform.services.deployments.watch import RollbackWatch
from ml_platform.services.deployments.workflows import ROLLOUT, RolloutWorkflow

__all__ = [
    "ROLLOUT",
    "SNAPSHOT_RAISED",
    "TRAFFIC_ACTIONS",
    "Advisory",
    "AdvisoryReport",
    "Answer",
    "BuiltBundle",
    "BundleTrial",
    "DeployableVersion",
    "DeploymentService",
    "EvaluationResult",
    "FeatureLookups",
    "FeatureSource",
    "FeatureStores",
    "Gate",
    "InferencePlane",
    "Inspection",
    "KeyRing",
    "ModelCatalogue",
    "ModelSignatures",
    "ModelTools",
    "Notifier",
    "Origin",
    "Prices",
    "Quota",
    "Requester",
    "RollbackWatch",
    "RolloutParts",
    "RolloutSettings",
    "RolloutWorkflow",
    "ScanFinding",
    "SecretFinding",
    "SmokeKeys",
    "SnapshotBuilder",
    "SnapshotFeed",
    "SupplyChain",
    "TeamQuotas",
    "raise_snapshot_version",
    "router",
]

"""Watching models in production: drift, data quality, and what follows from them."""

from ml_platform.services.monitoring.checks import DriftCheckWorkflow, MonitoringParts
from ml_platform.services.monitoring.endpoints import router
from ml_platform.services.monitoring.ground_truth import GroundTruthService
from ml_platform.services.monitoring.interfaces import (
    AnswerKinds,
    Deployments,
    GroundTruthStore,
    JobOutcome,
    ModelVersions,
    PredictionLog,
    ReferenceScores,
    ServedBundle,
    ServedDeployment,
    ServedVersion,
    TrainingJobs,
)
from ml_platform.services.monitoring.repository import measured_monitors
from ml_platform.services.monitoring.retraining import RetrainWorkflow
from ml_platform.services.monitoring.schedule import CheckSchedule
from ml_platform.services.monitoring.service import MonitoringService

__all__ = [
    "AnswerKinds",
    "CheckSchedule",
    "Deployments",
    "DriftCheckWorkflow",
    "GroundTruthService",
    "GroundTruthStore",
    "JobOutcome",
    "ModelVersions",
    "MonitoringParts",
    "MonitoringService",
    "PredictionLog",
    "ReferenceScores",
    "RetrainWorkflow",
    "ServedBundle",
    "ServedDeployment",
    "ServedVersion",
    "TrainingJobs",
    "measured_monitors",
    "router",
]

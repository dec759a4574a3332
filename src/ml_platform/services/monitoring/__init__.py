"""Watching models in production: drift, data quality, and what follows from them."""

from ml_platform.services.monitoring.checks import DriftCheckWorkflow, MonitoringParts
from ml_platform.services.monitoring.endpoints import router
from ml_platform.services.monitoring.interfaces import (
    Deployments,
    JobOutcome,
    ModelVersions,
    PredictionLog,
    ReferenceScores,
    ServedDeployment,
    ServedVersion,
    TrainingJobs,
)
from ml_platform.services.monitoring.repository import measured_monitors
from ml_platform.services.monitoring.retraining import RetrainWorkflow
from ml_platform.services.monitoring.schedule import CheckSchedule
from ml_platform.services.monitoring.service import MonitoringService

__all__ = [
    "CheckSchedule",
    "Deployments",
    "DriftCheckWorkflow",
    "JobOutcome",
    "ModelVersions",
    "MonitoringParts",
    "MonitoringService",
    "PredictionLog",
    "ReferenceScores",
    "RetrainWorkflow",
    "ServedDeployment",
    "ServedVersion",
    "TrainingJobs",
    "measured_monitors",
    "router",
]

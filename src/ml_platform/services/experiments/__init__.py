"""Experiments and runs, kept by MLflow in the team's workspace."""

from ml_platform.services.experiments.endpoints import ExperimentRef, router
from ml_platform.services.experiments.interfaces import TrackedExperiment, TrackedRun, Tracking
from ml_platform.services.experiments.service import JOB_TAG, NOTE_TAG, ExperimentService

__all__ = [
    "JOB_TAG",
    "NOTE_TAG",
    "ExperimentRef",
    "ExperimentService",
    "TrackedExperiment",
    "TrackedRun",
    "Tracking",
    "router",
]

"""Training jobs: a user's script in an environment of its own, queued fairly, followed to its end."""

from ml_platform.services.training.endpoints import router
from ml_platform.services.training.evaluations import judge_on
from ml_platform.services.training.evaluations import router as evaluations_router
from ml_platform.services.training.interfaces import (
    EngineState,
    InputSource,
    JobEnd,
    JobEngine,
    JobKeys,
    JobLaunch,
    JobOutputs,
    JobRuns,
    LogPiece,
    ResolvedInput,
    SourceArchives,
    SourceListing,
    Wake,
)
from ml_platform.services.training.outcomes import GatedRegistration, Registration, RegistrationResult
from ml_platform.services.training.queue import JobQueue
from ml_platform.services.training.repository import QueueRepository
from ml_platform.services.training.service import CANCEL_TOPIC, TrainingService
from ml_platform.services.training.settings import TrainingSettings
from ml_platform.services.training.sources import SourceStore
from ml_platform.services.training.steps import JobSteps
from ml_platform.services.training.workflows import TrainingJob

__all__ = [
    "CANCEL_TOPIC",
    "EngineState",
    "GatedRegistration",
    "InputSource",
    "JobEnd",
    "JobEngine",
    "JobKeys",
    "JobLaunch",
    "JobOutputs",
    "JobQueue",
    "JobRuns",
    "JobSteps",
    "LogPiece",
    "QueueRepository",
    "Registration",
    "RegistrationResult",
    "ResolvedInput",
    "SourceArchives",
    "SourceListing",
    "SourceStore",
    "TrainingJob",
    "TrainingService",
    "TrainingSettings",
    "Wake",
    "evaluations_router",
    "judge_on",
    "router",
]

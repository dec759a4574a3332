"""From an MLflow model directory to a bundle that the inference plane can serve and trust.

Nothing here loads a model in this process: whatever runs a model's code is a child under limits, in the
model's own environment.
"""

from ml_platform.integrations.modelbuild.builder import (
    CONVERTED_BY,
    NOT_CONVERTED_BECAUSE,
    BuildResult,
    ModelBuilder,
    warnings_of,
)
from ml_platform.integrations.modelbuild.errors import (
    BuildFailedError,
    EvaluationFailedError,
    ModelBuildError,
    ModelRefusedError,
)
from ml_platform.integrations.modelbuild.evaluating import Evaluation
from ml_platform.integrations.modelbuild.mlmodel import ModelInfo, inspect_model
from ml_platform.integrations.modelbuild.pickles import Finding, scan_pickles
from ml_platform.integrations.modelbuild.trials import BundleTrials, Trial

__all__ = [
    "CONVERTED_BY",
    "NOT_CONVERTED_BECAUSE",
    "BuildFailedError",
    "BuildResult",
    "BundleTrials",
    "Evaluation",
    "EvaluationFailedError",
    "Finding",
    "ModelBuildError",
    "ModelBuilder",
    "ModelInfo",
    "ModelRefusedError",
    "Trial",
    "inspect_model",
    "scan_pickles",
    "warnings_of",
]

"""The inference plane's prediction log on local disk, and what a served graph says of its reference."""

from ml_platform.integrations.predictionlog.local import LocalPredictionLog
from ml_platform.integrations.predictionlog.scores import GraphScores

__all__ = ["GraphScores", "LocalPredictionLog"]

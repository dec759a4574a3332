"""The inference plane's prediction log, ground truth beside it, and what served bundles say of themselves."""

from ml_platform.integrations.predictionlog.answers import describe_answers
from ml_platform.integrations.predictionlog.arrival import Arrival
from ml_platform.integrations.predictionlog.bucket import BucketPredictionLog
from ml_platform.integrations.predictionlog.groundtruth import StoredGroundTruth
from ml_platform.integrations.predictionlog.local import LocalPredictionLog
from ml_platform.integrations.predictionlog.scores import GraphScores

__all__ = [
    "Arrival",
    "BucketPredictionLog",
    "GraphScores",
    "LocalPredictionLog",
    "StoredGroundTruth",
    "describe_answers",
]

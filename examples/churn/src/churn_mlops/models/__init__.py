"""The model, its training and its use."""

from churn_mlops.models.churn_model import ChurnModel, ModelFileError
from churn_mlops.models.inference import ChurnPrediction, ChurnPredictor, EndpointError

__all__ = ["ChurnModel", "ChurnPrediction", "ChurnPredictor", "EndpointError", "ModelFileError"]

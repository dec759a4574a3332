"""Logging a training to MLflow: parameters, metrics, curves, and the model with signature and example."""

import os
from importlib.metadata import version

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from churn_mlops.data.schema import FEATURE_NAMES, FEATURES
from churn_mlops.models.churn_model import TRUSTED_TYPES
from churn_mlops.models.train import Config, Training, chart_files

EXPERIMENT = "churn"
MODEL_NAME = "model"

# What loading the model takes. This package is not among it: the pipeline is plain scikit-learn.
MODEL_REQUIREMENTS = ("mlflow-skinny", "lightgbm", "numpy", "pandas", "scikit-learn", "scipy", "skops")
_PLACE = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


def log_training(result: Training, config: Config, source: str) -> str:
    """Log to the run or experiment that the environment names, else to experiment `churn`; return the run."""
    if not any(os.environ.get(name) for name in _PLACE):
        mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run() as run:
        mlflow.log_params(
            {
                **config.hyperparameters,
                "seed": config.seed,
                "test_fraction": config.test_fraction,
                "data_source": source,
                "data_digest": _digest(result),
            }
        )
        mlflow.log_metrics(result.metrics)
        for name, svg in chart_files(result).items():
            mlflow.log_text(svg, f"charts/{name}")
        mlflow.sklearn.log_model(
            result.model.pipeline,
            name=MODEL_NAME,
            signature=model_signature(),
            input_example=result.holdout[list(FEATURE_NAMES)].head(5),
            serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
            skops_trusted_types=list(TRUSTED_TYPES),
            pyfunc_predict_fn="predict_proba",
            pip_requirements=[f"{name}=={version(name)}" for name in MODEL_REQUIREMENTS],
        )
        run_id: str = run.info.run_id
    return run_id


def model_signature() -> ModelSignature:
    """In: the 19 raw columns by name, all required. Out: probabilities of staying and of leaving.

    Written from the schema rather than inferred from rows, where an integer column and a blank would change
    the type.
    """
    inputs = Schema([ColSpec(column.type, column.name) for column in FEATURES])
    return ModelSignature(inputs, Schema([TensorSpec(np.dtype("float64"), (-1, 2))]))


def _digest(result: Training) -> str:
    """Identify the rows that the model was trained and judged on, whatever file they came from."""
    rows = pd.concat([result.train, result.holdout])
    return f"{int(pd.util.hash_pandas_object(rows, index=False).sum()) & (2**64 - 1):016x}"

"""The churn model: a scikit-learn pipeline that reads the 19 raw columns, and its safe file format."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import skops.io
from lightgbm import LGBMClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from churn_mlops.data.schema import FEATURE_NAMES
from churn_mlops.features.engineer import build_transformer, raw_columns

# Chosen by five-fold cross-validation on the training rows alone; README has the figures.
DEFAULT_HYPERPARAMETERS: dict[str, int | float] = {
    "n_estimators": 200,
    "learning_rate": 0.03,
    "num_leaves": 8,
    "min_child_samples": 40,
}
DEFAULT_SEED = 7

# skops refuses every type that is neither its own nor named here, so a file can build these and nothing else.
TRUSTED_TYPES = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
)

_MODEL_FILE = "model.skops"
_MANIFEST_FILE = "model.json"
_FORMAT = 1


class ModelFileError(ValueError):
    """A saved model is incomplete, altered, of another format, or holds types that are not trusted."""


class ChurnModel:
    """Predicts from a customer's raw columns whether the customer leaves.

    `pipeline` is plain scikit-learn and LightGBM: it can be logged to MLflow, loaded without this package,
    and converted to ONNX.

    Args:
        hyperparameters: of LightGBM, over `DEFAULT_HYPERPARAMETERS`.
        seed: of LightGBM's random numbers. The same rows and seed give the same model.
    """

    def __init__(
        self, hyperparameters: Mapping[str, int | float] | None = None, seed: int = DEFAULT_SEED
    ) -> None:
        self.hyperparameters = {**DEFAULT_HYPERPARAMETERS, **(hyperparameters or {})}
        self.seed = seed
        self.pipeline = Pipeline([("features", build_transformer()), ("classifier", self._classifier())])

    def fit(self, X: pd.DataFrame, y: pd.Series) -> Self:
        """Fit on the 19 raw columns of `X` (others are left out) and labels 0 or 1."""
        self.pipeline.fit(raw_columns(X), y.to_numpy())
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """1 where the customer is more likely to leave than to stay, else 0."""
        labels: np.ndarray = (self.predict_proba(X)[:, 1] > 0.5).astype("int64")
        return labels

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Probabilities of staying and of leaving: an array of shape (rows, 2)."""
        check_is_fitted(self.pipeline)
        probabilities: np.ndarray = self.pipeline.predict_proba(raw_columns(X))
        return probabilities

    def save(self, directory: str | Path) -> Path:
        """Write the model into `directory` and return it.

        `model.skops` holds the pipeline in skops' format, which runs no code when it is read; `model.json`
        holds its SHA-256, the columns and the settings.
        """
        check_is_fitted(self.pipeline)
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        content = skops.io.dumps(self.pipeline)
        (target / _MODEL_FILE).write_bytes(content)
        manifest = {
            "format": _FORMAT,
            "sha256": hashlib.sha256(content).hexdigest(),
            "columns": list(FEATURE_NAMES),
            "hyperparameters": self.hyperparameters,
            "seed": self.seed,
        }
        (target / _MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        return target

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read a model that `save` wrote.

        Raises:
            FileNotFoundError: a file is missing.
            ModelFileError: the file's digest or columns are not those of the manifest, or it holds other
                types than `TRUSTED_TYPES`.
        """
        source = Path(directory)
        content = (source / _MODEL_FILE).read_bytes()
        manifest = _read_manifest(source / _MANIFEST_FILE)
        if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
            raise ModelFileError(f"{source / _MODEL_FILE} was altered: its SHA-256 is not the manifest's")
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
        if unknown:
            raise ModelFileError(
                f"{source / _MODEL_FILE} holds types that are not trusted: {', '.join(unknown)}"
            )
        model = cls(manifest["hyperparameters"], manifest["seed"])
        pipeline = skops.io.loads(content, trusted=list(TRUSTED_TYPES))
        if not isinstance(pipeline, Pipeline):
            raise ModelFileError(f"{source / _MODEL_FILE} holds a {type(pipeline).__name__}, not a pipeline")
        model.pipeline = pipeline
        return model

    def _classifier(self) -> LGBMClassifier:
        # One thread: on rows this small LightGBM's threads cost more than they bring, and the sums of a
        # single thread are the same on every machine.
        settings: dict[str, Any] = dict(self.hyperparameters)
        return LGBMClassifier(
            **settings,
            random_state=self.seed,
            n_jobs=1,
            deterministic=True,
            force_row_wise=True,
            verbose=-1,
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFileError(f"{path} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ModelFileError(f"{path} is not a manifest of format {_FORMAT}")
    if manifest.get("columns") != list(FEATURE_NAMES):
        raise ModelFileError(f"{path} names other columns than this version of the project reads")
    return manifest

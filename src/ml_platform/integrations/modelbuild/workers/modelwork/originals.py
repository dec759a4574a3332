"""Models as they were trained: what they answer, which is what a graph has to answer, too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Task = Literal["classification", "regression", "other"]


class Unconvertible(Exception):  # noqa: N818 - it is an answer, not a failure
    """The model stays as it is; the text says why."""


@dataclass(frozen=True)
class Original:
    """A fitted model.

    Attributes:
        predict: labels, values, or for some a matrix of values, one row for each.
        probabilities: of each class, where the model tells them.
        classes: in the order of the probabilities.
    """

    predict: Callable[[Any], Any]
    probabilities: Callable[[Any], Any] | None
    classes: Any
    task: Task


def load_native(model: str, flavour: str) -> Any:
    import importlib

    return importlib.import_module(f"mlflow.{flavour}").load_model(model)


def estimator(model: Any) -> Original:
    """A model with scikit-learn's interface."""
    classes = getattr(model, "classes_", None)
    if classes is not None and not len(classes):  # CatBoost's regressors have some, but none
        classes = None
    shares = model.predict_proba if classes is not None and hasattr(model, "predict_proba") else None
    return Original(model.predict, shares, classes, _task(model, classes))


def _task(model: Any, classes: Any) -> Task:
    from sklearn.base import is_regressor

    if classes is not None:
        return "classification"
    return "regression" if is_regressor(model) else "other"


def plain(answer: Any) -> Any:
    """One array without objects, whatever the model gave."""
    if hasattr(answer, "to_numpy"):
        answer = answer.to_numpy()
    array = np.asarray(answer)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "biuf":
        return array
    return array.astype(str)


def scalars(values: Any) -> list[Any]:
    return [value.item() if hasattr(value, "item") else value for value in values]

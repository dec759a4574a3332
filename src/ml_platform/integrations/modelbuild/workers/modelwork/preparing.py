"""What converters need of a fitted model that scikit-learn itself does not mind: done to a copy of it."""

import copy
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from .table import NULL_TEXT


def prepared(model: Any) -> Any:
    """A copy that says the same and converts where its own words would not."""
    made = copy.deepcopy(model)
    for part in _parts(made, set()):
        name = type(part).__name__
        if name == "SimpleImputer" and getattr(part, "statistics_", np.empty(0)).dtype == object:
            part.missing_values = NULL_TEXT  # graphs have no null among texts
        elif name == "VotingClassifier":
            part.flatten_transform = False  # says how `transform` answers, which nobody asks
    return made


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """The estimators in an estimator, however deep."""
    if id(value) in seen or isinstance(value, (str, bytes, type, ModuleType, np.ndarray)):
        return
    seen.add(id(value))
    if hasattr(value, "get_params"):
        yield value
        children: list[Any] = list(vars(value).values())
    elif isinstance(value, dict):
        children = list(value.values())
    elif isinstance(value, (list, tuple)):
        children = list(value)
    else:
        return
    for child in children:
        yield from _parts(child, seen)


def contains(model: Any, *names: str) -> bool:
    """Whether an estimator of one of these classes is a part of it."""
    return any(type(part).__name__.startswith(names) for part in _parts(model, set()))


def scales_for_trees(model: Any) -> bool:
    """Whether values are computed before trees of single precision, whose borders are values of their data.

    Computed a little differently a row stands on the other side of one, which a small sample need not show.
    """
    computes = contains(model, *(scaler.__name__ for scaler in _scalers()), "MinMaxScaler", "SimpleImputer")
    return computes and contains(model, "XGB", "RandomForest", "ExtraTrees")


def _scalers() -> tuple[Any, ...]:
    from sklearn.preprocessing import MaxAbsScaler, RobustScaler, StandardScaler

    return StandardScaler, RobustScaler, MaxAbsScaler


def register_exact_imputer() -> None:
    """Imputers of numbers in double precision, which ONNX's own operator cannot hold."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.data_types import DoubleTensorType
    from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer
    from skl2onnx.shape_calculators.imputer import calculate_sklearn_imputer_output_shapes
    from sklearn.impute import SimpleImputer

    def convert(scope: Any, operator: Any, container: Any) -> None:
        fills = operator.raw_operator.statistics_
        exact = len(operator.inputs) == 1 and isinstance(operator.inputs[0].type, DoubleTensorType)
        gaps_are_nan = isinstance(operator.raw_operator.missing_values, float)
        if exact and gaps_are_nan and np.isfinite(fills.astype(np.float64)).all():
            _impute(scope, container, operator, fills.astype(np.float64))
        else:
            convert_sklearn_imputer(scope, operator, container)

    update_registered_converter(
        SimpleImputer, "SklearnSimpleImputer", calculate_sklearn_imputer_output_shapes, convert
    )


def _impute(scope: Any, container: Any, operator: Any, fills: Any) -> None:
    from onnx import TensorProto

    rows, name = operator.inputs[0].full_name, scope.get_unique_variable_name
    fill, gaps = name("fill"), name("gaps")
    container.add_initializer(fill, TensorProto.DOUBLE, [1, len(fills)], fills.tolist())
    container.add_node("IsNaN", rows, gaps, op_version=13, name=scope.get_unique_operator_name("IsNaN"))
    container.add_node(
        "Where",
        [gaps, fill, rows],
        operator.outputs[0].full_name,
        op_version=9,
        name=scope.get_unique_operator_name("Where"),
    )


def exact_scalers() -> dict[Any, dict[str, str]]:
    """Options under which scalers compute in the precision of their input."""
    return {scaler: {"div": "div"} for scaler in _scalers()}


class PlainNumbers:
    """A converter's container that takes booleans for the integers that ONNX wants."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> Any:
        plain = {name: _as_integers(value) for name, value in attributes.items()}
        return self._container.add_node(*arguments, **plain)


def with_plain_numbers(convert: Callable[..., None]) -> Callable[..., None]:
    return lambda scope, operator, container: convert(scope, operator, PlainNumbers(container))


def _as_integers(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and any(isinstance(item, (bool, np.bool_)) for item in value):
        return [int(item) for item in value]
    return value

"""What converters need of a fitted model that scikit-learn itself does not mind: done to a copy of it."""

import copy
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np


def prepared(model: Any) -> Any:
    """A copy that says the same and converts where its own words would not."""
    made = copy.deepcopy(model)
    for part in _parts(made, set()):
        name = type(part).__name__
        if name == "SimpleImputer" and getattr(part, "statistics_", np.empty(0)).dtype == object:
            # Graphs have no null among texts; which text stands for one is tried out later.
            part.missing_values = ""
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


def exact_scalers() -> dict[Any, dict[str, str]]:
    """Options under which scalers compute in the precision of their input."""
    from sklearn.preprocessing import MaxAbsScaler, RobustScaler, StandardScaler

    return dict.fromkeys((StandardScaler, RobustScaler, MaxAbsScaler), {"div": "div"})


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

"""What an isolated model's frame is made of."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_platform.inference.runtimes.pyfunc_child import _DTYPES, _column, _objects


def series(values: list, kind: str) -> pd.Series:
    """The column as pandas itself makes it, which takes it five times as long."""
    if kind == "datetime":
        return pd.to_datetime(pd.Series(values), format="ISO8601")
    mixed = None in values and kind in ("boolean", "integer", "long")
    return pd.Series(values, dtype="object" if mixed else _DTYPES[kind])


@pytest.fixture(params=[False, True], ids=["as pandas 2", "as pandas 3"])
def objects(request: pytest.FixtureRequest) -> Iterator[Callable[[list], Any]]:
    with pd.option_context("future.infer_string", request.param):
        yield _objects(pd, np)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("boolean", [True, False]), ("boolean", [None, True]), ("integer", [1, -(2**31)]), ("integer", [None, 3]),
        ("long", [2**63 - 1, -(2**63)]), ("long", [None, None]), ("float", [1.5, None]), ("double", [1, 2**53]),
        ("double", [None, None]), ("string", ["a", None]), ("string", ["é", ""]), ("string", [None, None]),
        ("datetime", ["2024-01-01T00:00:00", None]),
        ("datetime", ["2024-01-01T00:00:00+02:00", "2024-01-02T00:00:00+02:00"]),
    ],
)  # fmt: skip
def test_a_frame_holds_the_types_that_series_would_have(kind: str, values: list, objects) -> None:
    beside = [1.0, 2.0]
    made = pd.DataFrame(
        {"a": _column(pd, np, values, kind, objects), "b": _column(pd, np, beside, "double", objects)}
    )
    expected = pd.DataFrame({"a": series(values, kind), "b": series(beside, "double")})
    pd.testing.assert_frame_equal(made, expected)
    assert [type(value) for value in made["a"]] == [type(value) for value in expected["a"]]


def test_a_model_may_change_its_frame(objects) -> None:
    text, numbers = (
        _column(pd, np, *given, objects) for given in ((["x", None], "string"), ([1, 2], "long"))
    )
    made = pd.DataFrame({"a": text, "b": numbers})
    made.loc[0, "a"] = "y"
    made["b"] += 1
    assert made.to_dict(orient="list") == {"a": ["y", None], "b": [2, 3]}

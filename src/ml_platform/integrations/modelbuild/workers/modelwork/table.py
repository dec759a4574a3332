"""The rows on which a model and its graph are compared."""

from typing import Any

import numpy as np

DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "datetime": "datetime64[ns]",
}
NULL_TEXT = "\u2400 null"
"""Stands for a null among texts where none of the usual ones does: nobody sends it."""

NUMERIC = ("float", "double", "integer", "long")


class Table:
    """The rows of the request: arrays without pickles, as the platform wrote them."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.columns: list[dict[str, Any]] = request["columns"]
        self.names = [column["name"] for column in self.columns]
        self.matrix = request["layout"] == "tensor"
        with np.load(request["rows"], allow_pickle=False) as arrays:
            self.cells = [arrays[f"v{i}"] for i in range(len(self.columns))]
            self.nulls = [arrays[f"n{i}"] for i in range(len(self.columns))]
        self.rows = len(self.cells[0])

    def has_only(self, *kinds: str) -> bool:
        return all(column["type"] in kinds for column in self.columns)

    def frame(self, values: list[Any] | None = None, nulls: list[Any] | None = None) -> Any:
        """What the original model sees, with MLflow's own types."""
        import pandas as pd

        values = self.cells if values is None else values
        nulls = self.nulls if nulls is None else nulls
        if self.matrix:
            return np.stack(values, axis=1).astype(DTYPES[self.columns[0]["type"]])
        series = [
            _series(pd, column["type"], v, n)
            for column, v, n in zip(self.columns, values, nulls, strict=True)
        ]
        return pd.DataFrame(dict(zip(self.names, series, strict=True)))

    def shuffled(self) -> tuple[list[Any], list[Any]]:
        """Each column in an order of its own: combinations that the sample does not hold."""
        random = np.random.default_rng(0)
        orders = [random.permutation(self.rows) for _ in self.columns]
        return (
            [v[o] for v, o in zip(self.cells, orders, strict=True)],
            [n[o] for n, o in zip(self.nulls, orders, strict=True)],
        )


def _series(pd: Any, kind: str, values: Any, nulls: Any) -> Any:
    if kind == "string":
        return pd.Series(np.where(nulls, None, values.astype(object)), dtype="object")
    if not nulls.any():
        return pd.Series(values.astype(DTYPES[kind]))
    if kind in ("float", "double", "datetime"):
        return pd.Series(values.astype(DTYPES[kind])).mask(nulls)
    if kind == "boolean":
        return pd.Series(np.where(nulls, None, values.astype(object)), dtype="object")
    return pd.Series(np.where(nulls, np.nan, values.astype(np.float64)))

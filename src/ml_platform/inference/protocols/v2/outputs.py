"""Predictions to tensors: names and data types from the signature where it says, else from the values."""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite
from typing import Any

import msgspec

from ml_platform.inference.errors import InvalidInput
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.protocols.v2.datatypes import DATATYPE_OF, DATATYPES, Datatype, pack, shown

DEFAULT_NAME = "predictions"

_BOOL, _INT64, _FP64, _BYTES = (DATATYPES[name] for name in ("BOOL", "INT64", "FP64", "BYTES"))
_NULL = type(None)
_FITTING: dict[str, frozenset[type]] = {
    "bool": frozenset({bool}),
    "int": frozenset({int}),
    "float": frozenset({float, int, _NULL}),
    "text": frozenset({str}),
}
_NAN = float("nan")
_EXACT = 2.0**64


class OutputTensor(msgspec.Struct, frozen=True):
    """`values` are flat and row-major; None stands for a number that is none."""

    name: str
    datatype: Datatype
    shape: list[int]
    values: list[Any]

    def raw(self) -> bytes:
        if self.datatype.kind == "float":
            return pack(self.datatype, self.numbers())
        return pack(self.datatype, self.values)

    def numbers(self) -> list[float]:
        """The values of a float tensor, NaN for what is None."""
        return [_NAN if value is None else value for value in self.values]


class OutputWriter:
    """The outputs of one revision: `revision.once(OutputWriter)`."""

    def __init__(self, revision: LiveRevision) -> None:
        manifest = revision.manifest
        self._declared: dict[str, Datatype] = {
            c.name: DATATYPE_OF[c.type] for c in manifest.signature.outputs
        }
        if manifest.output == "probability":
            self._declared = {next(iter(self._declared), DEFAULT_NAME): _FP64}
        elif not self._declared and manifest.task == "regression":
            self._declared = {DEFAULT_NAME: _FP64}
        elif not self._declared and manifest.classes:
            self._declared = {DEFAULT_NAME: _inferred(list(manifest.classes))}
        self._name = next(iter(self._declared)) if len(self._declared) == 1 else DEFAULT_NAME
        self._is_number = len(self._declared) == 1 and self._declared[self._name] is _FP64

    def metadata(self) -> list[tuple[str, str, list[int]]]:
        """Name, data type and shape of each output that is known before there is a prediction."""
        return [(name, datatype.name, [-1]) for name, datatype in self._declared.items()]

    def check(self, wanted: Collection[str]) -> None:
        """Raises InvalidInput when an output is asked for that is known not to be there."""
        if wanted and self._declared:
            _check(wanted, self._declared.keys() | {self._name})

    def write(self, predictions: list[Any], wanted: Collection[str] = ()) -> list[OutputTensor]:
        """The tensors, or just those wanted, in that order.

        Predictions that are objects become a tensor for each of their fields.
        """
        if (
            self._is_number
            and set(map(type, predictions)) == {float}
            and (not wanted or [*wanted] == [self._name])
        ):
            return [OutputTensor(self._name, _FP64, [len(predictions)], predictions)]
        columns = self._columns(predictions)
        if wanted:
            _check(wanted, columns.keys())
            columns = {name: columns[name] for name in wanted}
        return [_tensor(name, values, self._declared.get(name)) for name, values in columns.items()]

    def _columns(self, predictions: list[Any]) -> dict[str, list[Any]]:
        first = predictions[0]
        if type(first) is dict and first:
            keys = first.keys()
            if all(type(row) is dict and row.keys() == keys for row in predictions):
                return {name: [row[name] for row in predictions] for name in first}
        width = len(self._declared)
        if width > 1 and all(type(row) is list and len(row) == width for row in predictions):
            values = map(list, zip(*predictions, strict=True))
            return dict(zip(self._declared, values, strict=True))
        return {self._name: predictions}


def _check(wanted: Collection[str], known: Collection[str]) -> None:
    for name in wanted:
        if name not in known:
            raise InvalidInput(
                f"outputs.{shown(name)}: the model has no such output; it has {', '.join(known)}"
            )


def _tensor(name: str, values: list[Any], declared: Datatype | None) -> OutputTensor:
    shape = [len(values)]
    while values and all(type(value) is list for value in values):
        widths = {len(value) for value in values}
        if len(widths) != 1:
            break
        shape.append(widths.pop())
        values = [item for value in values for item in value]
    datatype = declared if declared is not None and _fits(values, declared) else _inferred(values)
    if datatype is _BYTES and not _fits(values, _BYTES):  # neither numbers nor text
        values = [msgspec.json.encode(value).decode() for value in values]
    return OutputTensor(name, datatype, shape, values)


def _inferred(values: list[Any]) -> Datatype:
    return next((datatype for datatype in (_BOOL, _INT64, _FP64) if _fits(values, datatype)), _BYTES)


def _fits(values: list[Any], datatype: Datatype) -> bool:
    kinds = set(map(type, values))
    if not kinds or not kinds <= _FITTING[datatype.kind]:
        return False
    if datatype.low is None or datatype.high is None:
        return int not in kinds or datatype.kind != "float" or _within(values, -_EXACT, _EXACT)
    return _within(values, datatype.low, datatype.high)


def _within(values: list[Any], low: float, high: float) -> bool:
    """Whether every number is; what is none (None, NaN, an infinity) is anywhere."""
    return all(value is None or not isfinite(value) or low <= value <= high for value in values)

"""Tensors to typed rows: one reader for each column of a revision's signature.

A request holds one tensor for each column, by name, of shape [rows] or [rows, 1]; or a single tensor of
any other name and shape [rows, columns] for a model whose columns are all numbers. A column that the model
can do without, or that is looked up by an entity key, may be left out; the entity keys are tensors too.

A value may come in any data type that loses nothing: integers of every width, also for a float column. NaN
stands for a missing value where the signature allows one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import inf, isfinite, prod
from typing import Any, NoReturn, Protocol

import msgspec

from ml_platform.contracts.bundles import ColumnType
from ml_platform.inference.decoding import Decoded, InputColumn, Row
from ml_platform.inference.errors import InvalidInput, TooLarge
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.protocols.v2.datatypes import (
    DATATYPE_OF,
    DATATYPES,
    BadTensorError,
    Buffer,
    Datatype,
    shown,
    unpack,
)
from ml_platform.inference.protocols.v2.parameters import params_of

KINDS_OF: dict[ColumnType, tuple[str, ...]] = {
    "boolean": ("bool",),
    "integer": ("int",),
    "long": ("int",),
    "float": ("float", "int"),
    "double": ("float", "int"),
    "string": ("text",),
    "datetime": ("text",),
}
"""The kinds of data types that a column of each type takes."""

_FLOAT32 = DATATYPES["FP32"]
_MOST_LISTED = 20


class Tensor(Protocol):
    """An input as one of the transports holds it."""

    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...
    @property
    def shape(self) -> Sequence[int]: ...

    def values(self, datatype: Datatype, count: int, *, nullable: bool) -> Sequence[Any]:
        """Just `count` values, flat, None only where `nullable`; raises BadTensorError."""
        ...


class RawTensor:
    """An input whose values are raw bytes."""

    __slots__ = ("data", "datatype", "name", "shape")

    def __init__(self, name: str, datatype: str, shape: Sequence[int], data: Buffer) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.data = data

    def values(self, datatype: Datatype, count: int, *, nullable: bool) -> Sequence[Any]:
        del nullable  # raw bytes have no null
        return unpack(datatype, self.data, count)


def first_value(inputs: Sequence[Tensor], name: str) -> str | None:
    """The first value of an input, as text, if it is there; raises InvalidInput when it cannot be read."""
    tensor = next((tensor for tensor in inputs if tensor.name == name), None)
    datatype = DATATYPES.get(tensor.datatype) if tensor is not None else None
    if tensor is None or datatype is None or not tensor.shape or min(tensor.shape) < 1:
        return None
    try:
        value = tensor.values(datatype, prod(tensor.shape), nullable=True)[0]
    except BadTensorError as error:
        raise _named(tensor, error) from None
    return str(value) if value is not None else None


class InputReader:
    """The inputs of one revision: `revision.once(InputReader)`."""

    def __init__(self, revision: LiveRevision) -> None:
        self._decoder = decoder = revision.decoder
        self._width = len(decoder.columns)
        self._columns = [_Column(column) for column in (*decoder.columns, *decoder.entity_columns)]
        self._positions = {column.name: index for index, column in enumerate(self._columns)}
        fields = [decoder.field("value", column.input) for column in self._columns]
        self._defaults = [tuple(field[2:]) for field in fields]
        self._nullable = any(column.nullable for column in decoder.columns)
        self._numbers = all(column.is_number for column in self._columns[: self._width])
        self._tensor = revision.manifest.signature.layout == "tensor"

    def metadata(self) -> list[tuple[str, str, list[int]]]:
        """Name, data type and shape of each input, entity keys included."""
        if self._tensor:
            return [("input", self._columns[0].datatype.name, [-1, self._width])]
        return [(column.name, column.datatype.name, [-1, 1]) for column in self._columns]

    def read(self, inputs: Sequence[Tensor], parameters: Mapping[str, Any] | None = None) -> Decoded:
        """The typed rows, and the model's params out of the request's `parameters`.

        Raises:
            InvalidInput: naming the tensor or the parameter, and what was expected of it.
            TooLarge: when there are more rows than allowed.
        """
        if len(inputs) == 1 and inputs[0].name not in self._positions:
            rows = self._matrix(inputs[0])
            return self._decoder.complete(rows, "inputs", params_of(parameters, self._decoder.params))
        columns: list[Sequence[Any] | None] = [None] * len(self._columns)
        count: int | None = None
        for tensor in inputs:
            position = self._positions.get(tensor.name)
            if position is None:
                self._refuse_name(tensor.name)
            if columns[position] is not None:
                raise InvalidInput(f"inputs.{shown(tensor.name)}: given twice")
            shape = tensor.shape
            if len(shape) != 1 and (len(shape) != 2 or shape[1] != 1):
                raise InvalidInput(
                    f"inputs.{shown(tensor.name)}.shape: expected [rows] or [rows, 1], got {_shape(shape)}"
                )
            if shape[0] != count:
                count = self._rows(tensor, count)
            try:
                columns[position] = self._columns[position].read(tensor, count)
            except BadTensorError as error:
                raise _named(tensor, error) from None
        for position, values in enumerate(columns):
            if values is None:
                columns[position] = self._default(position) * (count or 0)
        given: Any = columns
        params = params_of(parameters, self._decoder.params)
        return self._decoder.complete(list(zip(*given, strict=True)), "inputs", params)

    def _rows(self, tensor: Tensor, rows: int | None = None) -> int:
        """The number of rows that a tensor declares; an error unless it is the first to say."""
        count = tensor.shape[0]
        where = f"inputs.{shown(tensor.name)}.shape"
        if rows is not None:
            raise InvalidInput(f"{where}: {count} rows, where the tensors before it have {rows}")
        if count < 1:
            raise InvalidInput(f"{where}: expected at least one row, got {_shape(tensor.shape)}")
        if count > self._decoder.max_rows:
            raise TooLarge(f"{where}: at most {self._decoder.max_rows} rows in one request, got {count}")
        return count

    def _matrix(self, tensor: Tensor) -> list[Row]:
        if not self._numbers and not self._tensor:
            self._refuse_name(tensor.name)
        try:
            return list(zip(*self._slices(tensor), strict=True))
        except BadTensorError as error:
            raise _named(tensor, error) from None

    def _slices(self, tensor: Tensor) -> Iterator[Sequence[Any]]:
        """The columns of a matrix."""
        shape, width = tensor.shape, self._width
        if len(shape) != 2 or shape[1] != width:
            raise BadTensorError(".shape", f"expected [rows, {width}], got {_shape(shape)}")
        datatype = DATATYPES.get(tensor.datatype)
        if datatype is None:
            _refuse_datatype(tensor, self._columns[0].datatype)
        values = tensor.values(datatype, self._rows(tensor) * width, nullable=self._nullable)
        for index, column in enumerate(self._columns[:width]):
            if datatype.kind not in column.kinds and not (datatype.kind == "float" and column.is_number):
                _refuse_datatype(tensor, column.datatype)
            yield column.admit(values[index::width], datatype, f".{shown(column.name)}")

    def _default(self, position: int) -> list[Any]:
        default = self._defaults[position]
        if not default:
            raise InvalidInput(f"inputs.{self._columns[position].name}: missing")
        return list(default)

    def _refuse_name(self, name: str) -> NoReturn:
        known = [shown(column.name) for column in self._columns[:_MOST_LISTED]]
        more = ", ..." if len(self._columns) > _MOST_LISTED else ""
        raise InvalidInput(
            f"inputs.{shown(name)}: the model has no such input; it has {', '.join(known)}{more}"
        )


class _Column:
    """Reads the values of one column out of tensors of any fitting data type."""

    __slots__ = ("_high", "_low", "_safe", "datatype", "input", "is_number", "kinds", "name", "nullable")

    def __init__(self, column: InputColumn) -> None:
        self.input = column
        self.name = column.name
        self.nullable = column.nullable
        self.datatype = DATATYPE_OF[column.type]
        self.kinds = KINDS_OF[column.type]
        self.is_number = self.datatype.kind in {"int", "float"}
        limits = _FLOAT32 if column.narrow else self.datatype
        self._low = -inf if limits.low is None else limits.low
        self._high = inf if limits.high is None else limits.high
        self._safe = frozenset(
            name
            for name, other in DATATYPES.items()
            if limits.low is None or (other.low is not None and self._holds(other.low, other.high))
        )

    def read(self, tensor: Tensor, count: int) -> Sequence[Any]:
        datatype = DATATYPES.get(tensor.datatype)
        if datatype is None or datatype.kind not in self.kinds:
            _refuse_datatype(tensor, self.datatype)
        values = tensor.values(datatype, count, nullable=self.nullable)
        return self.admit(values, datatype, ".data")

    def admit(self, values: Sequence[Any], datatype: Datatype, place: str) -> Sequence[Any]:
        """The values as the model takes them; raises BadTensorError at the first that it cannot take."""
        if not self.is_number:
            return self._each(values, place) if self.input.type == "datetime" else values
        if datatype.kind != self.datatype.kind or not self._are_plain(values, datatype):
            return self._each(values, place)
        return values

    def _are_plain(self, values: Sequence[Any], datatype: Datatype) -> bool:
        """Whether nothing has to be done to any of the numbers, found out about all of them at once."""
        try:
            if not isfinite(sum(values)):
                return False
        except (TypeError, OverflowError):
            return False  # a null, or integers beyond any float
        return datatype.name in self._safe or self._holds(min(values), max(values))

    def _holds(self, low: float | None, high: float | None) -> bool:
        return low is not None and high is not None and self._low <= low and high <= self._high

    def _each(self, values: Sequence[Any], place: str) -> list[Any]:
        admitted: list[Any] = []
        for value in values:
            try:
                admitted.append(self._value(value))
            except ValueError as error:
                raise BadTensorError(f"{place}[{len(admitted)}]", str(error)) from None
        return admitted

    def _value(self, value: Any) -> Any:
        if value is None or value != value:  # noqa: PLR0124 - only NaN is not itself
            if self.nullable:
                return None
            raise ValueError(f"expected {self.input.type}, got {'null' if value is None else 'NaN'}")
        if self.input.type == "datetime":
            return _moment(value)
        if self.datatype.kind == "float":
            value = float(value)
            if not isfinite(value):
                raise ValueError(f"expected a finite number, got {value}")
        elif isinstance(value, float):
            if not value.is_integer():
                raise ValueError(f"expected a whole number, got {value}")
            value = int(value)
        if not self._low <= value <= self._high:
            raise ValueError(f"expected {self._low} to {self._high}, got {value}")
        return value


def _refuse_datatype(tensor: Tensor, expected: Datatype) -> NoReturn:
    raise BadTensorError(".datatype", f"expected {expected.name}, got '{shown(tensor.datatype)}'")


def _named(tensor: Tensor, error: BadTensorError) -> InvalidInput:
    return InvalidInput(f"inputs.{shown(tensor.name)}{error}")


def _moment(value: str) -> datetime:
    try:
        return msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        raise ValueError("expected a date and time in RFC 3339") from None


def _shape(shape: Sequence[int]) -> str:
    return shown(str(list(shape[:8])))

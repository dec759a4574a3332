"""The values of a tensor in JSON: flat, or nested as its shape says; decoders are compiled once for each type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

import msgspec

from ml_platform.inference.decoding import explain
from ml_platform.inference.protocols.v2.datatypes import DATATYPES, BadTensorError, Buffer, Datatype

_PLACE = ".data"
_UINT64 = DATATYPES["UINT64"]
_BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_KIND: dict[str, Any] = {"bool": bool, "int": int, "float": float, "text": str}


def _decoder(datatype: Datatype, *, nullable: bool, nested: bool) -> Callable[[Buffer | msgspec.Raw], Any]:
    kind = _KIND[datatype.kind]
    if datatype.low is not None:
        kind = Annotated[kind, msgspec.Meta(ge=datatype.low)]
        if datatype is not _UINT64:  # the decoder knows no bound beyond 63 bits
            kind = Annotated[kind, msgspec.Meta(le=datatype.high)]
    kind = list.__class_getitem__(kind | None if nullable else kind)
    return msgspec.json.Decoder(list.__class_getitem__(kind) if nested else kind).decode


_FLAT, _NESTED = (
    {
        nullable: {d.name: _decoder(d, nullable=nullable, nested=nested) for d in DATATYPES.values()}
        for nullable in (False, True)
    }
    for nested in (False, True)
)


def decode_values(
    data: Buffer | msgspec.Raw, datatype: Datatype, shape: Sequence[int], *, nullable: bool
) -> list[Any]:
    """All values, row by row; raises BadTensorError."""
    try:
        values: list[Any] = _FLAT[nullable][datatype.name](data)
    except _BAD_JSON as error:
        if len(shape) != 2 or not _is_nested(data):
            _refuse(error)
        values = _nested_values(data, datatype, shape[1], nullable=nullable)
    if datatype is _UINT64:
        for index, value in enumerate(values):
            if value is not None and value >= 2**64:
                raise BadTensorError(f"{_PLACE}[{index}]", "expected int < 2**64")
    return values


def _nested_values(
    data: Buffer | msgspec.Raw, datatype: Datatype, width: int, *, nullable: bool
) -> list[Any]:
    try:
        rows = _NESTED[nullable][datatype.name](data)
    except _BAD_JSON as error:
        _refuse(error)
    for index, row in enumerate(rows):
        if len(row) != width:
            raise BadTensorError(f"{_PLACE}[{index}]", f"expected {width} values, got {len(row)}")
    return [value for row in rows for value in row]


def _is_nested(data: Buffer | msgspec.Raw) -> bool:
    return bytes(memoryview(data)[:64]).replace(b" ", b"").startswith(b"[[")


def _refuse(error: Exception) -> NoReturn:
    if isinstance(error, msgspec.ValidationError):
        place, _, what = explain(str(error), (), _PLACE).partition(": ")
        raise BadTensorError(place, what) from None
    raise BadTensorError(_PLACE, f"not valid JSON: {error}") from None

"""The protocol's data types: their ranges, and their values to and from raw bytes.

Raw tensors are little-endian and row-major; an element of BYTES is its length in four bytes, then its bytes.
BF16 has no Python value and is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ml_platform.contracts.bundles import ColumnType
from ml_platform.inference.errors import InvalidInput

Buffer = bytes | bytearray | memoryview

_LENGTH = struct.Struct("<I")
_MOST_NAMED = 128


@dataclass(frozen=True, slots=True)
class Datatype:
    """`code` is that of `struct`, `contents` the field of gRPC's typed contents; BYTES has no code."""

    name: str
    kind: Literal["bool", "int", "float", "text"]
    code: str = ""
    size: int = 0
    low: float | None = None
    high: float | None = None
    contents: str | None = None


def _integer(name: str, code: str, bits: int, contents: str) -> Datatype:
    signed = code.islower()
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return Datatype(name, "int", code, bits // 8, low, high, contents)


DATATYPES = {
    datatype.name: datatype
    for datatype in (
        Datatype("BOOL", "bool", "?", 1, contents="bool_contents"),
        _integer("INT8", "b", 8, "int_contents"),
        _integer("INT16", "h", 16, "int_contents"),
        _integer("INT32", "i", 32, "int_contents"),
        _integer("INT64", "q", 64, "int64_contents"),
        _integer("UINT8", "B", 8, "uint_contents"),
        _integer("UINT16", "H", 16, "uint_contents"),
        _integer("UINT32", "I", 32, "uint_contents"),
        _integer("UINT64", "Q", 64, "uint64_contents"),
        Datatype("FP16", "float", "e", 2, -65504.0, 65504.0),
        Datatype("FP32", "float", "f", 4, -3.4028234663852886e38, 3.4028234663852886e38, "fp32_contents"),
        Datatype("FP64", "float", "d", 8, contents="fp64_contents"),
        Datatype("BYTES", "text", contents="bytes_contents"),
    )
}

DATATYPE_OF: dict[ColumnType, Datatype] = {
    "boolean": DATATYPES["BOOL"],
    "integer": DATATYPES["INT32"],
    "long": DATATYPES["INT64"],
    "float": DATATYPES["FP32"],
    "double": DATATYPES["FP64"],
    "string": DATATYPES["BYTES"],
    "datetime": DATATYPES["BYTES"],
}
"""The data type under which a column is published."""


def shown(name: str) -> str:
    """A caller's own text as it may stand in an error."""
    return name if len(name) <= _MOST_NAMED else name[:_MOST_NAMED] + "..."


def unpack(datatype: Datatype, data: Buffer, count: int, where: str) -> Sequence[Any]:
    """The values of a raw tensor; raises InvalidInput, naming `where`, unless it holds just `count`."""
    if datatype.kind == "text":
        return _unpack_text(data, count, where)
    if len(data) != count * datatype.size:
        raise InvalidInput(
            f"{where}: {count} values of {datatype.name} are {count * datatype.size} bytes, got {len(data)}"
        )
    if datatype.kind == "bool" and max(data) > 1:
        raise InvalidInput(f"{where}: a BOOL is a byte of 0 or 1")
    return struct.unpack(f"<{count}{datatype.code}", data)


def pack(datatype: Datatype, values: Sequence[Any]) -> bytes:
    """The raw tensor of values that the data type can hold."""
    if datatype.kind == "text":
        return b"".join(_framed(value.encode(errors="replace") for value in values))
    return struct.pack(f"<{len(values)}{datatype.code}", *values)


def text(data: Buffer, where: str) -> str:
    """An element of BYTES; raises InvalidInput unless it is UTF-8."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{where}: expected text in UTF-8") from None


def _unpack_text(data: Buffer, count: int, where: str) -> list[str]:
    values = []
    position, end = 0, len(data)
    for index in range(count):
        start = position + _LENGTH.size
        if start > end:
            raise InvalidInput(f"{where}: the shape says {count} elements, the data ends after {index}")
        position = start + _LENGTH.unpack_from(data, position)[0]
        if position > end:
            raise InvalidInput(
                f"{where}[{index}]: an element of {position - start} bytes does not fit the data"
            )
        values.append(text(data[start:position], f"{where}[{index}]"))
    if position != end:
        raise InvalidInput(f"{where}: {end - position} bytes too many for {count} elements")
    return values


def _framed(elements: Iterable[bytes]) -> Iterable[bytes]:
    for element in elements:
        yield _LENGTH.pack(len(element))
        yield element

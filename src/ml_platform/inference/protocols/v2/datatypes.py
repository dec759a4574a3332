"""The protocol's data types: their ranges, and their values to and from raw bytes.

What is wrong with a tensor is said by its place within it (BadTensorError); `inputs` puts its name before.

Raw tensors are little-endian and row-major; an element of BYTES is its length in four bytes, then its bytes.
BF16 has no Python value and is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ml_platform.contracts.bundles import ColumnType

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


class BadTensorError(ValueError):
    """A tensor that is not what it says; `place` is within the tensor, such as `.data[3]`."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}")


def unpack(datatype: Datatype, data: Buffer, count: int) -> Sequence[Any]:
    """The values of a raw tensor; raises BadTensorError unless it holds just `count`."""
    if datatype.kind == "text":
        return _unpack_text(bytes(data), count)
    if len(data) != count * datatype.size:
        raise BadTensorError(
            ".data", f"{count} values of {datatype.name} are {count * datatype.size} bytes, got {len(data)}"
        )
    if datatype.kind == "bool" and max(data) > 1:
        raise BadTensorError(".data", "a BOOL is a byte of 0 or 1")
    return struct.unpack(f"<{count}{datatype.code}", data)


def texts(elements: Iterable[bytes], place: str) -> list[str]:
    """The elements of BYTES as text; raises BadTensorError unless they are UTF-8."""
    values: list[str] = []
    try:
        for element in elements:
            values.append(element.decode())  # noqa: PERF401 - its length says which one is bad
    except UnicodeDecodeError:
        raise BadTensorError(f"{place}[{len(values)}]", "expected text in UTF-8") from None
    return values


def pack(datatype: Datatype, values: Sequence[Any]) -> bytes:
    """The raw tensor of values that the data type can hold."""
    if datatype.kind == "text":
        return b"".join(_framed(value.encode(errors="replace") for value in values))
    return struct.pack(f"<{len(values)}{datatype.code}", *values)


def _unpack_text(data: bytes, count: int) -> list[str]:
    if count == 1 and int.from_bytes(data[:4], "little") == len(data) - 4:  # the usual case, at once
        return texts((data[4:],), ".data")
    elements = []
    position, end = 0, len(data)
    for index in range(count):
        start = position + 4
        if start > end:
            raise BadTensorError(".data", f"the shape says {count} elements, the data ends after {index}")
        position = start + int.from_bytes(data[position:start], "little")
        if position > end:
            size = position - start
            raise BadTensorError(f".data[{index}]", f"an element of {size} bytes does not fit the data")
        elements.append(data[start:position])
    if position != end:
        raise BadTensorError(".data", f"{end - position} bytes too many for {count} elements")
    return texts(elements, ".data")


def _framed(elements: Iterable[bytes]) -> Iterable[bytes]:
    for element in elements:
        yield _LENGTH.pack(len(element))
        yield element

"""What goes into an ONNX graph, read from the file without loading the graph.

A model that is not in memory must still know its input types: its requests are decoded before it is
loaded, and refused without loading it. Only the fields on the way are visited; weights and nodes are
skipped by their length, so that it takes as long for a gigabyte as for a kilobyte.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from ml_platform.contracts.bundles import BundleError

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_SPARSE = 5, 11, 15
_TENSOR_NAME = 8
_SPARSE_VALUES = 1
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENT = 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ELEMENTS = {
    1: "float",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "double",
    12: "uint32",
    13: "uint64",
}

_Span = tuple[int, int]


def graph_inputs(path: Path) -> dict[str, str]:
    """The types of the inputs by name, as ONNX Runtime writes them: `tensor(float)`.

    Raises:
        BundleError: when the file cannot be read or is no ONNX model.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _inputs(data)
    except (OSError, ValueError, IndexError) as error:  # ValueError: an empty file cannot be mapped
        raise BundleError(f"{path.name} is not an ONNX model: {error}") from error


def _inputs(data: mmap.mmap) -> dict[str, str]:
    inputs: dict[str, str] = {}
    constants: set[str] = set()
    for graph in _spans(data, (0, len(data)), _MODEL_GRAPH):
        for number, span in _fields(data, graph):
            if number == _GRAPH_INPUT and isinstance(span, tuple):
                inputs[_text(data, span, _VALUE_NAME)] = _type(data, span)
            elif number == _GRAPH_INITIALIZER and isinstance(span, tuple):
                constants.add(_text(data, span, _TENSOR_NAME))
            elif number == _GRAPH_SPARSE and isinstance(span, tuple):
                constants.update(_text(data, s, _TENSOR_NAME) for s in _spans(data, span, _SPARSE_VALUES))
    if not inputs:
        raise BundleError("model.onnx is not an ONNX model: its graph has no inputs")
    return {name: kind for name, kind in inputs.items() if name not in constants}


def _type(data: mmap.mmap, value: _Span) -> str:
    for kind in _spans(data, value, _VALUE_TYPE):
        for tensor in _spans(data, kind, _TYPE_TENSOR):
            for number, element in _fields(data, tensor):
                if number == _TENSOR_ELEMENT and isinstance(element, int):
                    return f"tensor({_ELEMENTS.get(element, f'type {element}')})"
    return "no tensor"


def _text(data: mmap.mmap, span: _Span, wanted: int) -> str:
    for start, end in _spans(data, span, wanted):
        return data[start:end].decode()
    return ""


def _spans(data: mmap.mmap, span: _Span, wanted: int) -> Iterator[_Span]:
    for number, value in _fields(data, span):
        if number == wanted and isinstance(value, tuple):
            yield value


def _fields(data: mmap.mmap, span: _Span) -> Iterator[tuple[int, _Span | int]]:
    """The fields of a message: number, and the span of what has a length or the value of a varint."""
    position, end = span
    while position < end:
        key, position = _varint(data, position, end)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(data, position, end)
            yield number, value
        elif wire == _BYTES:
            length, position = _varint(data, position, end)
            if length > end - position:
                raise ValueError("a field is longer than what holds it")
            yield number, (position, position + length)
            position += length
        elif wire in {_FIXED64, _FIXED32}:
            position += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"a field of wire type {wire}")


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    result = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, position
        shift += 7
    raise ValueError("a number does not end")

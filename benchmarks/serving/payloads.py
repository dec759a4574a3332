"""One customer in the words of each protocol, and the probability in each protocol's answer."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from ml_platform.contracts.bundles import Column

DATATYPES = {"string": "BYTES", "long": "INT64", "double": "FP64"}


@dataclass(frozen=True)
class Form:
    """How a customer is asked for over HTTP.

    `body` makes a request's body of a row; `read` finds the probability of churn in an answer, of which
    binary forms are also given the headers. A form without `read` is not checked.
    """

    path: str
    body: Callable[[dict], bytes]
    read: Callable[[bytes, dict], float] | None
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    headers_of: Callable[[bytes], dict[str, str]] = lambda _: {}

    def headers_for(self, body: bytes) -> dict[str, str]:
        return {**self.headers, **self.headers_of(body)}

    def with_headers(self, **more: str) -> "Form":
        return Form(self.path, self.body, self.read, {**self.headers, **more}, self.headers_of)

    def request(self, row: dict, port: int) -> bytes:
        """The whole request as it goes over the wire."""
        body = self.body(row)
        headers = {"Host": f"127.0.0.1:{port}", **self.headers_for(body), "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body


def as_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def last_number(body: bytes, _: dict) -> float:
    """The last number of an answer: of two probabilities the second, and of one the only."""
    found = json.loads(body)
    while isinstance(found, list | dict):
        found = found[-1] if isinstance(found, list) else list(found.values())[-1]
    return float(found)


def v2_output(body: bytes, _: dict) -> float:
    output = json.loads(body)["outputs"][0]
    data = output["data"]
    return float(data[-1][-1] if isinstance(data[-1], list) else data[-1])


def flat(path: str = "/predict") -> Form:
    return Form(path, as_json, last_number)


def records(path: str, key: str) -> Form:
    return Form(path, lambda row: as_json({key: [row]}), last_number)


def v2_json(
    path: str, columns: tuple[Column, ...], *, output: str | None = None, pandas: bool = False
) -> Form:
    """The Open Inference Protocol's JSON. `pandas` adds the hints by which MLServer builds a frame."""

    def body(row: dict) -> bytes:
        inputs = [
            {"name": c.name, "shape": [1, 1], "datatype": DATATYPES[c.type], "data": [row[c.name]]}
            for c in columns
        ]
        request: dict = {"inputs": inputs}
        if pandas:
            request["parameters"] = {"content_type": "pd"}
            for one in inputs:
                if one["datatype"] == "BYTES":
                    one["parameters"] = {"content_type": "str"}
        if output is not None:
            request["outputs"] = [{"name": output}]
        return as_json(request)

    return Form(path, body, v2_output)


def v2_binary(path: str, columns: tuple[Column, ...]) -> Form:
    """The same with its binary tensor extension; the answer is asked for in JSON."""

    def body(row: dict) -> bytes:
        raw = [_raw(row[c.name], c.type) for c in columns]
        inputs = [
            {
                "name": c.name, "shape": [1, 1], "datatype": DATATYPES[c.type],
                "parameters": {"binary_data_size": len(one)},
            }
            for c, one in zip(columns, raw, strict=True)
        ]  # fmt: skip
        return as_json({"inputs": inputs, "parameters": {"binary_data_output": False}}) + b"".join(raw)

    def headers(body: bytes) -> dict[str, str]:
        json_length = body.index(b'"binary_data_output":false}}') + len(b'"binary_data_output":false}}')
        return {"Inference-Header-Content-Length": str(json_length)}

    return Form(path, body, v2_output, {"Content-Type": "application/octet-stream"}, headers)


GRPC_INFER = "/inference.GRPCInferenceService/ModelInfer"


def grpc_infer(
    name: str, row: dict, columns: tuple[Column, ...], parameters: dict | None = None, *, typed: bool = False
) -> bytes:
    """A `ModelInferRequest`, encoded by hand: 19 inputs of shape [1, 1], their contents raw or typed.

    `parameters` are strings, under "request" for the request and under a column's type for its inputs.
    """
    hints = parameters or {}
    message = _field(1, name.encode()) + _parameters(4, hints.get("request", {}))
    for column in columns:
        tensor = _field(1, column.name.encode()) + _field(2, DATATYPES[column.type].encode())
        tensor += _field(3, b"\x01\x01") + _parameters(4, hints.get(column.type, {}))
        if typed:
            tensor += _field(5, _typed(row[column.name], column.type))
        message += _field(5, tensor)
    if typed:
        return message
    return message + b"".join(_field(7, _raw(row[column.name], column.type)) for column in columns)


def grpc_probability(message: bytes) -> float:
    """The last number of the first output of a `ModelInferResponse`, typed or raw."""
    output, raw = b"", b""
    for number, value in _fields(message):
        if number == 5 and not output:
            output = value
        if number == 6 and not raw:
            raw = value
    parts = dict(_fields(output))
    kind = parts[2].decode()
    width, code = {"FP64": (8, "<d"), "FP32": (4, "<f")}[kind]
    packed = raw or dict(_fields(parts[5]))[7 if kind == "FP64" else 6]
    return struct.unpack(code, packed[-width:])[0]


def _raw(value, kind: str) -> bytes:
    if kind == "string":
        data = value.encode()
        return struct.pack("<I", len(data)) + data
    return struct.pack("<q" if kind == "long" else "<d", value)


def _typed(value, kind: str) -> bytes:
    if kind == "string":
        return _field(8, value.encode())
    return _field(3, _varint(value)) if kind == "long" else _field(7, struct.pack("<d", value))


def _parameters(number: int, parameters: dict[str, str]) -> bytes:
    entries = (_field(1, k.encode()) + _field(2, _field(3, v.encode())) for k, v in parameters.items())
    return b"".join(_field(number, entry) for entry in entries)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _fields(message: bytes):
    """Pairs of a field's number and its bytes; fixed and varint fields as their raw value."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        tag = varint()
        kind = tag & 7
        length = {1: 8, 5: 4}.get(kind)
        if kind == 0:
            yield tag >> 3, varint()
            continue
        if length is None:
            length = varint()
        yield tag >> 3, message[place : place + length]
        place += length

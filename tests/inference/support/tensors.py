"""Tensors as a caller of the Open Inference Protocol writes them, and models that answer with them."""

import json
import struct
from pathlib import Path
from typing import Any

import httpx
from onnx import TensorProto, helper

from ml_platform.contracts.bundles import Column, ColumnType, OnnxGraph, Signature

from .bundles import Bundle, write_bundle
from .control import CALLER
from .server import Server

KINDS = {
    "boolean": ("BOOL", "?"),
    "integer": ("INT32", "i"),
    "long": ("INT64", "q"),
    "float": ("FP32", "f"),
    "double": ("FP64", "d"),
    "string": ("BYTES", ""),
}
TYPES = (
    ("flag", "BOOL", [True, False]),
    ("small", "INT32", [1, -2]),
    ("big", "INT64", [2, 2**53 + 1]),
    ("ratio", "FP32", [0.5, -1.25]),
    ("amount", "FP64", [4.5, 5.5]),
    ("label", "BYTES", ["a", "Ⅻ\u202e🦄\0é"]),
)
_ONNX = {
    "boolean": TensorProto.BOOL,
    "integer": TensorProto.INT32,
    "long": TensorProto.INT64,
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "string": TensorProto.STRING,
}


def tensor(name: str, datatype: str, values: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(values)], "data": values}


def raw(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        parts = [value if isinstance(value, bytes) else value.encode() for value in values]
        return b"".join(struct.pack("<I", len(part)) + part for part in parts)
    code = {"FP16": "e", "INT8": "b", "UINT8": "B", "INT16": "h", "UINT16": "H", "UINT32": "I", "UINT64": "Q"}
    return struct.pack(f"<{len(values)}{code.get(datatype) or dict(KINDS.values())[datatype]}", *values)


def types_inputs(rows: int = 2, **changes: Any) -> list[dict[str, Any]]:
    """Inputs of the bundle with a column of each type; None leaves one out."""
    inputs = [tensor(name, datatype, values[:rows]) for name, datatype, values in TYPES]
    changed = [changes.get(str(each["name"]), each) for each in inputs]
    return [each for each in changed if each is not None]


def binary_body(inputs: list[dict[str, Any]], **more: Any) -> tuple[bytes, dict[str, str]]:
    """The binary form of inputs, and the header that says where it begins."""
    heads, parts = [], []
    for each in inputs:
        data = each["data"] if isinstance(each["data"], bytes) else raw(each["datatype"], each["data"])
        head = {key: value for key, value in each.items() if key != "data"}
        heads.append(head | {"parameters": {"binary_data_size": len(data)}})
        parts.append(data)
    text = json.dumps({"inputs": heads, **more}).encode()
    return text + b"".join(parts), {"inference-header-content-length": str(len(text))}


class RestCaller:
    """Asks a server over V2 as the caller of team acme."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def infer(self, inputs: Any, model: str = "types", **more: Any) -> httpx.Response:
        return self.post(json.dumps({"inputs": inputs, **more}).encode(), model)

    def post(
        self, body: bytes, model: str = "types", token: str | None = CALLER, **headers: str
    ) -> httpx.Response:
        return self.post_to(f"/v2/models/{model}/infer", body, token, **headers)

    def post_to(self, path: str, body: bytes, token: str | None = CALLER, **headers: str) -> httpx.Response:
        sent = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        return self.server.client.post(self.server.base + path, content=body, headers=sent)


def build_echo(directory: Path, kind: ColumnType, width: int = 1, **manifest: Any) -> Bundle:
    """A graph that answers with its input: one column of a type, or a matrix of several."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["value"], ["echo"])],
        "echo",
        [helper.make_tensor_value_info("value", _ONNX[kind], [None, width])],
        [helper.make_tensor_value_info("echo", _ONNX[kind], [None, width])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    names = ["value"] if width == 1 else [str(index) for index in range(width)]
    columns = tuple(Column(name=name, type=kind) for name in names)
    return write_bundle(
        directory,
        {"model.onnx": model.SerializeToString()},
        runtime="onnx",
        signature=Signature(
            inputs=columns,
            outputs=manifest.pop("outputs", ()),
            layout="columns" if width == 1 else "tensor",
        ),
        task="other",
        onnx=OnnxGraph(inputs="columns" if width == 1 else "matrix", prediction="echo"),
        **manifest,
    )

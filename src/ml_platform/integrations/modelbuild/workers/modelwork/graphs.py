"""ONNX graphs while they are made and compared."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .originals import Unconvertible
from .table import Table

ML_DOMAIN = "ai.onnx.ml"
OPSET = {"": 17, ML_DOMAIN: 3}
"""Old enough for every ONNX Runtime that serves, new enough for the converters."""

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


@dataclass(frozen=True)
class Graph:
    """A graph and what its outputs mean.

    Attributes:
        model: ONNX's `ModelProto`.
        prediction: the output's name; without one, the first.
        probabilities: the output's name, where there is one.
        as_matrix: whether one input holds all columns side by side.
        maker: who made it, with version.
    """

    model: Any
    as_matrix: bool
    maker: str
    prediction: str
    probabilities: str | None = None


class Session:
    """A graph in ONNX Runtime, fed with a table's columns."""

    def __init__(self, graph: Graph, data: bytes, table: Table) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the order of sums, and so the parity, is the same every time
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._inputs = [(node.name, _DTYPES[node.type]) for node in self._session.get_inputs()]
        self._table = table
        self._as_matrix = graph.as_matrix
        wanted = [graph.prediction, *([graph.probabilities] if graph.probabilities else [])]
        missing = set(wanted) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise Unconvertible(f"the graph gives no {missing.pop()}")
        self._wanted = wanted

    def run(self, values: list[Any]) -> list[Any]:
        """The prediction and, where there are any, the probabilities."""
        if self._as_matrix:
            ((name, dtype),) = self._inputs
            feed: dict[str, Any] = {name: np.stack(values, axis=1).astype(dtype)}
        else:
            by_name = dict(zip(self._table.names, values, strict=True))
            feed = {name: by_name[name].astype(dtype).reshape(-1, 1) for name, dtype in self._inputs}
        return list(self._session.run(self._wanted, feed))


def outputs_of(model: Any) -> list[str]:
    return [node.name for node in model.graph.output]


def with_column(model: Any, output: str, index: int) -> str:
    """Adds an output that is one column of another one; gives its name."""
    from onnx import TensorProto, helper

    name, place = f"{output}_{index}", f"{output}_place"
    graph = model.graph
    graph.initializer.append(helper.make_tensor(place, TensorProto.INT64, [1], [index]))
    graph.node.append(helper.make_node("Gather", [output, place], [name], axis=1))
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]))
    if not any(opset.domain in ("", "ai.onnx") for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", OPSET[""]))
    return name

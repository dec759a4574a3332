"""The churn graph on one thread, for the servers that are written by hand: BUNDLE names its directory."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort

_DTYPES = {"tensor(string)": np.object_, "tensor(int64)": np.int64, "tensor(float)": np.float32,
           "tensor(double)": np.float64}  # fmt: skip


class Graph:
    def __init__(self) -> None:
        bundle = Path(os.environ["BUNDLE"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(bundle / "model.onnx"), options)
        self._outputs = [json.loads((bundle / "bundle.json").read_text())["onnx"]["probabilities"]]
        self._inputs = [(node.name, _DTYPES[node.type]) for node in self._session.get_inputs()]
        self.names = [name for name, _ in self._inputs]
        self.types = [{np.object_: str, np.int64: int}.get(dtype, float) for _, dtype in self._inputs]

    def probabilities(self, rows: list[tuple]) -> list[float]:
        """Rows in the order of `names`."""
        columns = zip(self._inputs, zip(*rows, strict=True), strict=True)
        feed = {name: np.array(column, dtype).reshape(-1, 1) for (name, dtype), column in columns}
        return self._session.run(self._outputs, feed)[0][:, 1].tolist()

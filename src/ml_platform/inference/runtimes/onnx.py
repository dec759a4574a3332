"""ONNX Runtime, on one thread: small batches on the event loop's own, large ones on one beside it.

A single row takes about 20 microseconds, less than the hand-over to another thread would cost. How many
rows may run inline is measured when the model is loaded, so that a heavy graph never holds the loop up.

Sessions share what they can: with one thread each they start none, and without arenas of their own what
they free goes back to the one heap (a session of 450 kB of trees then takes 2.5 MB; pools or arenas that
are shared through ONNX Runtime's environment were measured to save nothing beyond that).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ml_platform.contracts.bundles import (
    ONNX_FILE,
    BundleError,
    BundleManifest,
    Column,
    FoldedGraph,
    OnnxGraph,
)
from ml_platform.inference.decoding import InputColumn, Row
from ml_platform.inference.errors import ModelFailed
from ml_platform.inference.runtimes.base import PLAIN, Manner
from ml_platform.inference.runtimes.feeding import ColumnFeeder, Feeder, FoldedFeeder, MatrixFeeder
from ml_platform.inference.runtimes.memory import allocated, give_back
from ml_platform.inference.runtimes.onnx_graph import graph_inputs

_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_INLINE_SECONDS = 0.002
_INLINE_CHOICES = (64, 32, 16, 8, 4, 2, 1)
_EXAMPLE = {"boolean": False, "integer": 0, "long": 0, "float": 0.0, "double": 0.0, "string": ""}


class OnnxRuntime:
    """One graph. Raises BundleError when the graph does not fit what the manifest says of it."""

    def __init__(
        self, directory: Path, manifest: BundleManifest, executor: ThreadPoolExecutor, size: int = 0
    ) -> None:
        if manifest.onnx is None:
            raise BundleError("onnx: missing")
        before = allocated()
        self._executor = executor
        folded = manifest.onnx.folded
        self._session = _open(directory / (folded.file if folded is not None else ONNX_FILE))
        # Without the wrapper's checks of the names, which are ours: an eighth of the time of a single row.
        self._run = getattr(self._session, "_sess", self._session).run
        self._probability = manifest.output == "probability"
        wanted = manifest.onnx.probabilities if self._probability else manifest.onnx.prediction
        outputs = [output.name for output in self._session.get_outputs()]
        if wanted not in outputs:
            raise BundleError(f"onnx: the graph has no output {wanted!r}, only {', '.join(outputs)}")
        self._outputs = [wanted]
        self._dtypes = _input_types(manifest, self._inputs(directory, folded))
        self._feeder = self._feeder_for(manifest.onnx)
        self.columns = tuple(_input_column(column, dtype) for column, dtype in self._dtypes)
        self._fills = [
            (i, column.missing if column.missing is not None else float("nan"))
            for i, (column, _) in enumerate(self._dtypes)
            if self.columns[i].nullable
        ]
        self.inline_rows = self._measure()
        self._memory = max(allocated() - before, size)
        give_back()  # what only opening it took

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        try:
            result = self._run(self._outputs, self._feed(rows), None)[0]
        except Exception as error:
            # ONNX Runtime raises its own classes, plain RuntimeError and ValueError alike.
            raise ModelFailed(f"the model failed: {type(error).__name__}: {_first_line(error)}") from error
        return self._answers(result, len(rows))

    async def predict_apart(self, rows: Sequence[Row], manner: Manner = PLAIN) -> list[Any]:  # noqa: ARG002
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.predict, rows)

    def refusal(self, busy: bool) -> None:  # noqa: ARG002 - a graph is there as long as its worker
        return None

    def renew(self) -> None:
        """Nothing: a graph does not grow."""

    def memory(self) -> int:
        """What this process allocated when the session was opened and tried; at least its files' size."""
        return self._memory

    async def close(self) -> None:
        """Lets go of the session and gives its memory back, beside the loop."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._release)

    def _inputs(self, directory: Path, folded: FoldedGraph | None) -> dict[str, str]:
        """The inputs of the graph that takes the signature's columns, with their types."""
        nodes = {node.name: node.type for node in self._session.get_inputs()}
        if folded is None:
            return nodes
        expected = {item.name: "tensor(float)" for item in folded.inputs}
        if nodes != expected:
            raise BundleError("onnx.folded: the graph's inputs are not those that the manifest names")
        return graph_inputs(directory / ONNX_FILE)

    def _feeder_for(self, graph: OnnxGraph) -> Feeder:
        if graph.folded is not None:
            return FoldedFeeder(graph.folded)
        if graph.inputs == "matrix":
            (node,) = self._session.get_inputs()
            return MatrixFeeder(node.name, len(self._dtypes), self._dtypes[0][1])
        return ColumnFeeder([(column.name, dtype) for column, dtype in self._dtypes])

    def _release(self) -> None:
        self._session = self._run = None
        give_back()

    def _feed(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Single rows come from the loop alone, or all from the one thread beside it."""
        if self._fills:
            rows = [self._filled(row) for row in rows]
        return self._feeder.one(rows[0]) if len(rows) == 1 else self._feeder.many(rows)

    def _filled(self, row: Row) -> Row:
        for index, fill in self._fills:
            if row[index] is None:
                row = (*row[:index], fill, *row[index + 1 :])
        return row

    def _answers(self, result: Any, count: int) -> list[Any]:
        if not isinstance(result, np.ndarray) or result.ndim == 0 or result.shape[0] != count:
            raise ModelFailed("the model did not give one prediction for each instance")
        if self._probability:
            if result.ndim != 2 or result.shape[1] != 2:
                raise ModelFailed("the model did not give the probabilities of two classes")
            return result[:, 1].tolist()  # type: ignore[no-any-return]
        if result.ndim == 2 and result.shape[1] == 1:
            result = result[:, 0]
        return result.tolist()  # type: ignore[no-any-return]

    def _measure(self) -> int:
        """The largest batch that takes less than the time for which the loop may be held."""
        example = tuple(column.missing or _EXAMPLE[column.type] for column, _ in self._dtypes)
        try:
            for rows in _INLINE_CHOICES:
                batch = [example] * rows
                self.predict(batch)
                if min(self._timed(batch) for _ in range(5)) <= _INLINE_SECONDS:
                    return rows
        except ModelFailed:
            return 0  # it may merely dislike the example; then it has no say in the loop's time
        return 0

    def _timed(self, batch: Sequence[Row]) -> float:
        started = time.perf_counter()
        self.predict(batch)
        return time.perf_counter() - started


def _open(path: Path) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # several threads cost three times the CPU on small batches
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # hundreds of models in one process: arenas are never given back
    try:
        return ort.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"model.onnx cannot be loaded: {_first_line(error)}") from error


def input_columns(manifest: BundleManifest, inputs: Mapping[str, str]) -> tuple[InputColumn, ...]:
    """The inputs as the decoder must enforce them, for a graph with inputs of these types.

    Raises:
        BundleError: when the graph does not fit the signature.
    """
    return tuple(_input_column(column, dtype) for column, dtype in _input_types(manifest, inputs))


def _input_types(manifest: BundleManifest, inputs: Mapping[str, str]) -> list[tuple[Column, Any]]:
    columns = manifest.signature.inputs
    if manifest.onnx is not None and manifest.onnx.inputs == "matrix":
        if len(inputs) != 1:
            raise BundleError(f"onnx: a matrix graph has one input, this has {len(inputs)}")
        (kind,) = inputs.values()
        if kind not in _DTYPES:
            raise BundleError(f"onnx: inputs of type {kind} are not supported")
        return [(column, _checked(column, _DTYPES[kind], kind)) for column in columns]
    names = {column.name for column in columns}
    if set(inputs) != names:
        odd = sorted(set(inputs) ^ names)
        raise BundleError(f"onnx: the graph's inputs are not the signature's columns: {', '.join(odd[:5])}")
    return [(c, _checked(c, _DTYPES.get(inputs[c.name]), inputs[c.name])) for c in columns]


def _checked(column: Column, dtype: Any, graph_type: str) -> Any:
    if dtype is None or column.type == "datetime" or (column.type == "string") != (dtype is np.object_):
        raise BundleError(f"onnx: column {column.name!r} is {column.type}, its graph input is {graph_type}")
    if column.type in {"float", "double"} and dtype not in {np.float32, np.float64}:
        raise BundleError(f"onnx: column {column.name!r} is {column.type}, its graph input is {graph_type}")
    return dtype


def _input_column(column: Column, dtype: Any) -> InputColumn:
    # A graph has no null: an optional column is one only where something can stand for it.
    nullable = not column.required and (column.missing is not None or dtype in {np.float32, np.float64})
    kind = "integer" if column.type == "long" and dtype is np.int32 else column.type
    return InputColumn(column.name, kind, nullable=nullable, narrow=dtype is np.float32)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]

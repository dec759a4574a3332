"""Graphs of PyTorch modules, by PyTorch's own exporter."""

import importlib.metadata
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .graphs import Graph
from .originals import Original, Unconvertible
from .table import NUMERIC, Table

_OPSET = 18
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_EXAMPLE_ROWS = 8


def graphs(model: Any, original: Original, table: Table) -> Iterator[Callable[[], Graph]]:
    if not (table.matrix or table.has_only(*NUMERIC, "boolean")):
        raise Unconvertible("a module whose columns are not all numbers does not convert")
    yield lambda: _export(model, original, table)


def _export(model: Any, _: Original, table: Table) -> Graph:
    import torch

    rows = table.frame()
    array = rows if table.matrix else rows.to_numpy(dtype=np.float32)  # as MLflow does
    # At least two rows: one alone would be taken for a dimension that is always one.
    example = torch.from_numpy(np.ascontiguousarray(np.resize(array, (_EXAMPLE_ROWS, array.shape[1]))))
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                input_names=["input"],
                output_names=["prediction"],
                opset_version=_OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        raise Unconvertible(f"PyTorch cannot export it: {_said(error)}") from error
    made = program.model_proto
    if len(made.graph.output) != 1:
        raise Unconvertible(f"the module gives {len(made.graph.output)} outputs, where one is served")
    return Graph(
        model=_bare(made),
        as_matrix=True,
        maker=f"torch.onnx {importlib.metadata.version('torch')}",
        prediction=made.graph.output[0].name,
    )


def _said(error: BaseException) -> str:
    """What was at the bottom of it; above that stand the exporter's own hints."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {_COLOURS.sub('', first)[:300]}"


def _bare(model: Any) -> Any:
    """Without what the exporter notes of where the code stood: equal modules give equal graphs."""
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    for scope in (model.graph, *model.functions):
        scope.ClearField("metadata_props")
        scope.ClearField("doc_string")
        for part in (
            *scope.node,
            *scope.value_info,
            *getattr(scope, "input", ()),
            *getattr(scope, "output", ()),
        ):
            if not isinstance(part, str):  # a function's inputs are bare names
                part.ClearField("metadata_props")
                part.ClearField("doc_string")
    for tensor in model.graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")
    return model

"""Graphs of models with scikit-learn's interface: pipelines, and boosted trees alone or at a pipeline's end."""

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import trees
from .graphs import OPSET, Graph, outputs_of
from .originals import Original, Unconvertible
from .preparing import contains, exact_scalers, prepared, register_exact_imputer, scales_for_trees
from .table import NUMERIC, Table

_PRECISIONS = (("int64", "float"), ("float", "float"), ("int64", "double"), ("double", "double"))
"""Of integers and of other numbers, in a graph."""


def graphs(model: Any, original: Original, table: Table) -> Iterator[Callable[[], Graph]]:
    """The ways to convert it, in the order in which they are tried: the cheap ones first, unless they are unsafe."""
    if not hasattr(model, "get_params"):
        raise Unconvertible(f"{type(model).__name__} has no scikit-learn interface")
    trees.refuse_what_catboost_does_not_export(model)
    register_exact_imputer()
    trees.register(zeros_are_missing=trees.gives_sparse_rows(model, table))
    copied = prepared(model)
    # Without steps that pick columns by name all of them are one matrix, which is also the fastest graph.
    as_matrix = table.matrix or (table.has_only(*NUMERIC) and not contains(model, "ColumnTransformer"))
    ways = _PRECISIONS[::2] if as_matrix else _PRECISIONS
    exact_first = scales_for_trees(model)
    for integers, numbers in sorted(ways, key=lambda way: exact_first and way[1] != "double"):
        yield partial(_convert, copied, original, table, as_matrix, integers, numbers)


def _convert(
    model: Any, original: Original, table: Table, as_matrix: bool, integers: str, numbers: str
) -> Graph:
    from skl2onnx import convert_sklearn

    wanted = _inputs(table, as_matrix, integers, numbers)
    told = original.probabilities is not None
    options: dict[Any, dict[str, Any]] = exact_scalers() if numbers == "double" else {}
    if told:
        options[id(model)] = {"zipmap": False}
    graph = convert_sklearn(
        model, name="model", initial_types=wanted, options=options or None, target_opset=OPSET
    )
    _declare_single_precision(graph)
    names = outputs_of(graph)
    if told and len(names) < 2:
        raise Unconvertible("the graph gives no probabilities")
    return Graph(
        model=_with_all_inputs(graph, wanted),
        as_matrix=as_matrix,
        maker=_maker(),
        prediction=names[0],
        probabilities=names[1] if told else None,
    )


def _inputs(table: Table, as_matrix: bool, integers: str, numbers: str) -> list[tuple[str, Any]]:
    from skl2onnx.common import data_types as types

    kinds = {
        "int64": types.Int64TensorType,
        "float": types.FloatTensorType,
        "double": types.DoubleTensorType,
    }
    if as_matrix:
        return [("input", kinds[numbers]([None, len(table.columns)]))]
    by_type = {
        "string": types.StringTensorType,
        "boolean": types.BooleanTensorType,
        "integer": kinds[integers],
        "long": kinds[integers],
        "float": types.FloatTensorType,
        "double": kinds[numbers],
    }
    odd = [column["name"] for column in table.columns if column["type"] not in by_type]
    if odd:
        raise Unconvertible(f"column {odd[0]!r} is of a type that graphs cannot hold")
    return [(column["name"], by_type[column["type"]]([None, 1])) for column in table.columns]


def _with_all_inputs(graph: Any, wanted: list[tuple[str, Any]]) -> Any:
    """Columns that the model drops are inputs all the same: the signature names them."""
    from onnx import helper

    there = {node.name for node in graph.graph.input}
    for name, kind in wanted:
        if name not in there:
            element = kind.to_onnx_type().tensor_type.elem_type
            graph.graph.input.append(helper.make_tensor_value_info(name, element, [None, 1]))
    return graph


def _declare_single_precision(graph: Any) -> None:
    """What trees give is in single precision, also where their rows are not."""
    from onnx import TensorProto

    given = {name for node in graph.graph.node if node.op_type in trees.OPERATORS for name in node.output}
    for output in graph.graph.output:
        if output.name in given and output.type.tensor_type.elem_type == TensorProto.DOUBLE:
            output.type.tensor_type.elem_type = TensorProto.FLOAT


def _maker() -> str:
    there = [name for name in ("onnxmltools", "catboost") if name in sys.modules]
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("skl2onnx", *there))

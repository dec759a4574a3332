"""Takes the encoding of columns out of a graph, so that a server does it without running graph nodes.

Converters turn a pipeline into a graph that begins with a node for each column: casts, one-hot encoders and
the concatenations that put their results side by side. For one row those cost several times what the model
behind them does. A folded graph begins behind them: its inputs are matrices of floats, and a list of cells says
what stands where in them: a column's number, or a one for the category that a column has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

FEWEST_NODES = 4
"""Fewer nodes than this to be saved are not worth a second graph."""
MOST_WIDE = 20_000
_FLOAT = 1
_STRING, _INT64 = 8, 7


@dataclass(frozen=True)
class Atom:
    """One column of a tensor: an input's own value (`category` None), or whether it has a category."""

    column: str
    category: str | int | None = None


@dataclass(frozen=True)
class Known:
    """A tensor of which every column is known. `kind` is its element type, `rank` 3 for [rows, 1, columns]."""

    atoms: tuple[Atom, ...]
    kind: int
    rank: int = 2


def fold(model: Any, columns: Sequence[str]) -> tuple[Any, dict[str, Any]] | None:
    """The graph behind the encoding, and how its inputs are filled; None where that cannot be done.

    Args:
        model: a `ModelProto` with one input of shape [rows, 1] for each column.
        columns: the signature's, in order.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    inputs = {
        node.name: node.type.tensor_type.elem_type for node in graph.input if node.name not in constants
    }
    if set(inputs) != set(columns):
        return None
    known = {name: Known((Atom(name),), kind) for name, kind in inputs.items()}
    folded: set[int] = set()
    for index, node in enumerate(graph.node):
        outcome = _outcome(node, known, constants)
        if outcome is not None:
            known[node.output[0]] = outcome
            folded.add(index)
    left = [node for index, node in enumerate(graph.node) if index not in folded]
    border = list(dict.fromkeys(name for name in _needed(left, graph) if name in known))
    if len(folded) < FEWEST_NODES or not border or not all(_is_matrix(known[name]) for name in border):
        return None
    if sum(len(known[name].atoms) for name in border) > MOST_WIDE:
        return None
    return _graph_behind(model, left, border, known, constants), _filling(border, known, columns)


def _outcome(node: Any, known: dict[str, Known], constants: dict[str, Any]) -> Known | None:
    """What a node makes of known tensors; None when it is of another kind."""
    first = known.get(node.input[0]) if node.input else None
    if first is None or len(node.output) != 1:
        return None
    if node.op_type == "Identity":
        return first
    if node.op_type == "Cast":
        castable = first.kind != _STRING and _attribute(node, "to") == _FLOAT
        return Known(first.atoms, _FLOAT, first.rank) if castable else None
    if node.op_type == "OneHotEncoder":
        return _one_hot(node, first)
    if node.op_type == "Concat":
        return _side_by_side(node, known)
    if node.op_type == "Reshape":
        return _flat(first, constants.get(node.input[1]))
    if node.op_type == "Flatten":
        return Known(first.atoms, first.kind) if _attribute(node, "axis", 1) == 1 else None
    return None


def _one_hot(node: Any, given: Known) -> Known | None:
    """Of one raw column; a category that is not listed becomes zeros."""
    if len(given.atoms) != 1 or given.rank != 2 or _attribute(node, "zeros", 1) != 1:
        return None
    atom = given.atoms[0]
    categories: list[Any] = []
    if given.kind == _STRING:
        categories = [text.decode() for text in _attribute(node, "cats_strings", [])]
    elif given.kind == _INT64:
        categories = list(_attribute(node, "cats_int64s", []))
    if not categories or atom.category is not None or len(set(categories)) != len(categories):
        return None
    return Known(tuple(Atom(atom.column, category) for category in categories), _FLOAT, rank=3)


def _side_by_side(node: Any, known: dict[str, Known]) -> Known | None:
    parts = [known.get(name) for name in node.input]
    found = [part for part in parts if part is not None]
    if len(found) != len(parts):
        return None
    kinds, ranks = {part.kind for part in found}, {part.rank for part in found}
    if len(kinds) != 1 or len(ranks) != 1:
        return None
    (rank,), (kind,) = ranks, kinds
    if _attribute(node, "axis") not in (-1, rank - 1):
        return None
    return Known(tuple(atom for part in found for atom in part.atoms), kind, rank)


def _flat(given: Known, shape: Any) -> Known | None:
    """To [rows, columns], as the shape says when it is a constant."""
    if shape is None:
        return None
    from onnx import numpy_helper

    wanted = numpy_helper.to_array(shape).tolist()
    return (
        Known(given.atoms, given.kind) if wanted in ([-1, len(given.atoms)], [0, len(given.atoms)]) else None
    )


def _is_matrix(tensor: Known) -> bool:
    return tensor.kind == _FLOAT and tensor.rank == 2


def _needed(nodes: Sequence[Any], graph: Any) -> Iterator[str]:
    for node in nodes:
        yield from node.input
    for output in graph.output:
        yield output.name


def _graph_behind(
    model: Any,
    nodes: Sequence[Any],
    border: Sequence[str],
    known: dict[str, Known],
    constants: dict[str, Any],
) -> Any:
    from onnx import TensorProto, helper

    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        model.graph.name or "folded",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, len(known[name].atoms)])
            for name in border
        ],
        list(model.graph.output),
        [tensor for name, tensor in constants.items() if name in used],
    )
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    made.functions.extend(model.functions)
    return made


def _filling(border: Sequence[str], known: dict[str, Known], columns: Sequence[str]) -> dict[str, Any]:
    """The cells, in the order of the matrices side by side; categories that follow each other are one cell."""
    place = {name: index for index, name in enumerate(columns)}
    cells: list[dict[str, Any]] = []
    at = 0
    for name in border:
        for atom in known[name].atoms:
            last = cells[-1] if cells else None
            follows = (
                last is not None
                and atom.category is not None
                and last["categories"]
                and last["column"] == place[atom.column]
                and atom.category not in last["categories"]
                and last["at"] + len(last["categories"]) == at
            )
            if follows and last is not None:
                last["categories"].append(atom.category)
            else:
                categories = [] if atom.category is None else [atom.category]
                cells.append({"column": place[atom.column], "at": at, "categories": categories})
            at += 1
    widths = [{"name": name, "width": len(known[name].atoms)} for name in border]
    return {"inputs": widths, "cells": cells}


def _attribute(node: Any, name: str, default: Any = None) -> Any:
    from onnx import helper

    found = next((item for item in node.attribute if item.name == name), None)
    if found is None:
        return default
    value = helper.get_attribute_value(found)
    return list(value) if isinstance(default, list) else value

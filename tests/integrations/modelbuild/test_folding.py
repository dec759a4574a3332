"""A graph without the encoding of its columns gives the same answers to every row, seen or not."""

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ml_platform.inference.runtimes.onnx import OnnxRuntime
from ml_platform.integrations.modelbuild import BuildResult
from ml_platform.integrations.modelbuild.workers.folding import fold
from tests.integrations.modelbuild.test_builder import manifest_of


@pytest.fixture
def runtimes(churn_bundle: BuildResult):
    """The folded graph and the whole one, as the inference plane opens them."""
    manifest = manifest_of(churn_bundle.directory)
    assert manifest.onnx is not None
    whole = msgspec.structs.replace(manifest, onnx=msgspec.structs.replace(manifest.onnx, folded=None))
    with ThreadPoolExecutor(1) as executor:
        made = [OnnxRuntime(churn_bundle.directory, form, executor) for form in (manifest, whole)]
        yield made
        for runtime in made:
            asyncio.run(runtime.close())


class TestTheChurnPipeline:
    def test_is_folded_to_one_matrix_before_its_trees(self, churn_bundle: BuildResult) -> None:
        manifest = manifest_of(churn_bundle.directory)
        assert manifest.onnx is not None
        assert manifest.onnx.folded is not None
        graph = onnx.load(churn_bundle.directory / manifest.onnx.folded.file).graph
        assert len(graph.input) == 1
        assert not {"OneHotEncoder", "Concat", "Cast"} & {node.op_type for node in graph.node[:-3]}

    def test_answers_every_row_as_the_whole_graph_does(self, runtimes: list[OnnxRuntime]) -> None:
        folded, whole = runtimes
        assert folded.columns == whole.columns
        genders, contracts = ["Male", "Female", "", "?"], ["Month-to-month", "Two year", "none at all"]
        numbers = [0, 1, 72, -5, 2**31 - 1]
        rows = [
            (gender, contract, "card", senior, tenure, charge)
            for gender, contract, senior, tenure, charge in itertools.product(
                genders, contracts, (0, 1), numbers, (0.0, 18.25, 1e30)
            )
        ]
        assert folded.predict(rows) == whole.predict(rows)
        for row in rows[::17]:
            assert folded.predict([row]) == whole.predict([row])


def graph(*nodes: Any, columns: dict[str, int], output: str = "y", width: int = 1, initial: Any = ()) -> Any:
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in columns.items()],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, width])],
        list(initial),
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def hot(name: str, **attributes: Any) -> Any:
    given = {"cats_strings": ["a", "b"], "zeros": 1} | attributes
    return helper.make_node("OneHotEncoder", [name], [f"{name}_hot"], domain="ai.onnx.ml", **given)


def cast(name: str, to: int = TensorProto.FLOAT) -> Any:
    return helper.make_node("Cast", [name], [f"{name}_cast"], to=to)


FLAT = helper.make_tensor("flat", TensorProto.INT64, [2], [-1, 2])
TAIL = (
    helper.make_node("Reshape", ["s_hot", "flat"], ["s_flat"]),
    helper.make_node("Concat", ["s_flat", "n_cast", "m_cast"], ["all"], axis=1),
    helper.make_node("ReduceSum", ["all"], ["y"], keepdims=1, noop_with_empty_axes=0),
)
COLUMNS = {"n": TensorProto.INT64, "s": TensorProto.STRING, "m": TensorProto.DOUBLE}


class TestFolding:
    def test_gives_the_cells_in_the_order_of_the_matrix(self) -> None:
        model = graph(hot("s"), cast("n"), cast("m"), *TAIL, columns=COLUMNS, initial=[FLAT])
        found = fold(model, list(COLUMNS))
        assert found is not None
        made, filling = found
        onnx.checker.check_model(made)
        assert [node.op_type for node in made.graph.node] == ["ReduceSum"]
        assert filling == {
            "inputs": [{"name": "all", "width": 4}],
            "cells": [
                {"column": 1, "at": 0, "categories": ["a", "b"]},
                {"column": 0, "at": 2, "categories": []},
                {"column": 2, "at": 3, "categories": []},
            ],
        }

    @pytest.mark.parametrize(
        "first",
        [
            hot("s", zeros=0),  # an unknown category is an error there
            hot("s", cats_strings=["a", "a"]),
            helper.make_node(
                "LabelEncoder", ["s"], ["s_hot"], domain="ai.onnx.ml", keys_strings=["a"], values_floats=[1.0]
            ),
        ],
        ids=["an error for the unknown", "a category twice", "another encoder"],
    )
    def test_leaves_what_it_does_not_know(self, first: Any) -> None:
        model = graph(first, cast("n"), cast("m"), *TAIL, columns=COLUMNS, initial=[FLAT])
        assert fold(model, list(COLUMNS)) is None

    def test_leaves_a_cast_to_something_else(self) -> None:
        model = graph(
            hot("s"), cast("n", TensorProto.DOUBLE), cast("m"), *TAIL, columns=COLUMNS, initial=[FLAT]
        )
        assert fold(model, list(COLUMNS)) is None

    def test_leaves_a_graph_with_little_to_save(self) -> None:
        nodes = (cast("n"), helper.make_node("Identity", ["n_cast"], ["y"]))
        assert fold(graph(*nodes, columns={"n": TensorProto.INT64}), ["n"]) is None

    def test_leaves_a_graph_of_other_inputs(self) -> None:
        model = graph(hot("s"), cast("n"), cast("m"), *TAIL, columns=COLUMNS, initial=[FLAT])
        assert fold(model, ["n", "s"]) is None

    def test_keeps_what_else_reads_an_encoded_column(self) -> None:
        more = helper.make_node("ReduceSum", ["n_cast"], ["z"], keepdims=1)
        tail = (*TAIL[:2], helper.make_node("ReduceSum", ["all"], ["w"], keepdims=1), more)
        last = helper.make_node("Add", ["w", "z"], ["y"])
        model = graph(hot("s"), cast("n"), cast("m"), *tail, last, columns=COLUMNS, initial=[FLAT])
        found = fold(model, list(COLUMNS))
        assert found is not None
        assert [item["name"] for item in found[1]["inputs"]] == ["all", "n_cast"]
        assert np.sum([item["width"] for item in found[1]["inputs"]]) == 5

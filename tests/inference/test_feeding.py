"""Rows become the arrays that a graph takes; a folded graph gets what its encoders would have made."""

import numpy as np
import pytest

from ml_platform.contracts.bundles import FoldedCell, FoldedGraph, FoldedInput
from ml_platform.inference.runtimes.feeding import ColumnFeeder, FoldedFeeder, MatrixFeeder

FOLDED = FoldedGraph(
    file="folded.onnx",
    inputs=(FoldedInput(name="left", width=4), FoldedInput(name="right", width=2)),
    cells=(
        FoldedCell(column=0, at=0),
        FoldedCell(column=1, at=1, categories=("a", "b", "c")),
        FoldedCell(column=2, at=4, categories=(7,)),
        FoldedCell(column=0, at=5),
    ),
)
ROWS = [(1.5, "b", 7), (float("nan"), "unknown", 8), (2.0, "a", 7)]
LEFT = np.array([[1.5, 0, 1, 0], [np.nan, 0, 0, 0], [2.0, 1, 0, 0]], dtype=np.float32)
RIGHT = np.array([[1, 1.5], [0, np.nan], [1, 2.0]], dtype=np.float32)


class TestFolded:
    def test_many_rows_are_encoded_and_split(self) -> None:
        feed = FoldedFeeder(FOLDED).many(ROWS)
        assert set(feed) == {"left", "right"}
        np.testing.assert_array_equal(feed["left"], LEFT)
        np.testing.assert_array_equal(feed["right"], RIGHT)
        assert all(part.flags.c_contiguous and part.dtype == np.float32 for part in feed.values())

    def test_a_single_row_leaves_nothing_of_the_one_before(self) -> None:
        feeder = FoldedFeeder(FOLDED)
        for index in (0, 1, 2, 0):
            feed = feeder.one(ROWS[index])
            np.testing.assert_array_equal(feed["left"], LEFT[index : index + 1])
            np.testing.assert_array_equal(feed["right"], RIGHT[index : index + 1])


class TestOthers:
    def test_columns_keep_their_types(self) -> None:
        feeder = ColumnFeeder([("x", np.float32), ("name", np.object_), ("n", np.int64)])
        rows = [(1.5, "b", 7), (2.5, "c", 8)]
        many, one = feeder.many(rows), feeder.one(rows[1])
        assert [many[name].tolist() for name in ("x", "name", "n")] == [
            [[1.5], [2.5]],
            [["b"], ["c"]],
            [[7], [8]],
        ]
        assert [one[name].tolist() for name in ("x", "name", "n")] == [[[2.5]], [["c"]], [[8]]]
        assert [many[name].dtype for name in ("x", "name", "n")] == [np.float32, np.object_, np.int64]

    @pytest.mark.parametrize("rows", [[(1, 2.5)], [(1, 2.5), (3, 4)]])
    def test_a_matrix_is_of_one_type(self, rows: list[tuple[float, float]]) -> None:
        feeder = MatrixFeeder("x", 2, np.float32)
        feed = feeder.one(rows[0]) if len(rows) == 1 else feeder.many(rows)
        np.testing.assert_array_equal(feed["x"], np.array(rows, dtype=np.float32))

"""Typed rows to the arrays that a graph takes: column by column, as one matrix, or encoded for a folded graph.

The arrays of a single row are made once and filled anew: making them takes five times as long as filling them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ml_platform.contracts.bundles import FoldedGraph
from ml_platform.inference.decoding import Row

Feed = dict[str, Any]


class Feeder(Protocol):
    """Rows have a value wherever the graph needs one."""

    def one(self, row: Row) -> Feed:
        """Never for two at once: the arrays are used again."""
        ...

    def many(self, rows: Sequence[Row]) -> Feed: ...


class ColumnFeeder:
    """One array [rows, 1] for each column. `columns` are names and element types, in the signature's order."""

    def __init__(self, columns: Sequence[tuple[str, Any]]) -> None:
        self._columns = list(columns)
        self._single = {name: np.zeros((1, 1), dtype=dtype) for name, dtype in self._columns}
        self._cells = list(self._single.values())

    def one(self, row: Row) -> Feed:
        for cell, value in zip(self._cells, row, strict=True):
            cell[0, 0] = value
        return self._single

    def many(self, rows: Sequence[Row]) -> Feed:
        count, array = len(rows), np.array
        return {
            name: array(values, dtype).reshape(count, 1)
            for (name, dtype), values in zip(self._columns, zip(*rows, strict=True), strict=True)
        }


class MatrixFeeder:
    """One array [rows, columns]."""

    def __init__(self, name: str, width: int, dtype: Any) -> None:
        self._name = name
        self._dtype = dtype
        self._row = np.zeros((1, width), dtype=dtype)
        self._single = {name: self._row}

    def one(self, row: Row) -> Feed:
        self._row[0] = row
        return self._single

    def many(self, rows: Sequence[Row]) -> Feed:
        return {self._name: np.array(rows, dtype=self._dtype)}


class FoldedFeeder:
    """The matrices of a folded graph: numbers where they stand, a one for the category of each other column."""

    def __init__(self, folded: FoldedGraph) -> None:
        width = sum(item.width for item in folded.inputs)
        self._blank = [0.0] * width
        self._numbers = [(cell.at, cell.column) for cell in folded.cells if not cell.categories]
        self._encoded = [
            (cell.column, {category: cell.at + place for place, category in enumerate(cell.categories)})
            for cell in folded.cells
            if cell.categories
        ]
        self._row = np.zeros((1, width), dtype=np.float32)
        self._bounds: list[tuple[str, int, int]] = []
        end = 0
        for item in folded.inputs:
            self._bounds.append((item.name, end, end + item.width))
            end += item.width
        self._only = folded.inputs[0].name if len(folded.inputs) == 1 else None
        self._single = {name: self._row[:, first:last] for name, first, last in self._bounds}

    def one(self, row: Row) -> Feed:
        self._row[0] = self._encode(row)
        return self._single

    def many(self, rows: Sequence[Row]) -> Feed:
        wide = np.array([self._encode(row) for row in rows], dtype=np.float32)
        if self._only is not None:
            return {self._only: wide}
        return {name: np.ascontiguousarray(wide[:, first:last]) for name, first, last in self._bounds}

    def _encode(self, row: Row) -> list[float]:
        cells = self._blank.copy()
        for at, column in self._numbers:
            cells[at] = row[column]
        for column, places in self._encoded:
            place = places.get(row[column])
            if place is not None:
                cells[place] = 1.0
        return cells

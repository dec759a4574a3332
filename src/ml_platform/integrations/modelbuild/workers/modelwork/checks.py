"""Whether a graph answers as its original does, on real rows."""

from typing import Any

import numpy as np

from .graphs import Session
from .originals import Original, Unconvertible
from .table import NULL_TEXT, Table

RELATIVE_TOLERANCE = 1e-5
"""For large regression values, which single precision cannot hold to an absolute 1e-4.

Of the value or of the median of all: a sum of large terms that happens to end near zero is no more exact.
"""

_MISSING: dict[str, list[Any]] = {
    "string": ["", "nan", "None", NULL_TEXT],
    "boolean": [False],
    "integer": [0, -1],
    "long": [0, -1],
    "float": [None],
    "double": [None],
}
"""What may stand for a null in a graph, in the order in which it is tried; None is NaN."""

_ROWS_OF_NULLS = 200


class Comparison:
    """An original and its graph on one table.

    Attributes:
        parity: how many rows were compared, and the largest difference.
        columns: those of the table, settled: what stands for a null in each.
        warnings: where the graph is less strict than the model.
    """

    def __init__(self, original: Original, session: Session, table: Table, tolerance: float) -> None:
        self._original = original
        self._session = session
        self._table = table
        self._tolerance = tolerance
        self._worst, self._labels, self._rows, self._allowed = 0.0, 0, 0, tolerance
        self.columns: list[dict[str, Any]] = []
        self.warnings: list[str] = []

    def run(self) -> None:
        """Compares all of it; raises Unconvertible when the graph does not do."""
        table = self._table
        samples = [(table.cells, table.nulls), table.shuffled()]
        for values, nulls in samples:
            complete = ~np.any(np.stack(nulls), axis=0)
            self._agree([v[complete] for v in values], [n[complete] for n in nulls])
        self.columns = [self._settled(index, column) for index, column in enumerate(table.columns)]
        for values, nulls in samples:
            self._agree_on_gaps(values, nulls)
        if not self._rows:
            raise Unconvertible("no row of the sample can be given to the graph, so parity cannot be shown")
        self._look_for_strictness()

    @property
    def parity(self) -> dict[str, Any]:
        return {
            "rows": self._rows,
            "max_abs_difference": self._worst,
            "tolerance": self._allowed,
            "label_mismatches": self._labels,
        }

    def _agree(self, values: list[Any], nulls: list[Any], fed: list[Any] | None = None) -> None:
        if not len(values[0]):
            return
        difference, mismatches, excess, bound = self._compare(values, nulls, values if fed is None else fed)
        self._allowed = max(self._allowed, bound)
        self._worst, self._labels = max(self._worst, difference), self._labels + mismatches
        self._rows += len(values[0])
        if excess:
            raise Unconvertible(
                f"the graph differs from the model by up to {self._worst:.3g} on {self._rows} rows "
                f"(allowed: {bound:g})"
            )

    def _agree_on_gaps(self, values: list[Any], nulls: list[Any]) -> None:
        """Rows with nulls, where each of them may be one, with what stands for them in the graph."""
        gaps = np.any(np.stack(nulls), axis=0)
        refused = [n for n, column in zip(nulls, self.columns, strict=True) if column["required"]]
        rows = gaps & ~np.any(np.stack(refused), axis=0) if refused else gaps
        values, nulls = [v[rows] for v in values], [n[rows] for n in nulls]
        fed = [
            _filled(column["type"], v, n, column.get("missing"))
            for column, v, n in zip(self.columns, values, nulls, strict=True)
        ]
        self._agree(values, nulls, fed)

    def _compare(self, values: list[Any], nulls: list[Any], fed: list[Any]) -> tuple[float, int, bool, float]:
        """The largest difference, the labels that differ, whether that is too much, and what was allowed."""
        original, tolerance = self._original, self._tolerance
        frame = self._table.frame(values, nulls)
        answers = self._session.run(fed)
        if original.probabilities is None:
            expected = np.asarray(original.predict(frame))
            if original.classes is not None:
                wrong = _differing(expected, answers[0])
                return float(wrong > 0), wrong, wrong > 0, tolerance
            difference, excess, bound = _distance(expected, answers[0], tolerance)
            return difference, 0, excess, bound
        expected = np.asarray(original.probabilities(frame))
        if expected.shape != np.asarray(answers[1]).shape:
            raise Unconvertible("the graph's probabilities have another shape than the model's")
        wrong = _differing(np.asarray(original.predict(frame)), answers[0])
        difference = _distance(expected, answers[1], tolerance)[0]
        # A label may turn when the probability stands on the border; a difference within the tolerance.
        return difference, wrong, difference > tolerance, tolerance

    def _settled(self, index: int, column: dict[str, Any]) -> dict[str, Any]:
        """The column with the value that stands for a null with the same answers, if it may be null."""
        if column["required"]:
            return dict(column)
        count = min(self._table.rows, _ROWS_OF_NULLS)
        values = [v[:count] for v in self._table.cells]
        nulls = [np.zeros(count, dtype=bool) for _ in values]
        nulls[index] = np.ones(count, dtype=bool)
        try:
            self._original.predict(self._table.frame(values, nulls))
        except Exception:
            self.warnings.append(
                f"column {column['name']!r} may be null by the signature, but the model refuses it"
            )
            return column | {"required": True}
        for candidate in _MISSING.get(column["type"], []):
            fed = list(values)
            fed[index] = _filled(column["type"], values[index], nulls[index], candidate)
            try:
                if not self._compare(values, nulls, fed)[2]:
                    return column | {"missing": candidate}
            except Exception:  # noqa: S112 - this value does not do; the next one may
                continue
        raise Unconvertible(
            f"column {column['name']!r} may be null, which the graph cannot answer as the model does"
        )

    def _look_for_strictness(self) -> None:
        """Whether the model refuses categories that it never saw: a graph answers them silently."""
        for index, column in enumerate(self._table.columns):
            if column["type"] != "string":
                continue
            values = [v[:1] for v in self._table.cells]
            values[index] = np.array(["\u2400 never seen"], dtype=object)
            try:
                self._original.predict(self._table.frame(values, [n[:1] for n in self._table.nulls]))
            except Exception:
                self.warnings.append(
                    f"column {column['name']!r}: the model refuses unknown values, its graph does not"
                )


def _filled(kind: str, values: Any, nulls: Any, missing: Any) -> Any:
    """The values with `missing` where there is none; None is NaN."""
    if not nulls.any():
        return values
    fitting = values.astype(object) if kind == "string" else values
    return np.where(nulls, np.nan if missing is None else missing, fitting)


def _differing(expected: Any, answers: Any) -> int:
    return int(np.sum(expected.reshape(-1).astype(str) != np.asarray(answers).reshape(-1).astype(str)))


def _distance(original: Any, answer: Any, tolerance: float) -> tuple[float, bool, float]:
    """The largest absolute difference, whether one is beyond what its size allows, and the largest allowance."""
    a = np.asarray(original, dtype=np.float64).reshape(len(original), -1)
    b = np.asarray(answer, dtype=np.float64).reshape(len(original), -1)
    if a.shape != b.shape:
        raise Unconvertible("the graph's answers have another shape than the model's")
    both = np.isnan(a) & np.isnan(b)
    difference = np.where(both, 0.0, np.abs(a - b))
    difference = np.nan_to_num(difference, nan=1e300, posinf=1e300)
    size = np.nan_to_num(np.abs(a), posinf=0.0)
    allowed = tolerance + RELATIVE_TOLERANCE * np.maximum(size, np.median(size, axis=0))
    return (
        float(difference.max(initial=0.0)),
        bool((difference > allowed).any()),
        float(allowed.max(initial=tolerance)),
    )

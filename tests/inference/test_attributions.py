"""SHAP values by themselves: they add up, they are the known ones, and texts and gaps are values like others."""

import itertools
import math

import numpy as np
import pytest

from ml_platform.inference.explaining.attributions import (
    EXACT_COLUMNS,
    MAX_CELLS,
    MAX_COLUMNS,
    NotExplainableError,
    attribute,
)

COLOURS = {"red": 1.0, "green": 5.0, None: -2.0}


def mixed(rows):
    return [COLOURS[c] * x + 3.0 * flag * (c == "green") for c, x, flag in rows]


BACKGROUND = [["red", 1.0, True], ["green", 2.0, False], [None, 0.5, True], ["red", -1.0, False]]


def brute_force(predict, background, row):
    """Shapley's own formula over all subsets."""
    width = len(row)

    def value(known):
        rows = [[row[i] if i in known else other[i] for i in range(width)] for other in background]
        return sum(predict(rows)) / len(rows)

    found = []
    for place in range(width):
        rest = [i for i in range(width) if i != place]
        total = 0.0
        for size in range(width):
            weight = math.factorial(size) * math.factorial(width - size - 1) / math.factorial(width)
            for subset in itertools.combinations(rest, size):
                total += weight * (value({*subset, place}) - value(set(subset)))
        found.append(total)
    return value(set()), found


class TestAttribute:
    @pytest.mark.parametrize("row", [["green", 4.0, True], [None, 2.0, False], ["red", 1.0, True]])
    @pytest.mark.parametrize("background", [BACKGROUND, BACKGROUND[:1], [["red", 9.0, True]]])
    def test_gives_shapleys_values_for_texts_gaps_and_flags(self, row, background):
        (found,) = attribute(mixed, background, [row])
        base, values = brute_force(mixed, background, row)
        assert found["base_value"] == pytest.approx(base)
        assert found["values"] == pytest.approx(values)
        assert found["base_value"] + sum(found["values"]) == pytest.approx(mixed([row])[0])

    def test_of_a_linear_model_are_the_weighted_distances_from_the_mean(self):
        random = np.random.default_rng(1)
        weights = random.normal(size=30)
        background = random.normal(size=(100, 30))
        rows = random.normal(size=(3, 30))
        found = attribute(
            lambda given: (np.array(given) @ weights).tolist(), background.tolist(), rows.tolist()
        )
        for row, explained in zip(rows, found, strict=True):
            assert explained["base_value"] == pytest.approx(float((background @ weights).mean()))
            assert explained["values"] == pytest.approx((weights * (row - background.mean(axis=0))).tolist())

    def test_add_up_for_wide_models_with_interactions_and_texts(self):
        names = ["a", "b", "c", None]
        random = np.random.default_rng(2)

        def predict(rows):
            return [
                sum((names.index(row[i]) + 1) * row[i + 1] for i in range(0, 40, 2)) * row[1] for row in rows
            ]

        def row():
            return [names[random.integers(4)] if i % 2 == 0 else float(random.normal()) for i in range(40)]

        rows = [row() for _ in range(2)]
        found = attribute(predict, [row() for _ in range(20)], rows)
        for explained, prediction in zip(found, predict(rows), strict=True):
            assert explained["base_value"] + sum(explained["values"]) == pytest.approx(prediction, abs=1e-9)

    @pytest.mark.parametrize("width", [1, 3, EXACT_COLUMNS + 1])
    def test_of_several_outputs_are_those_of_each_alone(self, width):
        random = np.random.default_rng(4)
        background, rows = random.normal(size=(5, width)).tolist(), random.normal(size=(2, width)).tolist()
        weights = random.normal(size=(width, 3))

        def predict(given):
            return np.tanh(np.array(given) @ weights)

        found = attribute(lambda given: predict(given).tolist(), background, rows, 3)
        for place in range(3):
            alone = attribute(lambda given, p=place: predict(given)[:, p].tolist(), background, rows)
            for explained, single in zip(found, alone, strict=True):
                assert explained["base_value"][place] == pytest.approx(single["base_value"])
                assert [v[place] for v in explained["values"]] == pytest.approx(single["values"])

    @pytest.mark.parametrize("answer", [1.0, [1.0], [1.0, None], ["a", "b"], [1.0, 2.0, 3.0]])
    def test_of_another_number_of_outputs_are_refused(self, answer):
        with pytest.raises(NotExplainableError):
            attribute(lambda given: [answer] * len(given), [[1.0]], [[2.0]], 2)

    def test_are_the_same_every_time(self):
        random = np.random.default_rng(3)
        background, rows = random.normal(size=(20, 12)).tolist(), random.normal(size=(1, 12)).tolist()

        def predict(given):
            return [float(np.prod(np.tanh(row))) * 1e6 for row in given]

        assert attribute(predict, background, rows) == attribute(predict, background, rows)

    @pytest.mark.parametrize("width", [1, 2, EXACT_COLUMNS, EXACT_COLUMNS + 1])
    def test_work_for_every_width(self, width):
        rows = [[float(i) for i in range(width)]]
        (found,) = attribute(lambda given: [sum(row) for row in given], [[0.0] * width], rows)
        assert found == {"base_value": 0.0, "values": pytest.approx(rows[0])}

    @pytest.mark.parametrize("width", [3, 12])
    def test_of_a_row_that_is_the_background_are_nothing(self, width):
        row = [2.0] * width
        (found,) = attribute(lambda given: [sum(r) for r in given], [row, row], [row])
        assert found == {"base_value": pytest.approx(2.0 * width), "values": pytest.approx([0.0] * width)}

    def test_of_the_widest_models_stay_within_the_bound_of_work(self):
        width = MAX_COLUMNS
        asked = 0

        def predict(given):
            nonlocal asked
            asked += len(given) * width
            return [row[0] for row in given]

        (found,) = attribute(predict, [[float(n)] * width for n in range(100)], [[7.0] * width])
        assert asked <= MAX_CELLS * 1.1
        assert found["base_value"] + sum(found["values"]) == pytest.approx(7.0)

    def test_of_too_many_columns_are_refused(self):
        rows = [[0.0] * (MAX_COLUMNS + 1)]
        with pytest.raises(NotExplainableError, match="more than 1000"):
            attribute(lambda given: [0.0] * len(given), rows, rows)

    @pytest.mark.parametrize("answer", ["yes", None, True, float("nan"), [1.0]])
    def test_of_what_is_no_number_are_refused(self, answer):
        with pytest.raises(NotExplainableError, match="only a prediction that is a number"):
            attribute(lambda given: [answer] * len(given), [[1.0]], [[2.0]])

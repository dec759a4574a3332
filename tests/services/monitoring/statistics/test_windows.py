import json
import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from ml_platform.services.monitoring.statistics import (
    Kind,
    ReferenceProfile,
    compare,
    count_window,
    profile_reference,
)

STRANGE = [None, math.nan, math.inf, -math.inf]


class TestProfileReference:
    def test_the_churn_columns_are_profiled_and_survive_json(self, churn, parquet):
        profile = profile_reference([parquet(churn)])
        assert len(profile.columns) == 19
        assert profile.rows == 7043
        kinds = {column.name: column.kind for column in profile.columns}
        assert kinds["monthly_charges"] == kinds["senior_citizen"] == Kind.NUMERIC
        assert kinds["contract"] == Kind.CATEGORICAL
        assert all(column.rows == 7043 for column in profile.columns)
        assert {c.name: c.missing for c in profile.columns if c.missing} == {"total_charges": 11}
        text = json.dumps(profile.to_json(), allow_nan=False)
        assert ReferenceProfile.from_json(json.loads(text)) == profile
        with pytest.raises(ValueError, match="format"):
            ReferenceProfile.from_json({**json.loads(text), "format": 2})

    @given(
        values=st.lists(st.one_of(st.floats(width=32), st.none(), st.sampled_from([0.0, 1.0])), max_size=80)
    )
    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_every_number_is_in_the_bin_it_belongs_to(self, values, parquet):
        column = profile_reference([parquet({"x": pl.Series(values, dtype=pl.Float64)})]).columns[0]
        finite = [value for value in values if value is not None and math.isfinite(value)]
        assert column.missing == len(values) - len(finite)
        assert all(low < high for low, high in pairwise(column.cuts))
        expected = np.bincount(
            np.searchsorted(column.cuts, finite, side="right"), minlength=len(column.counts)
        )
        assert list(column.counts) == list(expected)
        if finite:
            assert column.counts[0] == column.counts[-1] == 0
        assert column.bins(column.counts, column.missing).sum() == len(values)

    def test_bins_hold_about_equal_shares_and_a_heavy_value_has_its_own(self, parquet):
        random = np.random.default_rng(0)
        path = parquet(
            {"even": random.normal(size=20_000), "zeros": np.maximum(0, random.normal(-1.2, 1, 20_000))}
        )
        even, zeros = profile_reference([path]).columns
        coarse = even.bins(even.counts, 0)[1:-2]
        assert len(coarse) == 10
        assert coarse.min() > 1900
        heavy = zeros.bins(zeros.counts, 0).max() / 20_000
        assert heavy == pytest.approx(stats.norm.cdf(1.2), abs=0.01)

    def test_text_keeps_its_twenty_most_frequent_values(self, parquet):
        values = [f"city {i}" for i in range(40) for _ in range(100 - i)] + ["x" * 500] * 1000
        column = profile_reference([parquet({"city": values})]).columns[0]
        assert column.categories == tuple(f"city {i}" for i in range(20))
        assert column.counts[-1] == len(values) - sum(100 - i for i in range(20))
        assert not column.complete

    def test_codes_can_be_categories_and_wrong_columns_are_named(self, parquet):
        path = parquet(
            {"code": [3, 3, 7], "at": pl.Series([0, 1, 2]).cast(pl.Datetime), 'odd "name': [1, 2, 3]}
        )
        column = profile_reference([path], ["code"], categorical=["code"]).columns[0]
        assert (column.kind, column.categories) == (Kind.CATEGORICAL, ("3", "7"))
        assert [c.name for c in profile_reference([path]).columns] == ["code", 'odd "name']
        with pytest.raises(ValueError, match="TIMESTAMP"):
            profile_reference([path], ["at"])
        with pytest.raises(ValueError, match="no column 'gone'"):
            profile_reference([path], ["gone"])
        with pytest.raises(ValueError, match="no Parquet"):
            profile_reference([])


class TestCountWindow:
    def test_a_window_of_many_files_counts_like_the_whole(self, churn, parquet):
        profile = profile_reference([parquet(churn)])
        shuffled = churn.sample(fraction=1, shuffle=True, seed=1)
        window = count_window(profile, [parquet(shuffled[:3000]), parquet(shuffled[3000:])])
        assert window.rows == 7043
        for column in profile.columns:
            assert window.columns[column.name].counts == column.counts
            assert window.columns[column.name].missing == column.missing

    def test_nulls_nan_infinities_and_text_among_numbers_are_missing_and_told_apart(self, parquet):
        profile = profile_reference([parquet({"x": list(range(100))})])
        floats = count_window(profile, [parquet({"x": [1.0, 2.0, *STRANGE]})]).columns["x"]
        assert (sum(floats.counts), floats.missing, floats.type_errors) == (2, 4, 3)
        texts = count_window(
            profile, [parquet({"x": ["5", "five", "", None, "nan", "1e999", "7.0"]})]
        ).columns["x"]
        assert (sum(texts.counts), texts.missing, texts.type_errors) == (2, 5, 4)
        booleans = count_window(profile, [parquet({"x": [True, False, None]})]).columns["x"]
        assert (sum(booleans.counts), booleans.missing, booleans.type_errors) == (2, 1, 0)

    def test_values_beyond_the_reference_are_in_the_outer_bins(self, parquet):
        profile = profile_reference([parquet({"x": list(range(100))})])
        counts = (
            count_window(profile, [parquet({"x": [-1, -1e300, 0, 99, 99.001, 1e300]})]).columns["x"].counts
        )
        assert (counts[0], counts[-1], sum(counts)) == (2, 2, 6)

    @pytest.mark.parametrize("known", [["a", "b", ""], ["a", "b"]])
    def test_unseen_categories_are_the_rest_also_where_the_empty_text_is_one(self, known, parquet):
        profile = profile_reference([parquet({"x": known * 10})])
        counts = count_window(profile, [parquet({"x": ["a", "", "zz", "=a", None]})]).columns["x"]
        found = dict(zip((*profile.columns[0].categories, "rest"), counts.counts, strict=True))
        expected = {"a": 1, "b": 0, "": 1, "rest": 2} if "" in known else {"a": 1, "b": 0, "rest": 3}
        assert found == expected
        assert counts.missing == 1

    def test_a_column_that_is_not_there_is_missing_in_every_row(self, parquet):
        profile = profile_reference([parquet({"x": [1, 2], "y": ["a", "b"]})])
        window = count_window(profile, [parquet({"x": [1, 2, 3]})])
        assert not window.columns["y"].present
        assert window.columns["y"].missing == 3

    def test_files_and_windows_without_rows_count_nothing(self, parquet):
        profile = profile_reference([parquet({"x": [1, 2], "y": ["a", "b"]})])
        empty = parquet(pl.DataFrame(schema={"x": pl.Int64, "y": pl.String}))
        for paths in ([], [empty]):
            window = count_window(profile, paths)
            assert window.rows == 0
            assert all(sum(c.counts) == c.missing == 0 and c.present for c in window.columns.values())

    def test_columns_that_had_no_value_in_the_reference_can_be_counted(self, parquet):
        nothing = {"x": pl.Series([None] * 5, dtype=pl.Float64), "y": pl.Series([None] * 5, dtype=pl.String)}
        profile = profile_reference([parquet(nothing)])
        window = count_window(profile, [parquet({"x": [1.0, None, math.nan], "y": ["a", None, "b"]})])
        assert (window.columns["x"].counts, window.columns["x"].missing) == ((1,), 2)
        assert (window.columns["y"].counts, window.columns["y"].missing) == ((2,), 1)

    def test_the_order_of_the_rows_does_not_matter(self, churn, parquet):
        profile = profile_reference([parquet(churn)])
        first = count_window(profile, [parquet(churn[:2000])])
        second = count_window(profile, [parquet(churn[:2000].sample(fraction=1, shuffle=True, seed=2))])
        assert first == second
        assert compare(profile, first) == compare(profile, second)

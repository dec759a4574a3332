import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from ml_platform.services.monitoring.statistics import (
    DriftThresholds,
    Verdict,
    assess,
    check_window,
    compare,
    count_window,
    profile_reference,
)


def feature(report, name):
    return next(f for f in report.features if f.name == name)


class TestFalseAlarms:
    def test_resampled_churn_customers_hardly_ever_alarm(self, churn, parquet):
        """Stated: at most 1 % of windows without drift give a significant divergence in any feature.

        Of 60 such windows, 4 or more come up with a probability of 0.3 %.
        """
        significant = alarmed = 0
        for i in range(60):
            shuffled = churn.sample(fraction=1, shuffle=True, seed=i)
            if i % 10 == 0:
                profile = profile_reference([parquet(shuffled[:4000])])
            window = count_window(
                profile, [parquet(churn.sample(1500, with_replacement=True, seed=1000 + i))]
            )
            report = compare(profile, window, seed=i)
            significant += any(f.kl_p_value < 0.01 for f in report.features)
            alarmed += report.verdict is not Verdict.NONE
        assert significant <= 3
        assert alarmed <= 3

    def test_with_millions_of_rows_a_negligible_change_is_significant_and_does_not_warn(self, parquet):
        random = np.random.default_rng(0)
        profile = profile_reference([parquet({"x": random.normal(size=200_000)})])
        report = check_window(profile, [parquet({"x": random.normal(0.03, 1, size=1_000_000)})]).drift
        assert feature(report, "x").kl_p_value < 0.01
        assert feature(report, "x").p_value < 0.01
        assert report.verdict is Verdict.NONE


class TestCompare:
    def test_drift_in_churn_customers_is_found_where_it_is_and_says_why(self, churn, parquet):
        profile = profile_reference([parquet(churn)])
        drifted = churn.sample(2000, seed=1).with_columns(
            (pl.col("monthly_charges") * 1.8).alias("monthly_charges"),
            pl.lit("Month-to-month").alias("contract"),
        )
        report = check_window(profile, [parquet(drifted)]).drift
        assert report.verdict is Verdict.DRIFT
        assert {f.name for f in report.features if f.verdict is Verdict.DRIFT} == {
            "monthly_charges",
            "contract",
        }
        assert any(reason.startswith("contract: PSI") for reason in report.reasons)
        contract, charges = feature(report, "contract"), feature(report, "monthly_charges")
        assert (contract.test, charges.test) == ("chi_square", "kolmogorov_smirnov")
        for drifting in (contract, charges):
            assert drifting.psi > 0.25
            assert drifting.js_distance > 0.1
            assert drifting.kl_p_value < 0.01
            assert drifting.p_value < 1e-6
            assert drifting.effect_size > 0.2
        json.dumps(report.to_json(), allow_nan=False)

    def test_ks_is_that_of_the_rows_within_a_bin(self, parquet):
        random = np.random.default_rng(5)
        first, second = random.gamma(2, size=20_000), random.gamma(2.3, size=5_000)
        profile = profile_reference([parquet({"x": first})])
        found = feature(check_window(profile, [parquet({"x": second})]).drift, "x")
        exact = stats.ks_2samp(first, second).statistic
        assert exact - 0.006 <= found.statistic <= exact + 1e-12

    def test_a_moderate_change_is_a_warning(self, parquet):
        random = np.random.default_rng(2)
        profile = profile_reference([parquet({"x": random.normal(size=20_000)})])
        report = check_window(profile, [parquet({"x": random.normal(0.4, 1, 5_000)})]).drift
        assert 0.1 <= feature(report, "x").psi <= 0.25
        assert report.verdict is Verdict.WARNING

    @pytest.mark.parametrize(
        ("rows", "verdict"), [(0, "not_enough_data"), (999, "not_enough_data"), (1000, "none")]
    )
    def test_too_few_rows_are_not_no_drift(self, rows, verdict, parquet):
        profile = profile_reference([parquet({"x": [1, 2] * 1000})])
        report = check_window(profile, [parquet({"x": ([1, 2] * 500)[:rows]})] if rows else []).drift
        assert report.verdict == verdict
        assert all(f.verdict == verdict for f in report.features)
        if rows < 1000:
            assert f"{rows} rows" in report.reasons[0]

    def test_a_small_reference_is_not_enough_either(self, parquet):
        profile = profile_reference([parquet({"x": [1, 2] * 100})])
        report = check_window(profile, [parquet({"x": [1, 2] * 1000})]).drift
        assert report.verdict is Verdict.NOT_ENOUGH_DATA
        assert "reference" in report.reasons[0]

    @pytest.mark.parametrize("constant", [0, 7, -1.5, "yes", True])
    def test_a_constant_that_stays_is_none_and_one_that_moves_is_drift(self, constant, parquet):
        profile = profile_reference([parquet({"x": [constant] * 2000})])
        assert check_window(profile, [parquet({"x": [constant] * 1500})]).verdict is Verdict.NONE
        other = (
            f"{constant}!"
            if isinstance(constant, str)
            else not constant
            if constant is True
            else constant + 1
        )
        assert check_window(profile, [parquet({"x": [other] * 1500})]).verdict is Verdict.DRIFT

    @pytest.mark.parametrize("dtype", [pl.Float64, pl.String])
    def test_a_column_of_nulls_stays_none_and_drifts_when_values_come(self, dtype, parquet):
        profile = profile_reference([parquet({"x": pl.Series([None] * 2000, dtype=dtype)})])
        nulls = parquet({"x": pl.Series([None] * 1500, dtype=dtype)})
        assert check_window(profile, [nulls]).verdict is Verdict.NONE
        assert (
            check_window(profile, [parquet({"x": pl.Series(["1"] * 1500).cast(dtype)})]).verdict
            is Verdict.DRIFT
        )

    def test_values_going_missing_and_a_column_gone_are_drift(self, parquet):
        profile = profile_reference([parquet({"x": list(range(2000)), "y": ["a", "b"] * 1000})])
        half = [i if i % 2 else None for i in range(2000)]
        report = check_window(profile, [parquet({"x": half, "y": ["a", "b"] * 1000})]).drift
        assert feature(report, "x").verdict is Verdict.DRIFT
        assert feature(report, "x").missing_share == 0.5
        assert feature(report, "y").verdict is Verdict.NONE
        gone = check_window(profile, [parquet({"x": list(range(2000))})]).drift
        assert "missing from the window" in feature(gone, "y").reasons[0]

    def test_a_heavy_value_that_becomes_rare_is_found(self, parquet):
        random = np.random.default_rng(0)
        zeros = np.where(random.random(5000) < 0.97, 0.0, random.random(5000))
        profile = profile_reference([parquet({"x": zeros})])
        assert check_window(profile, [parquet({"x": random.random(2000)})]).verdict is Verdict.DRIFT

    def test_predictions_drift_like_any_column(self, parquet):
        random = np.random.default_rng(0)
        profile = profile_reference(
            [parquet({"churn_probability": random.beta(2, 5, 5000)})], ["churn_probability"]
        )
        same = parquet({"churn_probability": random.beta(2, 5, 3000)})
        moved = parquet({"churn_probability": random.beta(5, 2, 3000)})
        assert check_window(profile, [same]).verdict is Verdict.NONE
        assert check_window(profile, [moved]).verdict is Verdict.DRIFT

    def test_thresholds_are_settings(self, parquet):
        profile = profile_reference([parquet({"x": ["a", "b"] * 1000})])
        window = count_window(profile, [parquet({"x": ["a"] * 6 + ["b"] * 4})])
        assert compare(profile, window, DriftThresholds(min_rows=10, psi_drift=0.01)).verdict is Verdict.DRIFT
        assert compare(profile, window, DriftThresholds(min_rows=10)).verdict is Verdict.NONE


class TestAssess:
    def score(self, profile, path):
        return assess(profile, count_window(profile, [path]))

    def test_the_reference_itself_is_perfect(self, churn, parquet):
        path = parquet(churn)
        assert self.score(profile_reference([path]), path).score == 1

    def test_each_kind_of_bad_value_counts_once(self, parquet):
        profile = profile_reference([parquet({"x": list(range(10)), "y": ["a", "b"] * 5})])
        path = parquet(
            {"x": ["1", "2", "99", "-1", "text", None, "3", "4", "5", "6"], "y": ["a"] * 8 + ["new", None]}
        )
        report = self.score(profile, path)
        x, y = report.columns
        assert (x.missing, x.type_errors, x.out_of_range, x.score) == (1, 1, 2, 0.6)
        assert (y.missing, y.unseen_categories, y.score) == (1, 1, 0.8)
        assert report.score == pytest.approx(0.7)
        json.dumps(report.to_json(), allow_nan=False)

    def test_what_is_missing_in_the_reference_too_is_not_bad(self, parquet):
        profile = profile_reference([parquet({"x": [1, None] * 50})])
        assert self.score(profile, parquet({"x": [1, None] * 20})).score == 1
        assert self.score(profile, parquet({"x": pl.Series([None] * 20, dtype=pl.Int64)})).score == 0.5

    def test_a_column_gone_scores_nothing_and_an_empty_window_has_no_score(self, parquet):
        profile = profile_reference([parquet({"x": [1, 2], "y": [1, 2]})])
        report = self.score(profile, parquet({"x": [1, 2]}))
        assert [column.score for column in report.columns] == [1, 0]
        assert not report.columns[1].present
        assert assess(profile, count_window(profile, [])).score is None


class TestDistributions:
    def test_show_the_bins_that_were_compared_and_each_side_sums_to_one(self, churn, parquet):
        profile = profile_reference([parquet(churn)])
        drifted = churn.sample(2000, seed=1).with_columns(pl.lit("Month-to-month").alias("contract"))
        report = check_window(profile, [parquet(drifted)]).drift
        for each in report.features:
            shown = each.distribution
            assert len(shown.bins) == len(shown.reference) == len(shown.current)
            assert len(set(shown.bins)) == len(shown.bins)
            assert sum(shown.reference) == pytest.approx(1)
            assert sum(shown.current) == pytest.approx(1)
        contract = feature(report, "contract").distribution
        now = dict(zip(contract.bins, contract.current, strict=True))
        assert now["Month-to-month"] == 1
        then = dict(zip(contract.bins, contract.reference, strict=True))
        assert then["Two year"] == pytest.approx((churn["contract"] == "Two year").mean())
        assert now["missing"] == then["missing"] == 0

    def test_name_numeric_bins_by_their_limits(self, parquet):
        profile = profile_reference([parquet({"x": list(range(2000))})])
        shown = feature(check_window(profile, [parquet({"x": [5000] * 1500})]).drift, "x").distribution
        assert shown.bins[0].startswith("below ")
        assert shown.bins[-2].endswith(" or more")
        assert shown.current[-2] == 1

    def test_of_a_column_of_nulls_is_all_missing(self, parquet):
        profile = profile_reference([parquet({"x": pl.Series([None] * 2000, dtype=pl.Float64)})])
        nulls = parquet({"x": pl.Series([None] * 1500, dtype=pl.Float64)})
        shown = feature(check_window(profile, [nulls]).drift, "x").distribution
        assert (shown.bins[-1], shown.current[-1]) == ("missing", 1)

"""Loading, completing, validating and splitting the customer table."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from churn_mlops.data import DataError, load_customers, read_table, split, validate
from churn_mlops.data.export import export
from churn_mlops.data.load import complete
from churn_mlops.data.schema import FEATURE_NAMES
from churn_mlops.data.split import holdout_mask


class TestLoading:
    def test_gives_every_customer_with_all_columns_and_no_blanks(self, customers):
        assert len(customers) == 7043
        assert list(customers.columns) == [
            "customer_id", "signup_timestamp", "event_timestamp", "label_timestamp", *FEATURE_NAMES, "churn",
        ]  # fmt: skip
        assert not customers.isna().any().any()
        assert customers["churn"].sum() == 1869

    def test_derives_ids_from_the_published_row_numbers(self, customers):
        assert customers["customer_id"].iloc[122] == "C0000123"
        assert customers["customer_id"].is_unique

    def test_ids_do_not_depend_on_the_order_of_rows(self, customers):
        shuffled = complete(read_table().sample(frac=1, random_state=1))
        assert shuffled.sort_values("customer_id", ignore_index=True).equals(customers)

    def test_keeps_ids_that_the_table_has(self):
        table = read_table().head(1).drop(columns="rownames").assign(customer_id="7590-VHVEG")
        assert complete(table)["customer_id"].tolist() == ["7590-VHVEG"]

    def test_refuses_a_table_without_ids_and_row_numbers(self):
        with pytest.raises(DataError, match="customer_id: column is missing, and so is `rownames`"):
            complete(read_table().drop(columns="rownames"))

    def test_total_charges_before_the_first_bill_become_zero(self, customers):
        unbilled = customers[customers["tenure"] == 0]
        assert len(unbilled) == 11
        assert (unbilled["total_charges"] == 0).all()

    def test_blanks_and_numbers_as_text_are_read(self, customers, tmp_path):
        raw = read_table()
        raw["total_charges"] = raw["total_charges"].map(lambda value: " " if np.isnan(value) else f"{value}")
        raw.to_csv(tmp_path / "customers.csv", index=False)
        assert load_customers(tmp_path / "customers.csv").equals(customers)

    def test_completing_twice_changes_nothing(self, customers, tmp_path):
        customers.to_parquet(tmp_path / "customers.parquet")
        assert load_customers(tmp_path / "customers.parquet").equals(customers)


class TestTimes:
    def test_features_are_older_than_labels_and_younger_than_signup(self, customers):
        assert (customers["signup_timestamp"] <= customers["event_timestamp"]).all()
        assert (customers["event_timestamp"] < customers["label_timestamp"]).all()
        assert customers["label_timestamp"].max() == datetime(2024, 7, 1, tzinfo=UTC)

    def test_signup_lies_tenure_months_before_the_event(self, customers):
        signed, seen = customers["signup_timestamp"].dt, customers["event_timestamp"].dt
        months = (seen.year - signed.year) * 12 + seen.month - signed.month
        assert (months == customers["tenure"]).all()
        assert (signed.day == seen.day).all()

    def test_given_times_are_kept(self):
        table = read_table().head(2).assign(event_timestamp="2025-02-03T04:05:06Z")
        loaded = complete(table)
        assert set(loaded["event_timestamp"]) == {pd.Timestamp("2025-02-03T04:05:06Z")}
        assert "label_timestamp" not in loaded

    @pytest.mark.parametrize(("value", "rule"), [("soon", "date and time"), ("2200-01-01", "in the future")])
    def test_a_given_time_that_cannot_be_is_refused(self, value, rule):
        with pytest.raises(DataError, match=f"event_timestamp: .*{rule}"):
            complete(read_table().head(2).assign(event_timestamp=value))


class TestReading:
    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
            load_customers(tmp_path / "nowhere.csv")

    @pytest.mark.parametrize("name", ["broken.parquet", "broken.csv", "broken.xlsx"])
    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path, name):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00 not a table")
        with pytest.raises(DataError, match=name):
            load_customers(tmp_path / name)


class TestValidation:
    @pytest.mark.parametrize(
        ("column", "value", "rule"),
        [
            ("tenure", -1, "must be between 0 and 600 (1 row, for example -1"),
            ("tenure", 1.5, "must be a whole number"),
            ("tenure", "long", "must be a number (1 row, for example 'long')"),
            ("monthly_charges", np.inf, "must be between 0 and 10000"),
            ("monthly_charges", np.nan, "must not be blank"),
            ("total_charges", np.nan, "must not be blank once tenure is 1 or more"),
            ("female", 2, "must be 0 or 1"),
            ("contract", "Three year", "must be one of 'Month-to-month', 'One year', 'Two year'"),
            ("contract", None, "must be one of"),
            ("tech_support", "No internet service", "exactly when internet_service is 'No'"),
            ("phone_service", 0, "exactly when phone_service is 0"),
            ("churn", "Maybe", "must be Yes or No, or 1 or 0"),
            ("customer_id", "", "must be text of 1 to 64 characters"),
            ("customer_id", "C0000003", "must be unique"),
        ],
    )
    def test_names_the_column_the_rule_and_the_value(self, customers, column, value, rule):
        broken = customers.head(5).drop(columns=list(customers.filter(like="timestamp")))
        broken[column] = broken[column].astype(object)
        broken.loc[4, column] = value
        with pytest.raises(DataError) as caught:
            complete(broken)
        named = "multiple_lines" if column == "phone_service" else column
        assert [violation.column for violation in caught.value.violations] == [named]
        assert rule in str(caught.value)

    def test_reports_all_violations_at_once(self, customers):
        broken = customers.head(5).assign(tenure=-1, contract="none")
        with pytest.raises(DataError) as caught:
            validate(broken)
        assert {violation.column for violation in caught.value.violations} == {"tenure", "contract"}
        assert all(violation.rows == 5 for violation in caught.value.violations)

    def test_names_missing_columns(self, customers):
        with pytest.raises(DataError, match="tenure: column is missing; contract: column is missing"):
            complete(customers.drop(columns=["contract", "tenure"]))

    def test_refuses_an_empty_table(self, customers):
        with pytest.raises(DataError, match="has no rows"):
            complete(customers.head(0))

    def test_one_customer_may_be_seen_at_two_times(self, customers):
        later = customers.head(5).assign(event_timestamp=pd.Timestamp("2024-08-01", tz="UTC"))
        assert len(validate(pd.concat([customers.head(5), later], ignore_index=True))) == 10


class TestSplit:
    def test_holds_out_about_the_fraction_and_loses_nobody(self, customers):
        training, holdout = split(customers, 0.2)
        assert len(training) + len(holdout) == len(customers)
        assert 0.18 < len(holdout) / len(customers) < 0.22
        assert not set(training["customer_id"]) & set(holdout["customer_id"])

    def test_a_customer_stays_on_its_side_when_others_come_and_go(self, customers):
        _, holdout = split(customers, 0.2)
        _, of_half = split(customers.sample(frac=0.5, random_state=3), 0.2)
        assert set(of_half["customer_id"]) <= set(holdout["customer_id"])

    def test_a_larger_holdout_contains_the_smaller(self, customers):
        small, large = (holdout_mask(customers["customer_id"], fraction) for fraction in (0.1, 0.3))
        assert large[small].all()

    def test_both_sides_churn_alike(self, customers):
        training, holdout = split(customers, 0.2)
        assert abs(training["churn"].mean() - holdout["churn"].mean()) < 0.03

    def test_refuses_a_fraction_that_is_none(self, customers):
        with pytest.raises(ValueError, match="test_fraction"):
            split(customers, 1.0)


class TestExport:
    def test_labels_are_known_after_the_features_they_are_joined_to(self, tmp_path):
        paths = export(tmp_path)
        assert [path.name for path in paths] == [
            "customers.parquet", "customer_profile.parquet", "churn_labels.parquet",
        ]  # fmt: skip
        _, profile, labels = (pd.read_parquet(path) for path in paths)
        joined = labels.merge(profile, on="customer_id", suffixes=("_label", ""))
        assert len(joined) == 7043
        assert (joined["event_timestamp"] < joined["event_timestamp_label"]).all()

"""Feature engineering, and the feature definitions against the schema."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from churn_mlops.data.export import export
from churn_mlops.data.schema import FEATURES, STRING_FEATURES
from churn_mlops.features import DERIVED_FEATURES, FeatureEngineer, derive, load_feature_definitions
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

FEAST_TYPES = {"long": "Int64", "double": "Float64", "string": "String"}


class TestFeatureEngineer:
    def test_turns_text_into_one_column_per_category_and_keeps_numbers(self, customers):
        features = FeatureEngineer().fit_transform(customers)
        categories = sum(len(column.allowed) for column in FEATURES if column.type == "string")
        assert features.shape == (7043, categories + len(FEATURES) - len(STRING_FEATURES))
        assert features["tenure"].tolist() == customers["tenure"].tolist()
        assert features.filter(like="contract_").sum(axis=1).eq(1).all()

    def test_learns_nothing_from_rows_it_is_only_asked_to_transform(self, customers):
        monthly = customers[customers["contract"] == "Month-to-month"]
        features = FeatureEngineer().fit(monthly).transform(customers)
        assert list(features.filter(like="contract_")) == ["contract_Month-to-month"]
        assert features["contract_Month-to-month"].sum() == len(monthly)

    def test_does_not_see_label_id_or_times(self, customers):
        shuffled = customers.assign(churn=0, customer_id="x", event_timestamp=pd.NaT)
        assert FeatureEngineer().fit_transform(shuffled).equals(FeatureEngineer().fit_transform(customers))

    def test_the_order_of_columns_does_not_matter(self, customers):
        engineer = FeatureEngineer().fit(customers)
        assert engineer.transform(customers[customers.columns[::-1]]).equals(engineer.transform(customers))

    def test_names_missing_columns(self, customers):
        with pytest.raises(ValueError, match="columns are missing: tenure"):
            FeatureEngineer().fit(customers.drop(columns="tenure"))

    def test_works_in_a_pipeline_and_can_be_cloned(self, customers):
        pipeline = make_pipeline(clone(FeatureEngineer(derived=True)), DecisionTreeClassifier(max_depth=2))
        fitted = pipeline.fit(customers.head(300), customers["churn"].head(300))
        assert fitted[:-1].get_feature_names_out()[-4:].tolist() == list(DERIVED_FEATURES)
        assert fitted.predict(customers.tail(3)).shape == (3,)


class TestDerivedFeatures:
    def test_follow_from_the_row(self, customers):
        row = derive(customers).iloc[1]  # 34 months, 56.95 a month, 1889.50 so far; one-year contract
        assert row["average_bill"] == pytest.approx(1889.5 / 34)
        assert row["bill_change"] == pytest.approx(56.95 - 1889.5 / 34)
        assert row["service_count"] == 4  # phone, internet, security, device protection
        assert row["committed_months"] == 12

    def test_before_the_first_bill_the_average_is_this_months(self, customers):
        unbilled = customers[customers["tenure"] == 0]
        derived = derive(unbilled)
        assert derived["average_bill"].tolist() == unbilled["monthly_charges"].tolist()
        assert np.isfinite(derived).all().all()


class TestDefinitions:
    def test_plain_definitions_say_what_the_schema_says(self):
        definitions = load_feature_definitions()
        assert definitions["name"] == "customer_profile"
        assert definitions["entity"] == "customer_id"
        assert definitions["timestamp_field"] == "event_timestamp"
        expected = [{"name": c.name, "type": c.type, "description": c.description} for c in FEATURES]
        assert definitions["features"] == expected

    def test_stock_feast_applies_them_and_gives_back_every_value(self, customers, tmp_path: Path):
        feast = pytest.importorskip("feast")
        from feast.repo_config import load_repo_config
        from feast.repo_operations import apply_total

        folder = Path(__file__).parent.parent / "src/churn_mlops/features"
        for name in ("feature_store.yaml", "definitions.py"):
            shutil.copy(folder / name, tmp_path / name)
        export(tmp_path / "data")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            patch.syspath_prepend(str(tmp_path))
            config = load_repo_config(tmp_path, tmp_path / "feature_store.yaml")
            apply_total(config, tmp_path, skip_source_validation=False)
            store = feast.FeatureStore(str(tmp_path))
            _check_schema(store)
            store.materialize_incremental(datetime.now(UTC))
            _check_online(store, customers)
            _check_point_in_time(store, customers, tmp_path)


def _check_schema(store):
    fields = {field.name: str(field.dtype) for field in store.get_feature_view("customer_profile").features}
    assert fields == {column.name: FEAST_TYPES[column.type] for column in FEATURES}


def _check_online(store, customers):
    wanted = customers.iloc[[0, 488, 7042]]
    rows = [{"customer_id": customer_id} for customer_id in wanted["customer_id"]]
    service = store.get_feature_service("churn_features")
    online = store.get_online_features(features=service, entity_rows=rows).to_df()
    for column in FEATURES:
        assert online[column.name].tolist() == wanted[column.name].tolist(), column.name
    names = [f"customer_value:{name}" for name in DERIVED_FEATURES]
    derived = store.get_online_features(features=names, entity_rows=rows).to_df()
    pd.testing.assert_frame_equal(
        derived[list(DERIVED_FEATURES)], derive(wanted).reset_index(drop=True), check_dtype=False
    )


def _check_point_in_time(store, customers, folder):
    labels = pd.read_parquet(folder / "data/churn_labels.parquet")
    service = store.get_feature_service("churn_features")
    joined = store.get_historical_features(entity_df=labels, features=service).to_df()
    joined = joined.sort_values("customer_id", ignore_index=True)
    assert joined["churn"].tolist() == customers["churn"].tolist()
    for column in FEATURES:
        assert joined[column.name].tolist() == customers[column.name].tolist(), column.name
    before = labels.assign(event_timestamp=pd.Timestamp("2024-05-31", tz="UTC"))
    empty = store.get_historical_features(entity_df=before, features=service).to_df()
    assert empty["tenure"].isna().all(), "features from after the asked time must not be joined"

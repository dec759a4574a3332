"""A team's repository over small Parquet sources, made by Feast itself where Feast is the reference."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from ml_platform.integrations.feast import EntitySpec, FeastRepository, FeatureViewSpec, FieldSpec, SourceSpec

START = datetime(2024, 1, 1, tzinfo=UTC)


def day(number):
    return START + timedelta(days=number)


@pytest.fixture
def history():
    return pl.DataFrame(
        {
            "customer_id": ["a", "a", "a", "b"],
            "event_timestamp": [day(1), day(3), day(5), day(2)],
            "created": [day(1), day(3), day(5), day(2)],
            "charges": [1.0, 3.0, 5.0, None],
            "tenure": [1, 3, 5, 2],
            "plan": ["x", "y", "z", ""],
        }
    )


@pytest.fixture
def make_view(tmp_path, history):
    def make(frame=None, *, name="churn", ttl=None, format="parquet", **changes):  # noqa: A002
        frame = history if frame is None else frame
        path = tmp_path / f"{name}_source"
        if format == "parquet":
            path = path.with_suffix(".parquet")
            frame.write_parquet(path)
        else:
            frame.write_delta(str(path), mode="overwrite")
        options = {
            "entities": (EntitySpec("customer_id"),),
            "fields": (
                FieldSpec("charges", "DOUBLE"),
                FieldSpec("tenure", "INT64"),
                FieldSpec("plan", "STRING"),
            ),
        }
        return FeatureViewSpec(
            name=name,
            source=SourceSpec(
                str(path), "event_timestamp", format, "created" if "created" in frame.columns else None
            ),
            ttl=ttl,
            **(options | changes),
        )

    return make


@pytest.fixture
def repository(tmp_path):
    return FeastRepository(tmp_path / "features", "team_a")

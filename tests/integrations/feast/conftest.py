"""A team's repository over small Parquet sources, made by Feast itself where Feast is the reference."""

import sqlite3
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from ml_platform.inference.features.redis_view import field_of
from ml_platform.integrations.feast import EntitySpec, FeastRepository, FeatureViewSpec, FieldSpec, SourceSpec
from ml_platform.kit.redis import RedisAddress

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


@pytest.fixture(params=["sqlite", "redis"])
def redis(request):
    """The same tests for each online store: None for SQLite, or an empty database of a real Redis."""
    return None if request.param == "sqlite" else RedisAddress.parse(request.getfixturevalue("redis_url"))


@pytest.fixture
def repository(tmp_path, redis):
    return FeastRepository(tmp_path / "features", "team_a", redis=redis)


@pytest.fixture
def stored(repository, redis, redis_server):
    """How many values of a view are online, and how many entities have any."""

    def of(view):
        if redis is None:
            query = f'SELECT count(*), count(DISTINCT entity_key) FROM "team_a_{view.name}"'
            try:
                return sqlite3.connect(repository.online_path).execute(query).fetchone()
            except sqlite3.OperationalError:
                return 0, 0
        fields = {field_of(view.name, field.name) for field in view.fields}
        held = [
            fields & set(redis_server.call(b"HKEYS", key, database=redis.database))
            for key in redis_server.call(b"KEYS", b"*team_a", database=redis.database)
        ]
        return sum(map(len, held)), sum(map(bool, held))

    return of

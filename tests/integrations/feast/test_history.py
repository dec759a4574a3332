"""Point-in-time joins against those of Feast's own DuckDB offline store."""

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import feast
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ml_platform.integrations.feast import (
    EntitySpec,
    FeastRepository,
    FeatureDefinitionError,
    FeatureViewSpec,
    FieldSpec,
    SourceSpec,
)
from ml_platform.integrations.feast.history import ViewRequest, join_history

from .conftest import day

FIELDS = (FieldSpec("charges", "DOUBLE"), FieldSpec("tenure", "INT64"), FieldSpec("plan", "STRING"))


def join(view, entities, names=("charges", "tenure", "plan")):
    return join_history(entities, [ViewRequest(view, {name: name for name in names})])


def asks(*pairs):
    return pl.DataFrame({"customer_id": [p[0] for p in pairs], "event_timestamp": [day(p[1]) for p in pairs]})


class TestJoin:
    def test_the_newest_value_that_was_known_counts_and_never_a_later_one(self, make_view):
        got = join(make_view(), asks(("a", 0), ("a", 1), ("a", 2), ("a", 4), ("a", 99), ("b", 2), ("z", 9)))
        assert got["tenure"].to_list() == [None, 1, 1, 3, 5, 2, None]

    def test_a_value_older_than_the_ttl_does_not_count_and_one_as_old_does(self, make_view):
        got = join(make_view(ttl=timedelta(days=2)), asks(("a", 7), ("a", 8)))
        assert got["tenure"].to_list() == [5, None]

    def test_rows_keep_order_and_repetition(self, make_view):
        entities = asks(("a", 9), ("b", 9), ("a", 1), ("a", 9))
        got = join(make_view(), entities)
        assert got.select(entities.columns).equals(entities)
        assert got["tenure"].to_list() == [5, 2, 1, 5]

    def test_of_equal_times_the_one_created_last_counts(self, make_view):
        same = pl.DataFrame(
            {"customer_id": ["a"] * 3, "event_timestamp": [day(1)] * 3, "created": [day(3), day(5), None],
             "charges": [3.0, 5.0, 0.0], "tenure": [3, 5, 0], "plan": ["x", "y", "z"]}
        )  # fmt: skip
        assert join(make_view(same), asks(("a", 2)))["tenure"].to_list() == [5]

    def test_null_keys_and_null_times_match_nothing(self, make_view, history):
        holes = history.with_columns(customer_id=pl.lit(None, dtype=pl.String))
        entities = pl.DataFrame(
            {"customer_id": [None, "a"], "event_timestamp": [day(9), None]},
            schema_overrides={"customer_id": pl.String, "event_timestamp": pl.Datetime("us", "UTC")},
        )
        assert join(make_view(pl.concat([history, holes])), entities)["tenure"].to_list() == [None, None]

    def test_times_without_a_zone_are_utc(self, make_view, history):
        naive = history.with_columns(pl.col("event_timestamp").dt.replace_time_zone(None))
        assert join(make_view(naive), asks(("a", 3)))["tenure"].to_list() == [3]

    def test_a_delta_source_joins_alike(self, make_view):
        assert join(make_view(format="delta"), asks(("a", 4)))["tenure"].to_list() == [3]

    def test_an_empty_table_gives_an_empty_table(self, make_view):
        assert (
            join(
                make_view(),
                asks().cast({"customer_id": pl.String, "event_timestamp": pl.Datetime("us", "UTC")}),
            ).height
            == 0
        )

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: f.drop("customer_id"), "lack the join key"),
            (lambda f: f.drop("event_timestamp"), "no such column"),
            (lambda f: f.with_columns(event_timestamp=pl.lit("now")), "expected a date"),
            (lambda f: f.with_columns(customer_id=pl.lit(1)), "hold"),
            (lambda f: f.with_columns(tenure=pl.lit(1)), "stand twice"),
        ],
    )
    def test_rows_that_do_not_fit_are_refused_by_name(self, make_view, change, message):
        with pytest.raises(FeatureDefinitionError, match=message):
            join(make_view(), change(asks(("a", 1))))


HOURS = st.integers(0, 12)
KEYS = st.sampled_from(["a", "b", "c"])


@st.composite
def problems(draw):
    """Histories without two rows of one key, time and creation: Feast's pick among those is arbitrary."""
    history = draw(st.lists(st.tuples(KEYS, HOURS, HOURS), max_size=25, unique=True))
    entities = draw(st.lists(st.tuples(KEYS | st.just("z"), HOURS), min_size=1, max_size=15, unique=True))
    ttl = draw(st.none() | st.integers(1, 6).map(lambda h: timedelta(hours=h)))
    return history or [("a", 0, 0)], entities, ttl


def hour(number):
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number)


class TestAgainstFeast:
    @settings(
        max_examples=25,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(problems())
    def test_every_value_is_feasts(self, problem):
        history, asked, ttl = problem
        root = Path(tempfile.mkdtemp())
        try:
            pl.DataFrame(
                {
                    "customer_id": [h[0] for h in history],
                    "event_timestamp": [hour(h[1]) for h in history],
                    "created": [hour(h[2]) for h in history],
                    "tenure": range(len(history)),
                    "charges": [None if i % 3 == 0 else i / 3 for i in range(len(history))],
                    "plan": [None if i % 4 == 0 else f"p{i}" for i in range(len(history))],
                },
                schema_overrides={"charges": pl.Float64, "plan": pl.String},
            ).write_parquet(root / "h.parquet")
            source = SourceSpec(str(root / "h.parquet"), "event_timestamp", "parquet", "created")
            repository = FeastRepository(root, "t")
            repository.apply([FeatureViewSpec("v", (EntitySpec("customer_id"),), source, FIELDS, ttl)])
            entities = pl.DataFrame(
                {"customer_id": [a[0] for a in asked], "event_timestamp": [hour(a[1]) for a in asked]}
            )
            references = [f"v:{field.name}" for field in FIELDS]
            ours = repository.get_historical_features(entities, references)
            store = feast.FeatureStore(str(repository.folder))
            theirs = pl.from_arrow(store.get_historical_features(entities.to_pandas(), references).to_arrow())
        finally:
            shutil.rmtree(root, ignore_errors=True)
        keys = ["customer_id", "event_timestamp"]
        theirs = theirs.with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC"))).select(
            ours.columns
        )
        assert ours.sort(keys).rows() == theirs.sort(keys).rows()

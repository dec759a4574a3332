"""What is written, byte by byte, against Feast's own writer."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import feast
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ml_platform.integrations.feast import EntitySpec, FeastRepository, FeatureViewSpec, FieldSpec, SourceSpec

BIG = 2**53


def instant(micros):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


COLUMNS = {
    "an_int": ("INT64", pl.Int64, st.integers(-BIG, BIG)),
    "a_short": ("INT32", pl.Int32, st.integers(-(2**31), 2**31 - 1)),
    "a_double": ("DOUBLE", pl.Float64, st.floats()),
    "a_float": ("FLOAT", pl.Float32, st.floats(width=32)),
    "a_text": ("STRING", pl.String, st.text(max_size=200)),
    "a_flag": ("BOOL", pl.Boolean, st.booleans()),
    "a_blob": ("BYTES", pl.Binary, st.binary(max_size=200)),
    "a_time": ("UNIX_TIMESTAMP", pl.Datetime("us", "UTC"), st.integers(10**15, 4 * 10**15).map(instant)),
    "some_ints": ("INT64_LIST", pl.List(pl.Int64), st.lists(st.integers(-BIG, BIG), min_size=1, max_size=3)),
    "some_texts": ("STRING_LIST", pl.List(pl.String), st.lists(st.text(max_size=5), min_size=1, max_size=3)),
}
MOMENTS = st.integers(-(10**15), 17 * 10**14).map(instant)


def rows_of(path, table):
    sql = f'SELECT entity_key, feature_name, value, value_text, event_ts, created_ts FROM "{table}" ORDER BY 1, 2'
    return sqlite3.connect(path).execute(sql).fetchall()


def compare(frame, entities, fields):
    """Materialises by us and by Feast into two stores and returns both tables."""
    root = Path(tempfile.mkdtemp())
    try:
        frame.write_parquet(root / "s.parquet")
        view = FeatureViewSpec("v", entities, SourceSpec(str(root / "s.parquet"), "at"), fields)
        ours, theirs = FeastRepository(root / "ours", "t"), FeastRepository(root / "theirs", "t")
        for repository in (ours, theirs):
            repository.apply([view])
        ours.materialize("v", start=datetime(1930, 1, 1, tzinfo=UTC), end=datetime(2025, 1, 1, tzinfo=UTC))
        store = feast.FeatureStore(str(theirs.folder))
        store.materialize(datetime(1930, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
        return rows_of(ours.online_path, "t_v"), rows_of(theirs.online_path, "t_v")
    finally:
        shutil.rmtree(root, ignore_errors=True)  # Feast's connections may still be closing


def value_column(draw, name, size):
    strategy = COLUMNS[name][2]
    whole = name in {"an_int", "a_short"}  # Feast turns integers into floats when one of them is null
    values = draw(st.lists(strategy if whole else st.none() | strategy, min_size=size, max_size=size))
    # A column of nothing but nulls and empty values is all null for Feast; ours keeps the empty ones.
    return [{"a_text": "x", "a_blob": b"x"}.get(name, values[0]), *values[1:]]


@st.composite
def tables(draw):
    keys = draw(
        st.lists(st.tuples(st.text(max_size=8), st.integers(-BIG, BIG)), min_size=1, max_size=6, unique=True)
    )
    data = {"name": [k[0] for k in keys], "number": [k[1] for k in keys]}
    data |= {name: value_column(draw, name, len(keys)) for name in COLUMNS}
    data["at"] = draw(st.lists(MOMENTS, min_size=len(keys), max_size=len(keys)))
    types = {"name": pl.String, "number": pl.Int64, "at": pl.Datetime("us", "UTC")}
    return pl.DataFrame(data, schema=types | {n: c[1] for n, c in COLUMNS.items()}, strict=False)


class TestBytes:
    @settings(
        max_examples=12,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(tables())
    def test_every_row_is_the_one_that_feast_writes(self, frame):
        fields = tuple(FieldSpec(name, column[0]) for name, column in COLUMNS.items())
        ours, theirs = compare(frame, (EntitySpec("number", "INT64"), EntitySpec("name")), fields)
        assert ours == theirs

    @pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
    def test_times_are_feasts_in_any_time_zone_of_the_machine(self, zone):
        code = (
            "import polars as pl; from datetime import UTC, datetime;"
            "from tests.integrations.feast.test_online import compare;"
            "from ml_platform.integrations.feast import EntitySpec, FieldSpec;"
            "at = [datetime(2023, m, 11, 7, 30, 1, 999999, tzinfo=UTC) for m in range(1, 13)];"
            "ours, theirs = compare(pl.DataFrame({'k': [str(i) for i in range(12)], 'x': range(12), 'at': at}),"
            "(EntitySpec('k'),), (FieldSpec('x', 'INT64'),));"
            "assert ours == theirs and len(ours) == 12"
        )
        root = Path(__file__).parents[3]
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            cwd=root,
            env={"TZ": zone, "PATH": "/usr/bin", **_paths()},
        )


def _paths():
    return {"PYTHONPATH": ":".join(p for p in sys.path if p), "HOME": tempfile.gettempdir()}

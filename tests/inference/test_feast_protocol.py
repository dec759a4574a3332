"""Feast's feature server's own route, answered from Feast's own store, and asked by Feast's own client."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import feast
import pandas as pd
import pytest
from feast import types as feast_types
from feast.feature_server_utils import convert_response_to_dict
from feast.value_type import ValueType

from ml_platform.contracts.features import JoinKey, OnlineFeature, OnlineView
from ml_platform.contracts.serving import FeatureStore, Snapshot

from .support.control import ControlPlane, key
from .support.server import Server, eventually

READER, PREDICTOR, STRANGER, ADMIN_READER = "mlops_reader", "mlops_predictor", "mlops_stranger", "mlops_admin"
PROJECT = "shop"
MOMENT = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
COLUMNS: dict[str, tuple[Any, str, list[Any]]] = {
    "whole": (feast_types.Int64, "INT64", [1, -5, None]),
    "small": (feast_types.Int32, "INT32", [7, 8, None]),
    "ratio": (feast_types.Float64, "DOUBLE", [0.1, float("inf"), None]),
    "narrow": (feast_types.Float32, "FLOAT", [0.5, 0.1, None]),
    "text": (feast_types.String, "STRING", ["plain", "zwölf \u2603", None]),
    "flag": (feast_types.Bool, "BOOL", [True, False, None]),
    "raw": (feast_types.Bytes, "BYTES", [b"\x00\xff", b"", None]),
    "moment": (feast_types.UnixTimestamp, "UNIX_TIMESTAMP", [MOMENT, MOMENT, None]),
    "numbers": (feast_types.Array(feast_types.Int64), "INT64_LIST", [[1, 2], [3], None]),
    "ratios": (feast_types.Array(feast_types.Float64), "DOUBLE_LIST", [[1.5], [2.5, 3.5], None]),
    "words": (feast_types.Array(feast_types.String), "STRING_LIST", [["a", "b"], ["c"], None]),
    "flags": (feast_types.Array(feast_types.Bool), "BOOL_LIST", [[True], [False], None]),
}


def feast_store(folder: Path, online: dict[str, Any], **more: Any) -> feast.FeatureStore:
    folder.mkdir(parents=True, exist_ok=True)
    return feast.FeatureStore(
        config=feast.RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online,
            entity_key_serialization_version=3,
            **more,
        )
    )


class Shop:
    """A store that Feast has written, and a server that reads it."""

    def __init__(self, folder: Path, storage: Path) -> None:
        self.folder = folder
        self.path = folder / "online.db"
        self.local = feast_store(folder / "repo", {"type": "sqlite", "path": str(self.path)})
        customer = feast.Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
        source = feast.FileSource(path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
        self.view = feast.FeatureView(
            name="customer",
            entities=[customer],
            schema=[
                feast.Field(name="customer_id", dtype=feast_types.String),
                *(feast.Field(name=name, dtype=kind) for name, (kind, _, _) in COLUMNS.items()),
            ],
            source=source,
        )
        pd.DataFrame(
            {
                "customer_id": ["a"],
                "event_timestamp": [MOMENT],
                **{n: [v[0]] for n, (_, _, v) in COLUMNS.items()},
            }
        ).to_parquet(folder / "none.parquet")
        self.local.apply([customer, self.view])
        self.write()
        view = OnlineView(
            name="customer",
            join_keys=(JoinKey(name="customer_id", type="STRING"),),
            features=tuple(OnlineFeature(name=n, type=kind) for n, (_, kind, _) in COLUMNS.items()),
        )
        self.control = ControlPlane()
        store = FeatureStore(team="acme", project=PROJECT, path=str(self.path), views=(view,))
        self.control.publish(
            Snapshot(
                version=1,
                keys=(
                    key("mlops_admin_token", None, ("inference_internal", "read_metrics")),
                    key(READER, permissions=("read_features",)),
                    key(PREDICTOR, permissions=("predict",)),
                    key(STRANGER, team="other", permissions=("read_features",)),
                    key(ADMIN_READER, team=None, permissions=("read_features",)),
                ),
                feature_stores=(store,),
            )
        )
        self.server = Server(folder / "inference", self.control, storage, features_deadline_ms=5_000)

    def write(self) -> None:
        """Three customers, of whom the last has nothing but nulls, through Feast's own conversion."""
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value
        from feast.type_map import python_values_to_proto_values

        rows = []
        for place, name in enumerate("abc"):
            values = {
                column: python_values_to_proto_values([given[place]], kind.to_value_type())[0]
                for column, (kind, _, given) in COLUMNS.items()
            }
            entity = EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=name)])
            rows.append((entity, values, MOMENT, None))
        self.local._get_provider().online_write_batch(self.local.config, self.view, rows, None)

    def ask(self, body: Any, token: str | None = READER, path: str = "/get-online-features", **headers: str):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json"} | headers
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        return self.server.client.post(self.server.base + path, content=content, headers=sent)

    def expected(self, features: list[str], customers: list[str], **options: Any) -> dict[str, Any]:
        """What Feast's own feature server answers: its own code on its own store."""
        answer = self.local.get_online_features(
            features=features, entity_rows=[{"customer_id": c} for c in customers], **options
        )
        return convert_response_to_dict(answer.proto)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, storage) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("feast"), storage)
    try:
        shop.server.start()
        eventually(lambda: shop.server.get("/health/ready", None).status_code == 200, "a snapshot")
        yield shop
    finally:
        shop.server.close()
        shop.control.stop()


def by_name(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))


ALL = [f"customer:{name}" for name in COLUMNS]


class TestAnswer:
    @pytest.mark.parametrize("full", [False, True])
    def test_is_that_of_feasts_own_server_for_every_type(self, shop, full):
        customers = ["b", "a", "nobody", "c", "a"]
        answer = shop.ask(
            {"features": ALL, "entities": {"customer_id": customers}, "full_feature_names": full}
        )
        assert answer.status_code == 200, answer.text
        expected = shop.expected(ALL, customers, full_feature_names=full)
        assert by_name(answer.json()) == by_name(expected)
        assert set(answer.json()) == set(expected)

    def test_tells_which_views_it_is_from(self, shop):
        body = {"features": ["customer:whole"], "entities": {"customer_id": ["a"]}}
        answer = shop.ask(body | {"include_feature_view_version_metadata": True}).json()
        expected = shop.expected(["customer:whole"], ["a"], include_feature_view_version_metadata=True)
        assert answer["metadata"] == expected["metadata"]

    def test_is_the_same_below_a_team_and_for_an_administrator(self, shop):
        body = {"features": ["customer:whole"], "entities": {"customer_id": ["a"]}}
        plain = shop.ask(body).json()
        assert shop.ask(body, path="/acme/production/get-online-features").json() == plain
        there = shop.ask(body, ADMIN_READER, "/acme/production/get-online-features")
        assert there.json() == plain
        assert shop.ask(body, ADMIN_READER).status_code == 404

    def test_is_the_same_for_many_at_once(self, shop):
        bodies = [
            {"features": ALL[: 1 + place % 5], "entities": {"customer_id": list("abc")[: 1 + place % 3]}}
            for place in range(60)
        ]
        alone = [shop.ask(body).json() for body in bodies]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda body: shop.ask(body).json(), bodies)) == alone

    def test_has_no_entities_when_none_is_asked_for(self, shop):
        answer = shop.ask({"features": ["customer:whole"], "entities": {"customer_id": []}})
        assert answer.status_code == 200
        assert [result["values"] for result in answer.json()["results"]] == [[], []]


class TestRefusal:
    @pytest.mark.parametrize(
        ("change", "status", "says"),
        [
            ({"features": ["nothing:whole"]}, 404, "FeatureViewNotFoundException"),
            ({"features": ["customer:nothing"]}, 404, "nothing not found"),
            ({"feature_service": "scoring", "features": []}, 404, "FeatureServiceNotFoundException"),
            ({"features": ["whole"]}, 400, "view:feature"),
            ({"features": []}, 400, "No features"),
            ({"features": ["customer:whole"] * 2}, 400, "FeatureNameCollisionError"),
            ({"features": ["customer:whole"] * 1001}, 413, "at most 1000"),
            ({"features": "customer:whole"}, 400, "features"),
            ({"entities": {}}, 400, "join key"),
            ({"entities": {"user_id": ["a"]}}, 400, "customer_id"),
            ({"entities": {"customer_id": ["a"], "other": ["x", "y"]}}, 400, "same columns"),
            ({"entities": {"customer_id": [5]}}, 400, "customer_id"),
            ({"entities": {"customer_id": [None]}}, 400, "customer_id"),
            ({"entities": {"customer_id": [["a"]]}}, 400, "customer_id"),
            ({"entities": {"customer_id": "a"}}, 400, "entities"),
            ({"entities": {"customer_id": ["a"] * 10_001}}, 413, "at most 10000"),
            ({"full_feature_names": "yes"}, 400, "full_feature_names"),
        ],
    )
    def test_names_what_is_wrong(self, shop, change, status, says):
        answer = shop.ask({"features": ["customer:whole"], "entities": {"customer_id": ["a"]}} | change)
        assert (answer.status_code, says in answer.text) == (status, True), answer.text
        assert isinstance(answer.json(), str)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"features": ["customer:whole"], "entities": {"customer_id": [NaN]}}',
            b'{"features": ["customer:whole"], "entities": {"customer_id": [1e999]}}',
            b"\xff\xfe",
            b"[" * 100_000,
        ],
    )
    def test_of_what_is_no_request_is_a_400(self, shop, body):
        assert shop.ask(body).status_code == 400

    def test_asks_for_json_and_for_post(self, shop):
        assert shop.ask({}, **{"content-type": "text/plain"}).status_code == 415
        assert shop.server.get("/get-online-features", READER).status_code == 405
        assert shop.server.get("/get-online-features/more", READER).status_code == 404

    @pytest.mark.parametrize(
        ("token", "status"), [(None, 401), ("mlops_nobody", 401), (PREDICTOR, 403), (STRANGER, 404)]
    )
    def test_is_for_those_who_may_read_alone(self, shop, token, status):
        body = {"features": ["customer:whole"], "entities": {"customer_id": ["a"]}}
        assert shop.ask(body, token).status_code == status
        stranger = shop.ask(body, STRANGER, "/acme/production/get-online-features")
        assert stranger.status_code == 404


class TestStockClient:
    @pytest.fixture
    def remote(self, shop, monkeypatch) -> feast.FeatureStore:
        monkeypatch.setenv("FEAST_READER_KEY", READER)
        registry = shop.folder / "repo" / "registry.db"
        return feast.FeatureStore(
            config=feast.RepoConfig(
                project=PROJECT,
                provider="local",
                registry=str(registry),
                online_store={"type": "remote", "path": shop.server.base},
                entity_key_serialization_version=3,
                auth={"type": "oidc", "token_env_var": "FEAST_READER_KEY"},
            )
        )

    def test_reads_what_its_local_client_reads(self, shop, remote):
        # Infinity and bytes are beyond the client itself: it cannot tell them from texts.
        features = [name for name in ALL if name not in ("customer:ratio", "customer:raw")]
        rows = [{"customer_id": customer} for customer in ("a", "b", "nobody")]
        local = shop.local.get_online_features(features=features, entity_rows=rows).to_dict()
        found = remote.get_online_features(features=features, entity_rows=rows).to_dict()
        moments = local.pop("moment"), found.pop("moment")
        assert moments[1] == [None if m is None else int(m.timestamp()) for m in moments[0]]
        assert found == local

    def test_is_told_of_a_view_that_is_not_there_by_its_own_exception(self, shop, remote):
        with pytest.raises(feast.errors.FeastObjectNotFoundException, match="nothing"):
            remote.get_online_features(features=["nothing:whole"], entity_rows=[{"customer_id": "a"}])

"""Feast's feature server on the control plane: stock clients, what is refused, what is written."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import feast
import httpx
import pandas as pd
import pytest
from feast import types as feast_types
from feast.errors import FeatureViewNotFoundException
from feast.value_type import ValueType

from tests.services.features.test_features import CUSTOMERS, VIEW
from tests.support.platform import Caller, RunningPlatform

NOW = "2026-03-01T12:30:15Z"
ROWS: dict[str, list[Any]] = {
    "customer_id": ["a", "c"],
    "event_timestamp": [NOW, NOW],
    "tenure": [4, None],
    "plan": ["gold", "zwölf"],
}
FEATURES = ["profile:tenure", "profile:plan"]


class Server:
    """`/feast` of a control plane, for one caller."""

    def __init__(self, platform: RunningPlatform, caller: Caller) -> None:
        self.caller = caller
        self.url = f"{platform.url}/feast"

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        if body is not None:
            options["json"] = body
        return self.caller.client.post(f"{self.url}/{path}", **options)

    def push(self, view: str = "profile", rows: Any = None, **more: Any) -> httpx.Response:
        return self.post("push", {"push_source_name": view, "df": rows or ROWS, **more})

    def values(self, *customers: str) -> dict[str, list[Any]]:
        body = {"features": FEATURES, "entities": {"customer_id": list(customers)}}
        answer = self.post("get-online-features", body)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        vectors = zip(told["metadata"]["feature_names"], told["results"], strict=True)
        return {name: vector["values"] for name, vector in vectors}

    def events(self, action: str) -> list[dict[str, Any]]:
        answer = self.caller.client.get("/audit/events", params={"action": action})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])


def with_view(platform: RunningPlatform) -> Server:
    caller = platform.new_user(platform.new_team(), "ml_engineer", "auditor")
    assert caller.client.post("/datasets", json={"name": "customers"}).status_code == 201
    assert caller.client.post("/datasets/customers/versions", content=CUSTOMERS).status_code == 201
    assert caller.client.post("/feature-views", json=VIEW).status_code == 201
    return Server(platform, caller)


@pytest.fixture
def server(platform: RunningPlatform) -> Server:
    return with_view(platform)


@pytest.fixture
def stranger(platform: RunningPlatform) -> Server:
    return Server(platform, platform.new_user(platform.new_team(), "ml_engineer"))


def native(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    detail = answer.json()["detail"]
    assert all(word in detail for word in words), detail


class TestPushing:
    def test_rows_are_online_at_once(self, server: Server) -> None:
        answer = server.push(to="online", allow_registry_cache=False, transform_on_write=True)
        assert (answer.status_code, answer.content) == (200, b"")
        found = server.values("a", "c", "nobody")
        assert found["tenure"] == [4, None, None]
        assert found["plan"] == ["gold", "zwölf", None]
        own = server.caller.client.post(
            "/feature-views/profile/online", json={"keys": [{"customer_id": "a"}]}
        )
        assert own.json()["columns"]["tenure"] == [4]

    def test_of_several_rows_of_an_entity_the_newest_counts(self, server: Server) -> None:
        rows = {
            "customer_id": ["a", "a", "a"],
            "event_timestamp": ["2026-01-02 00:00:00", "2026-01-03T01:00:00+01:00", "2026-01-01"],
            "tenure": [2, 3, 1],
            "plan": ["x", "y", "z"],
        }
        assert server.push(rows=rows).status_code == 200
        assert server.values("a")["tenure"] == [3]
        (event,) = server.events("feature_view.push")
        assert event["after"] == {"name": "profile", "entities": 1}

    def test_values_are_in_no_event(self, server: Server) -> None:
        assert server.push().status_code == 200
        (event,) = server.events("feature_view.push")
        assert event["after"]["entities"] == 2
        assert "gold" not in json.dumps(event)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"tenure": None}, ("tenure", "missing")),
            ({"event_timestamp": None}, ("event_timestamp", "missing")),
            ({"customer_id": None}, ("customer_id", "missing")),
            ({"height": [1, 2]}, ("height", "no such column")),
            ({"tenure": [1]}, ("tenure", "equally long")),
            ({"tenure": [1, "2"]}, ("tenure", "row 1", "whole number")),
            ({"tenure": [1, 2.0]}, ("tenure", "row 1", "whole number")),
            ({"tenure": [True, 2]}, ("tenure", "row 0", "whole number")),
            ({"tenure": [1, 2**63]}, ("tenure", "row 1", "64 bits")),
            ({"plan": ["x", 3]}, ("plan", "row 1", "text")),
            ({"plan": ["x", {"a": 1}]}, ("plan", "row 1", "text")),
            ({"customer_id": ["a", None]}, ("customer_id", "row 1", "null")),
            ({"customer_id": ["a", 7]}, ("customer_id", "row 1", "text")),
            ({"event_timestamp": [NOW, "yesterday"]}, ("event_timestamp", "row 1", "ISO 8601")),
            ({"event_timestamp": [NOW, "0001-01-01T00:00:00+14:00"]}, ("event_timestamp", "row 1")),
            ({"event_timestamp": [NOW, None]}, ("event_timestamp", "row 1", "null")),
            ({name: [] for name in ROWS}, ("no rows",)),
            ({"plan": "text"}, ("df.plan",)),
        ],
    )
    @pytest.mark.parametrize("route", ["push", "write-to-online-store"])
    def test_what_does_not_fit_the_view_is_refused_by_column_and_writes_nothing(
        self, shared: Server, route: str, change: dict[str, Any], words: tuple[str, ...]
    ) -> None:
        rows = {name: values for name, values in (ROWS | change).items() if values is not None}
        named = "push_source_name" if route == "push" else "feature_view_name"
        native(shared.post(route, {named: "profile", "df": rows}), 422, *words)
        assert shared.values("a", "c") == {
            "customer_id": ["a", "c"],
            "tenure": [None] * 2,
            "plan": [None] * 2,
        }
        assert not shared.events("feature_view.push")

    def test_too_many_rows_are_refused(self, shared: Server) -> None:
        rows = {name: [values[0]] * 10_001 for name, values in ROWS.items()}
        native(shared.push(rows=rows), 413, "10000 rows")

    @pytest.mark.parametrize("to", ["offline", "online_and_offline", "nowhere"])
    def test_what_the_history_cannot_take_is_refused_whole(self, shared: Server, to: str) -> None:
        native(shared.push(to=to), 422, "to", to)
        assert shared.values("a")["tenure"] == [None]

    @pytest.mark.parametrize(
        ("content", "status"),
        [
            (b"{", 400),
            (b'{"push_source_name": "profile", "push_source_name": "profile", "df": {}}', 400),
            (b"[" * 100_000, 400),
            (b"[]", 422),
            (b"", 422),
            (b'{"push_source_name": "profile", "df": [1]}', 422),
            (b" " * 5_000_000, 413),
        ],
    )
    def test_bodies_that_are_none_are_refused_in_the_protocols_own_form(
        self, shared: Server, content: bytes, status: int
    ) -> None:
        for route in ("push", "write-to-online-store"):
            answer = shared.post(route, content=content, headers={"content-type": "application/json"})
            native(answer, status)

    @pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
    def test_numbers_that_json_does_not_have_are_refused(self, shared: Server, text: str) -> None:
        body = json.dumps({"push_source_name": "profile", "df": ROWS}).replace("4,", f"{text},", 1)
        answer = shared.post("push", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        assert "detail" in answer.json()

    def test_another_teams_view_is_not_there(self, shared: Server, stranger: Server) -> None:
        native(stranger.push(), 404, "profile")
        answer = stranger.post("write-to-online-store", {"feature_view_name": "profile", "df": ROWS})
        native(answer, 404, "profile")
        native(stranger.post("materialize-incremental", {"end_ts": NOW, "feature_views": ["profile"]}), 404)
        assert shared.values("a")["tenure"] == [None]

    def test_a_push_with_a_key_of_idempotency_is_carried_out_once(self, server: Server) -> None:
        for _ in range(2):
            body = {"push_source_name": "profile", "df": ROWS}
            assert server.post("push", body, headers={"idempotency-key": "once"}).status_code == 200
        assert len(server.events("feature_view.push")) == 1

    def test_our_own_route_does_the_same_and_speaks_in_problems(self, server: Server) -> None:
        client = server.caller.client
        answer = client.post("/feature-views/profile/push", json={"columns": ROWS})
        assert (answer.status_code, answer.json()) == (200, {"feature_view": "profile", "entities": 2})
        wrong = client.post("/feature-views/profile/push", json={"columns": ROWS | {"tenure": [1, "2"]}})
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "tenure")


@pytest.fixture(scope="module")
def shared(platform: RunningPlatform) -> Server:
    """A view into which nothing is ever written."""
    return with_view(platform)


class TestRefusals:
    def test_have_the_protocols_form_for_strangers_and_wrong_paths_too(
        self, platform: RunningPlatform, shared: Server
    ) -> None:
        native(httpx.post(f"{shared.url}/push", json={}), 401)
        native(shared.post("nothing", {}), 404)
        native(shared.caller.client.get(f"{shared.url}/push"), 405)
        viewer = platform.new_user(shared.caller.team, "viewer")
        native(Server(platform, viewer).push(), 403, "write_data")

    @pytest.mark.parametrize(
        ("body", "word"),
        [
            ({"features": FEATURES, "entities": {}}, "join key"),
            ({"features": FEATURES, "entities": {"customer_id": [1]}}, "customer_id"),
            ({"features": ["tenure"], "entities": {"customer_id": ["a"]}}, "view:feature"),
            ({"features": FEATURES, "entities": {"customer_id": "a"}}, "array"),
        ],
    )
    def test_of_reading_name_what_is_wrong(self, shared: Server, body: dict[str, Any], word: str) -> None:
        native(shared.post("get-online-features", body), 422, word)

    def test_health_needs_no_key(self, shared: Server) -> None:
        answer = httpx.get(f"{shared.url}/health")
        assert (answer.status_code, answer.content) == (200, b"")


class TestMaterializing:
    def test_answers_when_the_values_are_online(self, server: Server) -> None:
        body = {
            "start_ts": "2024-01-01T00:00:00",
            "end_ts": "2024-02-15T00:00:00",
            "feature_views": ["profile"],
        }
        answer = server.post("materialize", body)
        assert (answer.status_code, answer.content) == (200, b"null"), answer.text
        assert server.values("a", "b")["tenure"] == [1, 9]
        assert server.post("materialize", {"disable_event_timestamp": True}).status_code == 200
        assert server.values("a", "b")["tenure"] == [3, 9]
        assert len(server.events("feature_view.materialized")) == 2

    def test_incrementally_takes_what_was_known_at_the_end_and_may_be_repeated(self, server: Server) -> None:
        for _ in range(2):
            answer = server.post("materialize-incremental", {"end_ts": "2024-02-15T00:00:00Z"})
            assert (answer.status_code, answer.content) == (200, b"null"), answer.text
            assert server.values("a")["tenure"] == [1]

    def test_later_is_accepted_at_once(self, server: Server) -> None:
        answer = server.post("materialize-incremental?async=true", {"end_ts": NOW})
        assert (answer.status_code, answer.json()) == (
            202,
            {"status": "accepted", "feature_views": ["profile"]},
        )

    @pytest.mark.parametrize(
        ("body", "word"),
        [
            ({}, "start_ts"),
            ({"start_ts": NOW}, "end_ts"),
            ({"start_ts": NOW, "end_ts": "2026-01-01"}, "before end_ts"),
            ({"start_ts": "x", "end_ts": NOW}, "start_ts"),
            ({"start_ts": "2026-01-01", "end_ts": NOW, "feature_views": []}, "feature_views"),
            ({"start_ts": "2026-01-01", "end_ts": NOW, "version": "v2"}, "version"),
        ],
    )
    def test_wrong_requests_are_refused(self, shared: Server, body: dict[str, Any], word: str) -> None:
        native(shared.post("materialize", body), 422, word)

    def test_a_view_that_is_not_there_starts_nothing(self, shared: Server) -> None:
        body = {"end_ts": NOW, "feature_views": ["profile", "nothing"]}
        native(shared.post("materialize-incremental", body), 404, "nothing")
        assert not shared.events("feature_view.materialize")


class Stock:
    """Feast's own client over its remote online store."""

    def __init__(self, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLOPS_API_KEY", server.caller.token)
        self.store = feast.FeatureStore(
            config=feast.RepoConfig(
                project="shop",
                provider="local",
                registry=str(folder / "registry.db"),
                online_store={"type": "remote", "path": server.url},
                auth={"type": "oidc", "token_env_var": "MLOPS_API_KEY"},
                entity_key_serialization_version=3,
            )
        )
        customer = feast.Entity(name="customer_id", join_keys=["customer_id"], value_type=ValueType.STRING)
        source = feast.FileSource(path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
        pd.DataFrame({name: values[:1] for name, values in ROWS.items()}).assign(
            event_timestamp=[datetime(2026, 3, 1, tzinfo=UTC)]
        ).to_parquet(folder / "none.parquet")
        pushed = feast.PushSource(name="profile", batch_source=source)
        self.store.apply([customer, self._view("profile", customer, pushed)])
        self.store.apply([self._view("unknown", customer, source)])

    def _view(self, name: str, customer: Any, source: Any) -> Any:
        return feast.FeatureView(
            name=name,
            entities=[customer],
            schema=[
                feast.Field(name="customer_id", dtype=feast_types.String),
                feast.Field(name="tenure", dtype=feast_types.Int64),
                feast.Field(name="plan", dtype=feast_types.String),
            ],
            source=source,
        )


class TestFeastsOwnClient:
    @pytest.fixture
    def stock(self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stock:
        return Stock(server, tmp_path, monkeypatch)

    def test_pushes_and_reads_what_it_pushed(self, server: Server, stock: Stock) -> None:
        frame = pd.DataFrame(
            {
                "customer_id": ["a", "c"],
                "event_timestamp": pd.to_datetime([NOW, NOW]),
                "tenure": [5, 6],
                "plan": ["gold", None],
            }
        )
        stock.store.push("profile", frame)
        found = stock.store.get_online_features(
            features=FEATURES, entity_rows=[{"customer_id": name} for name in ("a", "c", "nobody")]
        ).to_dict()
        assert found["tenure"] == [5, 6, None]
        assert found["plan"] == ["gold", None, None]
        stock.store.write_to_online_store("profile", frame.assign(tenure=[7, 8]))
        assert server.values("a", "c")["tenure"] == [7, 8]

    def test_raises_what_it_knows(self, stock: Stock) -> None:
        with pytest.raises(FeatureViewNotFoundException, match="unknown"):
            stock.store.get_online_features(features=["unknown:tenure"], entity_rows=[{"customer_id": "a"}])

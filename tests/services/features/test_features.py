"""Features over the API: definitions, online values, point-in-time training sets."""

import time
from pathlib import Path

import pytest

from ml_platform.contracts.features import JoinKey, OnlineFeature, OnlineView
from ml_platform.contracts.serving import FeatureStore, decode_snapshot
from tests.support.crash import eventually
from tests.support.platform import Caller, RunningPlatform

CUSTOMERS = b"""customer_id,event_timestamp,tenure,plan,churned
a,2024-01-01T00:00:00Z,1,basic,0
a,2024-03-01T00:00:00Z,3,pro,0
b,2024-02-01T00:00:00Z,9,basic,1
"""
ASKED = b"""customer_id,event_timestamp,label
a,2024-02-15T00:00:00Z,0
a,2024-03-15T00:00:00Z,1
b,2024-01-15T00:00:00Z,0
"""
VIEW = {
    "name": "profile",
    "dataset": "customers@1",
    "entities": [{"name": "customer_id"}],
    "timestamp_field": "event_timestamp",
    "exclude": ["churned"],
}


@pytest.fixture
def engineer(platform: RunningPlatform) -> Caller:
    caller = platform.new_user(platform.new_team(), "ml_engineer")
    for name, content in (("customers", CUSTOMERS), ("asked", ASKED)):
        caller.client.post("/datasets", json={"name": name})
        answer = caller.client.post(f"/datasets/{name}/versions", content=content)
        assert answer.status_code == 201, answer.text
    answer = caller.client.post("/feature-views", json=VIEW)
    assert answer.status_code == 201, answer.text
    return caller


def materialize(caller: Caller, **body: int) -> dict[str, object]:
    answer = caller.client.post("/feature-views/profile/materialize", json=body)
    assert answer.status_code == 202, answer.text
    url = f"/materializations/{answer.json()['materialization_id']}"
    deadline = time.monotonic() + 60
    while (state := caller.client.get(url).json())["status"] in ("submitted", "running"):
        assert time.monotonic() < deadline, state
        time.sleep(0.05)
    return state


class TestDefining:
    def test_types_come_from_the_dataset(self, engineer: Caller) -> None:
        view = engineer.client.get("/feature-views/profile").json()
        assert {f["name"]: f["type"] for f in view["features"]} == {"tenure": "INT64", "plan": "STRING"}

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"name": "profile"}, 409),
            ({"name": "other", "dataset": "nothing"}, 404),
            ({"name": "other", "dataset": "customers@9"}, 404),
            ({"name": "other", "features": [{"name": "height"}]}, 422),
            ({"name": "other", "timestamp_field": "when"}, 422),
            ({"name": "other", "exclude": ["height"]}, 422),
            ({"name": "not a name"}, 422),
            ({"name": "other", "colour": 1}, 422),
        ],
    )
    def test_wrong_definitions_are_refused(
        self, engineer: Caller, change: dict[str, object], status: int
    ) -> None:
        answer = engineer.client.post("/feature-views", json=VIEW | change)
        assert answer.status_code == status, answer.text
        assert len(engineer.client.get("/feature-views").json()["items"]) == 1

    def test_a_second_time_says_what_to_do(self, engineer: Caller) -> None:
        assert "platform.features.get" in engineer.client.post("/feature-views", json=VIEW).json()["hint"]

    def test_another_team_finds_nothing(self, platform: RunningPlatform, engineer: Caller) -> None:
        stranger = platform.new_user(platform.new_team(), "ml_engineer")
        assert stranger.client.get("/feature-views/profile").status_code == 404
        assert stranger.client.post("/feature-views/profile/materialize").status_code == 404
        assert stranger.client.get("/feature-views").json()["items"] == []


class TestTheSnapshotForInferenceServers:
    def test_a_view_is_listed_with_its_keys_and_types_until_it_is_deleted(
        self, platform: RunningPlatform, engineer: Caller
    ) -> None:
        client = platform.client((platform.settings.home / "secrets" / "inference.key").read_text())

        def stores() -> list[FeatureStore]:
            snapshot = decode_snapshot(client.get("/inference/snapshot").content)
            return [store for store in snapshot.feature_stores if store.team == engineer.team]

        (store,) = eventually(stores, what="the team's store")
        view = OnlineView(
            name="profile",
            join_keys=(JoinKey(name="customer_id", type="STRING"),),
            features=(
                OnlineFeature(name="plan", type="STRING"),
                OnlineFeature(name="tenure", type="INT64"),
            ),
        )
        assert (store.kind, store.views) == ("sqlite", (view,))
        assert Path(store.path).is_file()
        assert engineer.client.delete("/feature-views/profile").status_code == 200
        eventually(lambda: not stores(), what="the store without views to go")


class TestOnline:
    def test_the_newest_values_are_online(self, engineer: Caller) -> None:
        assert materialize(engineer)["entities"] == 2
        answer = engineer.client.post(
            "/feature-views/profile/online",
            json={"keys": [{"customer_id": "a"}, {"customer_id": "b"}, {"customer_id": "zz"}]},
        )
        columns = answer.json()["columns"]
        assert columns["tenure"] == [3, 9, None]
        assert columns["plan"] == ["pro", "basic", None]
        assert engineer.client.get("/feature-views/profile").json()["online_entities"] == 2

    def test_a_key_without_its_entity_is_refused(self, engineer: Caller) -> None:
        answer = engineer.client.post("/feature-views/profile/online", json={"keys": [{"id": "a"}]})
        assert answer.status_code == 422

    def test_a_view_moves_to_a_newer_version(self, engineer: Caller) -> None:
        newer = CUSTOMERS + b"a,2024-04-01T00:00:00Z,4,basic,0\n"
        engineer.client.post("/datasets/customers/versions", content=newer)
        assert materialize(engineer, dataset_version=2)["status"] == "succeeded"
        answer = engineer.client.post("/feature-views/profile/online", json={"keys": [{"customer_id": "a"}]})
        assert answer.json()["columns"]["tenure"] == [4]


class TestTrainingSets:
    def test_join_what_was_known_at_each_time(self, engineer: Caller) -> None:
        body = {"entities": "asked@1", "features": ["profile"], "label": "label"}
        answer = engineer.client.post("/training-sets", json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made["rows"] == 3
        assert set(made["columns"]) == {"customer_id", "event_timestamp", "label", "tenure", "plan"}

    @pytest.mark.parametrize(
        "change",
        [
            {"features": ["nothing"]},
            {"features": ["profile:height"]},
            {"label": "height"},
            {"entities": "no"},
        ],
    )
    def test_wrong_ones_are_refused(self, engineer: Caller, change: dict[str, object]) -> None:
        body = {"entities": "asked@1", "features": ["profile"], "label": "label"} | change
        assert engineer.client.post("/training-sets", json=body).status_code in (404, 422)
        assert engineer.client.get("/training-sets").json()["items"] == []

"""From a dataset to a prediction by entity key alone, with the features in Redis on the way."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from ml_platform.contracts.serving import FeatureStore, decode_snapshot
from ml_platform.integrations.inference import InferenceClient
from ml_platform.kit.db import Database
from ml_platform.kit.redis import RedisAddress, RedisConnection, command
from ml_platform.services.deployments import RolloutParts, RolloutSettings
from ml_platform.services.registry.tables import ModelVersionRow
from tests.inference.support.server import Server
from tests.support.crash import eventually
from tests.support.platform import running_platform
from tests.support.redis import RedisServer, running_redis
from tests.support.rollouts import Bench, LinearTools

PASSWORD = "hunter2-of-redis"
CUSTOMERS = b"""customer_id,event_timestamp,x0
a,2024-01-01T00:00:00Z,1.5
a,2024-03-01T00:00:00Z,3.5
b,2024-02-01T00:00:00Z,9.0
"""
VIEW = {
    "name": "profile",
    "dataset": "customers@1",
    "entities": [{"name": "customer_id"}],
    "timestamp_field": "event_timestamp",
}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One with a password."""
    with running_redis() as server:
        server.call(b"CONFIG", b"SET", b"requirepass", PASSWORD.encode())
        yield server


@pytest.fixture
def bench(redis: RedisServer, tmp_path: Path) -> Iterator[Bench]:
    """A control plane and an inference server that differ from the usual ones in one setting."""
    home, url = tmp_path / "home", redis.url(3, f":{PASSWORD}@")
    with running_platform(home, online_store=url) as platform:
        file = tmp_path / "redis.url"
        file.write_text(url)
        server = Server(
            tmp_path / "inference",
            None,
            home / "storage",
            control_url=platform.url,
            token_file=home / "secrets" / "inference.key",
            poll_wait=5,
            online_store_url_file=file,
        )
        server.start()
        parts = platform.runtime.components.get(RolloutParts)
        parts.tools = tools = LinearTools()
        parts.plane = client = InferenceClient(lambda: server.base, parts.smoke_keys.service_token())
        parts.inference_url = lambda: server.base
        parts.settings = RolloutSettings(ready_timeout_seconds=60, ready_poll_seconds=0.1)
        found = Bench(platform, tmp_path / "models", tools, server.base)
        found.new_team()
        yield found
        found.caller.close()
        client.close()
        server.close()


class TestFeaturesInRedis:
    def test_a_prediction_needs_nothing_but_an_entity_key(
        self, bench: Bench, redis: RedisServer, tmp_path: Path
    ) -> None:
        self.materialize(bench)
        accepted = self.deploy(bench)
        assert self.predict(bench, accepted, "a", "b") == [4.5, 10.0]
        online = bench.engineer.client.post(
            "/feature-views/profile/online", json={"keys": [{"customer_id": "a"}, {"customer_id": "zz"}]}
        )
        assert online.json()["columns"]["x0"] == [3.5, None]

        redis.stop()
        assert self.answer(bench, accepted, "a").status_code == 503
        redis.start()
        redis.call(b"CONFIG", b"SET", b"requirepass", PASSWORD.encode())
        eventually(
            lambda: self.answer(bench, accepted, "a").status_code == 422, within=60, what="an empty Redis"
        )
        self.materialize(bench, define=False)
        assert self.predict(bench, accepted, "a", "b") == [4.5, 10.0]

        self.nothing_shows_the_password(bench, tmp_path)

        assert self.entities(redis) == 2
        assert bench.engineer.client.delete("/feature-views/profile").status_code == 200
        assert self.entities(redis) == 0
        eventually(lambda: self.store(bench).views == (), within=60, what="the snapshot without the view")
        assert self.answer(bench, accepted, "a").status_code == 422
        assert bench.predict(accepted, 1.0).json()["predictions"] == [2.0]

    def materialize(self, bench: Bench, *, define: bool = True) -> None:
        client = bench.engineer.client
        if define:
            client.post("/datasets", json={"name": "customers"})
            assert client.post("/datasets/customers/versions", content=CUSTOMERS).status_code == 201
            assert client.post("/feature-views", json=VIEW).status_code == 201
        answer = client.post("/feature-views/profile/materialize", json={})
        url = f"/materializations/{answer.json()['materialization_id']}"
        deadline = time.monotonic() + 60
        while (state := client.get(url).json())["status"] in ("submitted", "running"):
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        assert (state["status"], state["entities"]) == ("succeeded", 2), state

    def deploy(self, bench: Bench) -> dict[str, Any]:
        bench.plant("churn")
        with bench.platform.runtime.components.get(Database).write() as session:
            session.execute(update(ModelVersionRow).values(feature_view="profile"))
        accepted = bench.deploy("churn")
        bench.until(accepted, "succeeded")
        return accepted

    def predict(self, bench: Bench, accepted: dict[str, Any], *customers: str) -> list[float]:
        def answered() -> list[float]:
            answer = self.answer(bench, accepted, *customers)
            return answer.json()["predictions"] if answer.status_code == 200 else []

        return eventually(answered, within=60, what="a prediction")

    def answer(self, bench: Bench, accepted: dict[str, Any], *customers: str) -> Any:
        instances = [{"customer_id": customer} for customer in customers]
        headers = {"authorization": f"Bearer {bench.engineer.token}"}
        return bench.caller.post(accepted["endpoint"], json={"instances": instances}, headers=headers)

    def nothing_shows_the_password(self, bench: Bench, folder: Path) -> None:
        told, store = self.snapshot(bench), self.store(bench)
        assert (store.kind, store.path, [view.name for view in store.views]) == ("redis", "", ["profile"])
        assert PASSWORD.encode() not in told
        kept = [path for path in folder.rglob("*") if path.is_file() and path.name != "redis.url"]
        assert kept
        assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]

    def entities(self, redis: RedisServer) -> int:
        until = time.monotonic() + 30
        connection = RedisConnection(RedisAddress.parse(redis.url(3, f":{PASSWORD}@")), until)
        (count,) = connection.exchange(command(b"DBSIZE"), 1, until)
        connection.close()
        return count

    def snapshot(self, bench: Bench) -> bytes:
        key = (bench.platform.settings.home / "secrets" / "inference.key").read_text()
        return bench.platform.client(key).get("/inference/snapshot").content

    def store(self, bench: Bench) -> FeatureStore:
        (store,) = decode_snapshot(self.snapshot(bench)).feature_stores
        return store

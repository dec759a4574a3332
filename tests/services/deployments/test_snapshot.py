"""The route by which inference servers follow the desired state."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from ml_platform.contracts.serving import decode_snapshot
from ml_platform.kit.tokens import sha256_of
from tests.support.platform import RunningPlatform
from tests.support.rollouts import Bench

ROUTE = "/inference/snapshot"


def server_client(platform: RunningPlatform) -> httpx.Client:
    return platform.client((platform.settings.home / "secrets" / "inference.key").read_text())


class TestTheSnapshot:
    def test_only_inference_servers_and_administrators_read_it(self, bench: Bench) -> None:
        assert bench.engineer.client.get(ROUTE).status_code == 403
        assert bench.person("team_lead").client.get(ROUTE).status_code == 403
        assert bench.platform.client().get(ROUTE).status_code == 401
        assert server_client(bench.platform).get(ROUTE).status_code == 200

    def test_it_has_keys_by_hash_with_what_they_may(self, bench: Bench) -> None:
        engineer, viewer, auditor = bench.engineer, bench.person("viewer"), bench.person("auditor")
        client = server_client(bench.platform)

        def keys() -> dict[str, tuple[str, ...]]:
            snapshot = decode_snapshot(client.get(ROUTE).content)
            return {key.token_sha256: key.permissions for key in snapshot.keys if key.team == bench.team}

        deadline = time.monotonic() + 10
        while sha256_of(auditor.token) not in (found := keys()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert found[sha256_of(engineer.token)] == ("predict", "read_metrics", "read_features")
        assert found[sha256_of(auditor.token)] == ("read_metrics",)
        assert sha256_of(viewer.token) not in found
        assert engineer.token not in client.get(ROUTE).text

    def test_a_poll_ends_with_the_change_and_not_with_its_time(self, bench: Bench) -> None:
        client = server_client(bench.platform)
        version = decode_snapshot(client.get(ROUTE).content).version
        threading.Timer(0.3, lambda: bench.engineer.client.post("/keys", json={"name": "new"})).start()
        began = time.monotonic()
        while True:  # other changes may still be on their way
            answer = client.get(ROUTE, params={"after": version, "wait": 30})
            assert answer.status_code == 200
            snapshot = decode_snapshot(answer.content)
            version = snapshot.version
            if sum(key.team == bench.team for key in snapshot.keys) == 2:
                break
        assert time.monotonic() - began < 20

    def test_without_a_change_it_answers_204(self, bench: Bench) -> None:
        client = server_client(bench.platform)
        for _ in range(50):
            version = decode_snapshot(client.get(ROUTE).content).version
            answer = client.get(ROUTE, params={"after": version, "wait": 0.5})
            if answer.status_code == 204:
                return
        raise AssertionError("it never came to rest")

    def test_many_who_wait_hold_no_thread(self, bench: Bench) -> None:
        """More of them than the control plane has threads, and it still answers others."""
        platform, engineer = bench.platform, bench.engineer
        many = platform.settings.api.threads + 10
        with ThreadPoolExecutor(many) as pool:
            version = decode_snapshot(server_client(platform).get(ROUTE).content).version
            params = {"after": version, "wait": 8}
            waiting = [pool.submit(server_client(platform).get, ROUTE, params=params) for _ in range(many)]
            assert engineer.client.get("/whoami", timeout=7).status_code == 200
            assert {future.result().status_code for future in waiting} <= {200, 204}

    def test_bad_parameters_are_named(self, bench: Bench) -> None:
        client = server_client(bench.platform)
        for params in ({"after": "x"}, {"after": -2}, {"wait": -1}, {"wait": 61}, {"wait": "nan"}):
            assert client.get(ROUTE, params=params).status_code == 422, params

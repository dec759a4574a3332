"""What a deployment answers while its feature store is locked, gone, damaged or hanging."""

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from ml_platform.contracts.featurepolicy import FeaturePolicy
from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.featurestores.gate import THREADS

from .support.bundles import build_linear
from .support.control import CALLER, ControlPlane, endpoint, revision, snapshot
from .support.server import Server, eventually
from .test_lookups import REQUEST, write_store

UNSEEN = dict.fromkeys(("locked", "removed", "damaged"), (30.0, 3.0))
CUSTOMERS: dict[str, tuple[float, float | None]] = {"a": (10.0, 1.0), "b": (20.0, 2.0), **UNSEEN}
PATIENT = 1_000.0
"""Milliseconds: a machine that is busy must not be taken for a store that is slow."""
POLICIES = {
    "failing": FeaturePolicy(deadline_ms=PATIENT),
    "defaulting": FeaturePolicy(
        on_store_failure="default", defaults={"x0": 100, "x1": 200.5}, deadline_ms=PATIENT
    ),
    "remembering": FeaturePolicy(on_store_failure="last_known", deadline_ms=PATIENT),
}


class Shop:
    """A server with an endpoint for each policy, over one store that is a real file."""

    def __init__(self, folder: Path, storage: Path, policies: dict[str, FeaturePolicy]) -> None:
        self.path = folder / "online.db"
        write_store(self.path, CUSTOMERS)
        bundle = build_linear(storage / f"policies-{folder.name}", [1.0, 1.0], features=REQUEST)
        plain = build_linear(storage / f"policies-plain-{folder.name}", [1.0], bias=0.5)
        self.control = ControlPlane()
        endpoints = [
            endpoint(revision(bundle, f"rev-{name}", features=policy), name=name)
            for name, policy in policies.items()
        ]
        endpoints.append(endpoint(revision(plain, "rev-plain"), name="plain"))
        store = FeatureStore(team="acme", project="shop", path=str(self.path))
        self.control.publish(snapshot(1, *endpoints, stores=(store,)))
        self.server = Server(folder / "inference", self.control, storage)

    def start(self) -> None:
        self.server.start()
        self.server.has_applied(self.control.snapshot)

    def ask(self, name: str, *customers: str) -> httpx.Response:
        return self.server.predict([{"customer_id": customer} for customer in customers], name=name)

    def close(self) -> None:
        self.server.close()
        self.control.stop()


@pytest.fixture(scope="module")
def shop(tmp_path_factory, storage) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("policies"), storage, POLICIES)
    try:
        shop.start()
        yield shop
    finally:
        shop.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    store = sqlite3.connect(path, isolation_level=None)
    try:
        store.execute("PRAGMA locking_mode=EXCLUSIVE")
        store.execute("BEGIN EXCLUSIVE")
        yield
        store.execute("ROLLBACK")
    finally:
        store.close()


@contextmanager
def removed(path: Path) -> Iterator[None]:
    aside = path.with_suffix(".aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    aside = path.with_suffix(".aside")
    path.rename(aside)
    path.write_bytes(os.urandom(64 * 1024))
    try:
        yield
    finally:
        aside.replace(path)


FAULTS = pytest.mark.parametrize("fault", [locked, removed, damaged], ids=lambda f: f.__name__)


def healthy(shop: Shop) -> None:
    for name in POLICIES:
        eventually(
            lambda name=name: (
                (r := shop.ask(name, "a", "b")).status_code == 200 and "mlops-features" not in r.headers
            ),
            f"{name} reads the store",
        )


class TestFault:
    @FAULTS
    def test_is_answered_as_declared_and_marked(self, shop, fault):
        healthy(shop)
        with fault(shop.path):
            answer = eventually(
                lambda: (r := shop.ask("defaulting", "a", "b")).headers.get("mlops-features") and r,
                "the store is missed",
            )
            assert (answer.status_code, answer.headers["mlops-features"]) == (200, "default")
            assert answer.json() == {"predictions": [300.5, 300.5]}
            answer = eventually(
                lambda: (r := shop.ask("remembering", "b", "a")).headers.get("mlops-features") and r,
                "the store is missed by the one that remembers",
            )
            assert (answer.status_code, answer.headers["mlops-features"]) == (200, "last-known")
            assert answer.json() == {"predictions": [22.0, 11.0]}
            answer = shop.ask("remembering", "a", fault.__name__)
            assert answer.status_code == 503
            assert f"customer_id='{fault.__name__}'" in answer.json()["error"]
            answer = eventually(
                lambda: (r := shop.ask("failing", "a")).status_code == 503 and r,
                "the store is missed by the one that fails",
            )
            assert "feature store" in answer.json()["error"]
            assert "mlops-features" not in answer.headers
        healthy(shop)

    def test_leaves_alone_what_the_caller_gives_itself(self, shop):
        healthy(shop)
        with removed(shop.path):
            eventually(lambda: shop.ask("failing", "a").status_code == 503, "the store is missed")
            answer = shop.server.predict([[1.0, 2.0]], name="defaulting")
            assert (answer.json(), "mlops-features" in answer.headers) == ({"predictions": [3.0]}, False)
            mixed = eventually(
                lambda: (
                    (
                        r := shop.server.predict([{"customer_id": "a", "x0": 1.0}], name="defaulting")
                    ).headers.get("mlops-features")
                    and r
                ),
                "the store is missed",
            )
            assert mixed.json() == {"predictions": [201.5]}
        healthy(shop)

    def test_is_counted_by_policy(self, shop):
        def counts() -> dict[tuple[str, str], int]:
            found = {}
            for line in shop.server.get("/metrics").text.splitlines():
                if line.startswith("model_feature_fallbacks_total"):
                    labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
                    found[labels["endpoint"], labels["policy"]] = int(line.rsplit(" ", 1)[1])
            return found

        healthy(shop)
        before = counts()
        with removed(shop.path):
            eventually(lambda: shop.ask("failing", "a").status_code == 503, "the store is missed")
            for name in ("defaulting", "remembering"):
                eventually(
                    lambda name=name: shop.ask(name, "a").headers.get("mlops-features"),
                    f"the store is missed by {name}",
                )
        wanted = [("failing", "fail"), ("defaulting", "default"), ("remembering", "last-known")]
        eventually(
            lambda: all(counts().get(kind, 0) > before.get(kind, 0) for kind in wanted),
            "the fall-backs in the metrics",
        )
        healthy(shop)

    def test_is_in_the_prediction_log(self, shop):
        import duckdb

        healthy(shop)
        with removed(shop.path):
            eventually(
                lambda: shop.ask("defaulting", "a").headers.get("mlops-features"), "the store is missed"
            )
            eventually(
                lambda: shop.ask("remembering", "a").headers.get("mlops-features"), "the store is missed"
            )
            shop.server.predict([{"customer_id": "a"}], name="defaulting", x_request_id="by-default")
            shop.server.predict([{"customer_id": "a"}], name="remembering", x_request_id="by-memory")
        healthy(shop)
        shop.server.predict([{"customer_id": "a"}], name="defaulting", x_request_id="by-the-store")
        root = shop.server.state / "predictions" / "log"
        wanted = [("by-default", "default"), ("by-memory", "last-known"), ("by-the-store", None)]

        def found() -> bool:
            if not list(root.rglob("*.parquet")):
                return False
            rows = duckdb.sql(
                f"SELECT request_id, feature_fallback FROM read_parquet('{root}/**/*.parquet', union_by_name=true)"
                " WHERE request_id LIKE 'by-%' ORDER BY 1"
            ).fetchall()
            return rows == wanted

        eventually(found, "the logged fall-backs")

    def test_shows_in_other_protocols(self, shop):
        healthy(shop)
        with removed(shop.path):
            eventually(
                lambda: shop.ask("defaulting", "a").headers.get("mlops-features"), "the store is missed"
            )
            answer = shop.server.client.post(
                f"{shop.server.base}/models/defaulting/invocations",
                json={"dataframe_records": [{"customer_id": "a"}]},
                headers={"authorization": f"Bearer {CALLER}"},
            )
            assert (answer.status_code, answer.headers["mlops-features"]) == (200, "default"), answer.text
        healthy(shop)


class TestHangingStore:
    """A pipe without a writer: opening it never returns, as on a file system whose server is away."""

    @pytest.fixture
    def hanging(self, tmp_path, storage) -> Iterator[Shop]:
        policies = {
            "failing": FeaturePolicy(deadline_ms=20),
            "defaulting": FeaturePolicy(
                on_store_failure="default", defaults={"x0": 1, "x1": 2}, deadline_ms=20
            ),
        }
        shop = Shop(tmp_path, storage, policies)
        shop.path.unlink()
        os.mkfifo(shop.path)
        try:
            shop.start()
            yield shop
        finally:
            shop.close()

    def test_fails_its_own_requests_alone_and_soon_at_once(self, hanging):
        answers: list[tuple[str, httpx.Response]] = []
        stop = threading.Event()

        def call(name: str) -> None:
            with httpx.Client(timeout=30) as client:
                while not stop.is_set():
                    row = [1.0] if name == "plain" else {"customer_id": "a"}
                    answer = client.post(
                        f"{hanging.server.base}/v1/models/{name}:predict",
                        json={"instances": [row]},
                        headers={"authorization": f"Bearer {CALLER}"},
                    )
                    answers.append((name, answer))

        with ThreadPoolExecutor(6) as pool:
            for name in ("plain", "plain", "failing", "failing", "defaulting", "defaulting"):
                pool.submit(call, name)
            try:
                eventually(
                    lambda: all(
                        sum(1 for asked, _ in answers if asked == name) >= 50
                        for name in ("plain", "failing", "defaulting")
                    ),
                    "fifty answers of each",
                    120,
                )
            finally:
                stop.set()
        by_name = {name: [a for asked, a in answers if asked == name] for name, _ in answers}
        assert {a.status_code for a in by_name["plain"]} == {200}
        assert {(a.status_code, a.headers.get("mlops-features")) for a in by_name["defaulting"]} == {
            (200, "default")
        }
        assert {a.status_code for a in by_name["failing"]} == {503}
        said = {a.json()["error"] for a in by_name["failing"]}
        assert any("did not answer within 20 ms" in text for text in said) or any(
            "left alone" in text for text in said
        )
        assert any("left alone" in text for text in said)
        threads = Path(f"/proc/{hanging.server.worker_pids()[0]}/task")
        names = [(thread / "comm").read_text().strip() for thread in threads.iterdir()]
        assert len([name for name in names if name.startswith("features")]) <= THREADS

    def test_is_read_again_once_it_answers(self, hanging):
        assert hanging.ask("failing", "a").status_code == 503
        pipe = hanging.path.with_suffix(".pipe")
        hanging.path.rename(pipe)
        write_store(hanging.path, CUSTOMERS)
        released = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        os.close(released)
        answer = eventually(
            lambda: (r := hanging.ask("failing", "a")).status_code == 200 and r.json(), "the store again"
        )
        assert answer == {"predictions": [11.0]}

    def test_does_not_keep_the_server_from_stopping(self, hanging):
        assert hanging.ask("failing", "a").status_code == 503
        assert hanging.server.stop() == 0


class TestPolicy:
    def test_that_does_not_fit_the_model_is_a_failed_revision(self, tmp_path, storage):
        lacking = FeaturePolicy(on_store_failure="default", defaults={"x0": 1})
        shop = Shop(tmp_path, storage, {"lacking": lacking})
        try:
            shop.start()
            state, reason = shop.server.status().revision_state("rev-lacking")
            assert (state, reason) == (
                "failed",
                "features.defaults.x1: missing; every looked-up column needs a default",
            )
        finally:
            shop.close()


class TestStandalone:
    def test_reads_its_stores_and_its_policy_from_settings(self, tmp_path, storage):
        bundle = build_linear(storage / f"alone-{tmp_path.name}", [1.0, 1.0], features=REQUEST)
        path = tmp_path / "online.db"
        write_store(path, CUSTOMERS)
        store = FeatureStore(team="default", project="shop", path=str(path))
        (tmp_path / "stores.json").write_bytes(msgspec.json.encode([store]))
        policy = FeaturePolicy(on_store_failure="default", defaults={"x0": 1, "x1": 2}, deadline_ms=PATIENT)
        server = Server(
            tmp_path / "inference",
            None,
            storage,
            model_dir=bundle.path,
            model_name="churn",
            anonymous=1,
            stores_file=tmp_path / "stores.json",
            feature_policy=msgspec.json.encode(policy).decode(),
        )
        try:
            server.start()
            found = eventually(
                lambda: (r := server.predict([{"customer_id": "b"}], token=None)).status_code == 200 and r,
                "the first answer",
                120,
            )
            assert (found.json(), "mlops-features" in found.headers) == ({"predictions": [22.0]}, False)
            with removed(path):
                found = eventually(
                    lambda: (
                        (r := server.predict([{"customer_id": "b"}], token=None)).headers.get(
                            "mlops-features"
                        )
                        and r
                    ),
                    "the store is missed",
                )
                assert (found.json(), found.headers["mlops-features"]) == ({"predictions": [3.0]}, "default")
        finally:
            server.close()

    def test_refuses_a_policy_that_is_none_at_its_start(self, tmp_path, storage):
        server = Server(tmp_path / "inference", None, storage, feature_policy='{"on_store_failure": "zeros"}')
        try:
            with pytest.raises(RuntimeError, match="feature-policy"):
                server.start()
        finally:
            server.close()

"""Collectors, and one server whose every request is traced."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ml_platform.contracts.bundles import EntityKey, FeatureRequest
from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.traces.tracer import Served, Traced
from tests.inference.support.bundles import build_fragile, build_linear
from tests.inference.support.collector import Collected, Collector
from tests.inference.support.control import ControlPlane, endpoint, revision, snapshot
from tests.inference.support.explaining import with_background
from tests.inference.support.server import Server, eventually
from tests.inference.test_lookups import write_store

FEATURES = FeatureRequest(
    entities=(EntityKey(name="customer_id", type="string"),),
    columns={"x0": "customer:tenure", "x1": "customer:charges"},
)
CUSTOMER = "7590-VHVEG"
CHARGES = 8642.25


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.stop()


class Traces:
    """A server and its collector."""

    def __init__(self, server: Server, collector: Collector) -> None:
        self.server = server
        self.collector = collector

    def of(self, request_id: str) -> list[Collected]:
        """The spans of a request, the server's own first."""
        return eventually(lambda: self.collector.of_request(request_id), f"the spans of {request_id}")


@pytest.fixture(scope="module")
def traced(tmp_path_factory, storage: Path, one) -> Iterator[Traces]:
    online = tmp_path_factory.mktemp("features") / "online.db"
    write_store(online, {CUSTOMER: (10.0, CHARGES)})
    looked_up = build_linear(storage / "traced-looked-up", [1.0, 1.0], features=FEATURES)
    explained = with_background(one, storage / "traced-explained", [[1.0], [3.0]])
    control, collector = ControlPlane(), Collector()
    wanted = snapshot(
        1,
        endpoint(revision(one, "rev-one", model_version="7")),
        endpoint(revision(build_fragile(storage / "fragile"), "rev-fragile"), name="fragile"),
        endpoint(revision(looked_up, "rev-looked-up"), name="lookedup"),
        endpoint(revision(explained, "rev-explained"), name="explained"),
        stores=(FeatureStore(team="acme", project="shop", path=str(online)),),
    )
    control.publish(wanted)
    server = Server(
        tmp_path_factory.mktemp("traced"),
        control,
        storage,
        grpc_port=0,
        traces_endpoint=collector.url,
        traces_ratio=1,
        traces_headers="x-collector-key=mlops%5Fcollector%5Fsecret",
        traces_compression="gzip",
    )
    try:
        server.start()
        server.has_applied(wanted)
        yield Traces(server, collector)
        assert not collector.faults
    finally:
        server.close()
        control.stop()
        collector.stop()


@pytest.fixture
def make_traced() -> Callable[..., Traced]:
    """A request as a worker notes it."""

    def make(number: int = 1, **changes: object) -> Traced:
        made: dict[str, object] = {
            "trace_id": f"{number:032x}",
            "span_id": f"{number:016x}",
            "parent": None,
            "started": 1_700_000_000_000_000_000,
            "took": 5_000_000,
            "marks": [("decode", 100), ("queue", 200), ("model", 300), ("", 400), ("encode", 500)],
            "method": "POST",
            "route": "/v1/models/{name}:predict",
            "path": "/v1/models/churn:predict",
            "status": 200,
            "request_id": f"request-{number}",
            "rows": 1,
            "batch": (1, 1),
            "served": Served("acme", "production", "churn", "dep-1", "rev-1", "churn", "1", "onnx"),
        }
        return Traced(**(made | changes))

    return make

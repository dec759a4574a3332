"""One server with every kind of endpoint, over REST and gRPC, for tests that change nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_platform.contracts.bundles import Column, EntityKey, FeatureRequest
from ml_platform.contracts.serving import FeatureStore, Sticky
from tests.inference.support.bundles import build_linear
from tests.inference.support.control import ControlPlane, endpoint, key, revision, snapshot
from tests.inference.support.explaining import with_background
from tests.inference.support.grpc_caller import GrpcCaller
from tests.inference.support.server import Server
from tests.inference.support.tensors import KINDS, RestCaller, build_echo
from tests.inference.test_lookups import write_store

FEATURES = FeatureRequest(
    entities=(EntityKey(name="customer_id", type="string"),),
    columns={"x0": "customer:tenure", "x1": "customer:charges"},
)


@pytest.fixture(scope="session")
def v2_server(tmp_path_factory, storage: Path, churn, one, two, types) -> Iterator[Server]:
    online = tmp_path_factory.mktemp("features") / "online.db"
    write_store(online, {"a": (10.0, 1.0), "b": (20.0, 2.0), "hollow": (30.0, None)})
    echoes = [
        endpoint(revision(build_echo(storage / f"echo-{kind}", kind), f"rev-{kind}"), name=f"echo-{kind}")
        for kind in KINDS
    ]
    pair = build_echo(
        storage / "pair",
        "double",
        2,
        outputs=(Column(name="low", type="double"), Column(name="high", type="float")),
    )
    looked_up = build_linear(storage / "v2-looked-up", [1.0, 1.0, 1.0], features=FEATURES)
    explained = with_background(one, storage / "v2-explained", [[1.0], [3.0]])
    control = ControlPlane()
    wanted = snapshot(
        1,
        endpoint(revision(explained, "rev-explained"), name="explained"),
        endpoint(revision(churn.bundle, "rev-churn", model_version="7")),
        endpoint(revision(types, "rev-types"), name="types"),
        *echoes,
        endpoint(revision(pair, "rev-pair"), name="pair"),
        endpoint(revision(build_echo(storage / "wide", "double", 3), "rev-wide"), name="wide"),
        endpoint(revision(looked_up, "rev-looked-up"), name="lookedup"),
        endpoint(revision(one, "rev-staging"), name="staged", environment="staging"),
        endpoint(revision(one, "rev-theirs"), name="theirs", team="umbrella"),
        endpoint(
            revision(one, "rev-one", weight=100, model_version="1"),
            revision(two, "rev-two", weight=0, model_version="2"),
            revision(two, "rev-shadow", weight=0, model_version="3", shadow=True),
            name="split",
        ),
        endpoint(
            revision(one, "rev-c", weight=50),
            revision(two, "rev-d", weight=50),
            name="stickyentity",
            sticky=Sticky(by="entity", name="x0"),
        ),
        endpoint(revision(one, "rev-warm", weight=0), name="warm"),
        keys=(key("powerless", permissions=("read_data",)), key("other-team", team="umbrella")),
        stores=(FeatureStore(team="acme", project="shop", path=str(online)),),
    )
    control.publish(wanted)
    server = Server(
        tmp_path_factory.mktemp("v2"), control, storage, max_body_bytes=200_000, max_rows=500, grpc_port=0
    ).start()
    try:
        status = server.has_applied(wanted)
        assert {r.state for w in status.workers for r in w.revisions} == {"ready"}, status
        yield server
    finally:
        server.close()
        control.stop()


@pytest.fixture
def caller(v2_server: Server) -> RestCaller:
    return RestCaller(v2_server)


@pytest.fixture(scope="session")
def calls(v2_server: Server) -> Iterator[GrpcCaller]:
    caller = GrpcCaller(v2_server.grpc_port)
    yield caller
    caller.close()

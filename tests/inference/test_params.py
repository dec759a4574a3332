"""Params of a model's signature: given over every protocol, checked, told to the model, logged."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import grpc
import httpx
import msgspec
import pytest

from ml_platform.contracts.bundles import BundleError, Column, Param, Signature, decode_manifest
from ml_platform.inference.errors import InvalidInput
from ml_platform.inference.params import Params
from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb

from .support.control import CALLER, ControlPlane, endpoint, revision, snapshot
from .support.explaining import with_background
from .support.grpc_caller import GrpcCaller
from .support.params import DEFAULTS, build_scaled, build_told
from .support.scoring import Stock
from .support.server import Server, eventually

PRECISELY = "application/json"
WRONG: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"scale": "2"}, "scale", "expected float, got str"),
    ({"scale": None}, "scale", "expected float, got null"),
    ({"scale": True}, "scale", "expected float, got bool"),
    ({"count": 1.5}, "count", "expected int, got float"),
    ({"count": 2**31}, "count", "expected int <= 2147483647"),
    ({"big": 2**63}, "big", "expected int"),
    ({"ratio": 1e39}, "ratio", "expected float <= "),
    ({"strict": 1}, "strict", "expected bool, got int"),
    ({"note": 5}, "note", "expected str, got int"),
    ({"stop": {"a": 1}}, "stop", "expected array, got object"),
    ({"stop": ["a", None]}, "stop[1]", "expected str, got null"),
    ({"moment": "yesterday"}, "moment", "Invalid RFC3339"),
    ({"moment": "0001-01-01T00:00:00+14:00"}, "moment", "beyond the calendar"),
    ({"temperature": 0.5}, "temperature", "unknown; the model takes scale, count"),
)


@pytest.fixture(scope="module")
def told(storage: Path):
    return build_told(storage / "told")


@pytest.fixture(scope="module")
def scaled(storage: Path):
    return with_background(
        build_scaled(storage / "scaled"), storage / "scaled-explained", [[1.0, 0.0], [3.0, 4.0]]
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory, storage: Path, told, scaled, one, mischief) -> Iterator[Server]:
    control = ControlPlane()
    wanted = snapshot(
        1,
        endpoint(revision(told, "rev-told"), name="told"),
        endpoint(revision(scaled, "rev-scaled"), name="scaled"),
        endpoint(revision(one, "rev-one"), name="one"),
        endpoint(
            revision(scaled, "rev-live"), revision(told, "rev-dark", weight=0, shadow=True), name="shadowed"
        ),
    )
    control.publish(wanted)
    server = Server(
        tmp_path_factory.mktemp("params"), control, storage, pyfunc_python=sys.executable, grpc_port=0
    ).start()
    try:
        status = server.has_applied(wanted)
        assert {r.state for w in status.workers for r in w.revisions} == {"ready"}, status
        yield server
    finally:
        server.close()
        control.stop()


def post(server: Server, path: str, body: Any, **headers: str) -> httpx.Response:
    sent = {"content-type": PRECISELY, "authorization": f"Bearer {CALLER}"}
    return server.client.post(server.base + path, content=json.dumps(body), headers=sent | headers)


def over_v1(server: Server, params: Any, model: str = "told", **headers: str) -> httpx.Response:
    body = {"instances": [[2.0]]} | ({} if params is None else {"parameters": params})
    return post(server, f"/v1/models/{model}:predict", body, **headers)


def over_v2(server: Server, params: Any, model: str = "told", name: str = "x") -> httpx.Response:
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [2.0]}]
    body = {"inputs": inputs} | ({} if params is None else {"parameters": params})
    return post(server, f"/v2/models/{model}/infer", body)


def over_mlflow(server: Server, params: Any, model: str = "told") -> httpx.Response:
    body = {"inputs": {"x0" if model == "one" else "x": [2.0]}} | (
        {} if params is None else {"params": params}
    )
    return post(server, f"/models/{model}/invocations", body)


def over_grpc(server: Server, params: dict[str, Any], model: str = "told", *, raw: bool = False) -> Any:
    request = pb.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="x0" if model == "one" else "x", datatype="FP64", shape=[1])
    if raw:
        request.raw_input_contents.append(b"\0\0\0\0\0\0\0\x40")
    else:
        tensor.contents.fp64_contents.append(2.0)
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in params.items():
        setattr(request.parameters[name], kinds[type(value)], value)
    caller = GrpcCaller(server.grpc_port)
    try:
        return caller.infer(request)
    finally:
        caller.close()


def answer(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found = response.json()
    if "predictions" in found:
        return found["predictions"][0]
    outputs = {o["name"]: o["data"][0] for o in found["outputs"]}
    return {n: json.loads(v) if isinstance(v, str) else v for n, v in outputs.items()}


PROTOCOLS = pytest.mark.parametrize("ask", [over_v1, over_v2, over_mlflow], ids=["V1", "V2", "MLflow"])


class TestGivenParams:
    @PROTOCOLS
    def test_reach_the_model_with_their_types_and_the_defaults_of_the_others(self, server, ask):
        found = answer(ask(server, {"scale": 3, "count": 7, "stop": [], "limit": 5, "strict": True}))
        assert found["x"] == 6.0
        assert found["told"] == {
            "scale": "3.0", "count": "7", "big": str(2**40), "ratio": "0.5", "strict": "True", "note": "none",
            "stop": "[]", "moment": "2024-01-02 03:04:05", "limit": "5",
        }  # fmt: skip
        assert found["types"] == {
            "scale": "float", "count": "int", "big": "int", "ratio": "float", "strict": "bool", "note": "str",
            "stop": "list", "moment": "datetime", "limit": "int",
        }  # fmt: skip

    @PROTOCOLS
    def test_may_be_none_at_all(self, server, ask):
        found = answer(ask(server, None))
        assert found == answer(ask(server, {}))
        assert (found["x"], found["told"]["note"], found["told"]["limit"]) == (2.0, "none", "None")

    @PROTOCOLS
    @pytest.mark.parametrize(("params", "name", "says"), WRONG)
    def test_that_are_wrong_are_refused_by_their_names(self, server, ask, params, name, says):
        response = ask(server, params)
        assert response.status_code == 400, response.text
        where = "params" if ask is over_mlflow else "parameters"
        text = response.json()["message" if ask is over_mlflow else "error"]
        assert text.startswith(f"{where}.{name}: "), text
        assert says.lower() in text.lower()

    @PROTOCOLS
    def test_that_are_no_object_are_refused(self, server, ask):
        response = ask(server, [1])
        assert response.status_code == 400
        assert "expected object" in response.text

    @PROTOCOLS
    def test_that_are_too_long_to_be_logged_are_refused(self, server, ask):
        response = ask(server, {"note": "x" * 9000})
        assert (response.status_code, "at most 8192" in response.text) == (413, True)

    def test_of_a_moment_in_another_zone_are_told_in_utc(self, server):
        found = answer(over_v1(server, {"moment": "2024-05-06T07:08:09+02:00"}))
        assert found["told"]["moment"] == "2024-05-06 05:08:09"

    def test_stand_beside_csv_as_their_defaults(self, server):
        headers = {"content-type": "text/csv", "authorization": f"Bearer {CALLER}"}
        response = server.client.post(
            f"{server.base}/models/told/invocations", content=b"x\n2.0\n", headers=headers
        )
        assert answer(response)["told"]["scale"] == "1.0"

    @pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
    def test_over_grpc_are_the_same(self, server, raw):
        given = {"scale": 3, "note": "hi", "strict": True, "stop": '["c"]', "count": 4}
        for _ in range(2):  # the second time the form of a raw request is remembered
            found = over_grpc(server, given, raw=raw)
            contents = {o.name: place for place, o in enumerate(found.outputs)}
            if raw:
                assert found.raw_output_contents[contents["x"]] == b"\0\0\0\0\0\0\x18\x40"
                told = json.loads(found.raw_output_contents[contents["told"]][4:])
            else:
                told = json.loads(found.outputs[contents["told"]].contents.bytes_contents[0])
            assert (told["note"], told["stop"], told["strict"]) == ("hi", "['c']", "True")

    @pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
    @pytest.mark.parametrize(
        ("params", "says"),
        [
            ({"scale": "2"}, "parameters.scale: expected float, got str"),
            ({"scale": float("nan")}, "parameters.scale: expected a finite number"),
            ({"stop": "["}, "parameters.stop: expected an array as JSON"),
            ({"temperature": 1}, "parameters.temperature: unknown"),
        ],
    )
    def test_over_grpc_that_are_wrong_are_an_invalid_argument(self, server, params, says, raw):
        with pytest.raises(grpc.RpcError) as refused:
            over_grpc(server, params, raw=raw)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert says in refused.value.details()

    def test_of_the_protocol_itself_are_no_params(self, server):
        assert answer(over_v2(server, {"priority": 1, "sequence_id": 5, "scale": 2.0}))["x"] == 4.0
        assert over_v2(server, {"priority": 1}, "one", "x0").status_code == 200

    def test_mean_what_they_mean_to_mlflows_own_server(self, server, told):
        stock = Stock(told)
        for params in (
            {"scale": 3},
            {"stop": ["x"]},
            {"count": 1, "limit": 9},
            {},
            {"strict": True},
            {"limit": None},
        ):
            body = {"inputs": {"x": [2.0]}, "params": params}
            theirs = stock.invoke(json.dumps(body).encode())
            assert theirs.status_code == 200
            assert answer(over_mlflow(server, params)) == theirs.json()["predictions"][0]
        for params in ({"scale": "2"}, {"strict": 1}, {"stop": "a"}, {"note": 5}):
            theirs = stock.invoke(json.dumps({"inputs": {"x": [2.0]}, "params": params}).encode())
            assert (theirs.status_code, over_mlflow(server, params).status_code) == (400, 400)


class TestModelWithoutParams:
    @pytest.mark.parametrize("params", [{"temperature": 0.5}, {"temperature": None}])
    def test_refuses_them(self, server, params):
        v1, v2 = over_v1(server, params, "one"), over_v2(server, params, "one", "x0")
        assert (v1.status_code, v1.json()["error"]) == (400, "parameters: unknown field")
        assert (v2.status_code, v2.json()["error"]) == (
            400,
            "parameters.temperature: unknown; the model declares no params",
        )

    def test_refuses_them_over_grpc(self, server):
        for raw in (False, True):
            with pytest.raises(grpc.RpcError, match="temperature: unknown; the model declares no params"):
                over_grpc(server, {"temperature": 0.5}, "one", raw=raw)

    def test_ignores_them_over_mlflows_protocol_as_mlflow_does(self, server):
        assert over_mlflow(server, {"temperature": 0.5}, "one").json() == {"predictions": [3.0]}


class TestBatches:
    def test_are_made_of_calls_with_equal_params(self, server):
        """A slow call holds the model while others come; those with equal params then go in one batch."""
        with ThreadPoolExecutor(9) as pool:
            slow = pool.submit(over_v1, server, {"note": "wait"})
            asked = [
                pool.submit(over_v1, server, {"scale": float(i % 2 + 1), "note": "wait"}) for i in range(8)
            ]
            found = [answer(call.result()) for call in asked]
            assert answer(slow.result())["x"] == 2.0
        assert [f["x"] for f in found] == [2.0 * (i % 2 + 1) for i in range(8)]
        assert {f["told"]["scale"] for f in found} == {"1.0", "2.0"}


class TestMetadata:
    def test_shows_them(self, server):
        expected = {"type": "double", "default": 1.0, "shape": None}
        for path in ("/v1/models/told", "/v2/models/told"):
            shown = server.get(path, CALLER).json()["parameters"]
            assert shown["scale"] == expected
            assert shown["stop"] == {"type": "string", "default": ["a", "b"], "shape": [-1]}
            assert list(shown) == list(DEFAULTS)
        for path in ("/v1/models/one", "/v2/models/one"):
            assert "parameters" not in server.get(path, CALLER).json()


class TestLog:
    def test_holds_them_with_their_defaults(self, server):
        assert over_v1(server, {"scale": 4}, **{"x-request-id": "with-params"}).status_code == 200
        assert over_v1(server, None, "one", **{"x-request-id": "without-params"}).status_code == 200
        root = server.state / "predictions" / "log"

        def logged() -> dict[str, str | None]:
            rows = duckdb.sql(
                f"SELECT request_id, params FROM read_parquet('{root}/**/*.parquet', hive_partitioning=true, "
                "union_by_name=true) WHERE request_id LIKE 'with%'"
            ).fetchall()
            return dict(rows) if len(rows) == 2 else {}

        found = eventually(lambda: list(root.rglob("*.parquet")) and logged(), "the log")
        assert json.loads(found["with-params"]) == DEFAULTS | {"scale": 4.0}
        assert found["without-params"] is None


class TestShadow:
    def test_is_asked_with_what_it_knows_of_them_and_its_own_defaults(self, server):
        inputs = {"instances": [[2.0, 1.0]], "parameters": {"scale": 5}}
        response = post(server, "/v1/models/shadowed:predict", inputs, **{"x-request-id": "shadowed-params"})
        assert response.json() == {"predictions": [11.0]}
        root = server.state / "predictions" / "log"

        def logged() -> Any:
            return duckdb.sql(
                f"SELECT params FROM read_parquet('{root}/**/*.parquet', hive_partitioning=true, "
                "union_by_name=true) WHERE request_id = 'shadowed-params' AND revision_id = 'rev-dark'"
            ).fetchall()

        ((params,),) = eventually(lambda: list(root.rglob("*.parquet")) and logged(), "the shadow's log")
        assert json.loads(params) == DEFAULTS | {"scale": 5.0}


class TestExplanations:
    @pytest.mark.timeout(120)
    def test_are_of_the_prediction_with_these_params(self, server):
        server.client.timeout = httpx.Timeout(100)
        body = {"instances": [[2.0, 1.0]], "parameters": {"scale": 5.0}}
        response = post(server, "/v1/models/scaled:explain", body)
        assert response.status_code == 200, response.text
        (found,) = response.json()["explanations"]
        assert found["base_value"] == pytest.approx((5.0 + 19.0) / 2)
        assert found["base_value"] + sum(found["values"].values()) == pytest.approx(11.0)


class TestParams:
    def test_that_are_equal_are_equal_texts(self):
        params = Params(
            [Param(name="a", type="double", default=1.0), Param(name="b", type="long", default=2)]
        )
        assert params.read({"b": 2, "a": 1}, "p") == params.read(None, "p") == '{"a":1.0,"b":2}'

    def test_name_what_is_unknown(self):
        params = Params([Param(name=f"p{i}", type="long", default=0) for i in range(10)])
        with pytest.raises(InvalidInput, match=r"p\.odd: unknown; the model takes p0, .*, p7 and 2 more"):
            params.read({"odd": 1}, "p")


class TestManifest:
    def manifest(self, **signature: Any) -> bytes:
        columns = (Column(name="x", type="double"),)
        described = msgspec.to_builtins(Signature(inputs=columns)) | signature
        return msgspec.json.encode(
            {
                "runtime": "pyfunc",
                "signature": described,
                "task": "other",
                "files": {"requirements.txt": "0" * 64},
            }
        )

    def test_of_a_model_without_params_does_not_name_them(self):
        assert b"params" not in self.manifest()
        assert decode_manifest(self.manifest()).signature.params is msgspec.UNSET

    @pytest.mark.parametrize(
        ("params", "says"),
        [
            ([{"name": "a", "type": "long", "default": "x"}], "default of 'a' is not of type long"),
            ([{"name": "a", "type": "long", "default": [1, "x"], "shape": [-1]}], "default of 'a'"),
            ([{"name": "a", "type": "long", "default": 1, "shape": [-1]}], "default of 'a'"),
            ([{"name": "a", "type": "long", "shape": [3]}], "neither a single value nor a list"),
            ([{"name": "a", "type": "long"}] * 2, "named twice"),
            ([{"name": "", "type": "long"}], "1 to 500 characters"),
        ],
    )
    def test_with_params_that_contradict_themselves_is_refused(self, params, says):
        with pytest.raises(BundleError, match=says):
            decode_manifest(self.manifest(params=params))

"""Traces of a real server's requests, as a collector of OTLP gets them."""

import json
from itertools import pairwise

import grpc
import pytest

from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb
from tests.inference.support.control import ADMIN, CALLER
from tests.inference.support.grpc_caller import GrpcCaller
from tests.inference.support.server import eventually

from .conftest import CHARGES, CUSTOMER

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
V2_BODY = {"inputs": [{"name": "x0", "datatype": "FP64", "shape": [2, 1], "data": [1.0, 2.0]}]}
REVISION = {
    "mlops.team": "acme",
    "mlops.environment": "production",
    "mlops.endpoint": "churn",
    "mlops.deployment_id": "dep-churn",
    "mlops.revision_id": "rev-one",
    "mlops.model.name": "churn",
    "mlops.model.version": "7",
    "mlops.runtime": "onnx",
}


def post(server, path: str, body: object, **headers: str):
    sent = {"authorization": f"Bearer {CALLER}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return server.client.post(server.base + path, json=body, headers=sent)


@pytest.fixture
def grpc_caller(traced):
    caller = GrpcCaller(traced.server.grpc_port)
    yield caller
    caller.close()


def infer_request() -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="churn")
    tensor = request.inputs.add(name="x0", datatype="FP64", shape=[1, 1])
    tensor.contents.fp64_contents.append(1.0)
    return request


class TestSpans:
    def test_a_prediction_is_a_span_of_the_server_with_its_stages_below(self, traced):
        answer = traced.server.predict([[1.0], [2.0]])
        root, *stages = traced.of(answer.headers["x-request-id"])
        assert root.name == "POST /v1/models/{name}:predict"
        assert not root.parent
        assert not root.failed
        assert root.attributes == REVISION | {
            "http.request.method": "POST",
            "http.route": "/v1/models/{name}:predict",
            "http.response.status_code": 200,
            "url.scheme": "http",
            "url.path": "/v1/models/churn:predict",
            "mlops.request_id": answer.headers["x-request-id"],
            "mlops.rows": 2,
        }
        assert root.resource["service.name"] == "mlops-inference"
        assert [stage.name for stage in stages] == ["decode", "queue", "model", "encode"]
        for stage in stages:
            assert root.start <= stage.start <= stage.end <= root.end, stage
        for one, next_one in pairwise(stages):
            assert one.end <= next_one.start, (one, next_one)

    def test_the_model_s_span_has_the_batch(self, traced):
        answer = traced.server.predict([[1.0], [2.0], [3.0]])
        model = next(s for s in traced.of(answer.headers["x-request-id"]) if s.name == "model")
        assert model.attributes["mlops.batch.rows"] >= 3
        assert model.attributes["mlops.batch.requests"] >= 1
        assert model.attributes["mlops.revision_id"] == "rev-one"

    def test_a_look_up_of_features_is_a_stage(self, traced):
        answer = traced.server.predict([{"customer_id": CUSTOMER}], name="lookedup")
        assert answer.json()["predictions"] == [10.0 + CHARGES]
        names = [span.name for span in traced.of(answer.headers["x-request-id"])[1:]]
        assert names == ["decode", "features", "queue", "model", "encode"]

    def test_an_explanation_is_a_stage(self, traced):
        answer = post(traced.server, "/v1/models/explained:explain", {"instances": [[1.0]]})
        assert answer.status_code == 200, answer.text
        root, *stages = traced.of(answer.headers["x-request-id"])
        assert root.name == "POST /v1/models/{name}:explain"
        assert root.attributes["mlops.revision_id"] == "rev-explained"
        assert [stage.name for stage in stages] == ["decode", "explain", "encode"]

    def test_every_protocol_is_traced_by_its_route(self, traced, grpc_caller):
        routes = {
            "/v2/models/{name}/infer": post(traced.server, "/v2/models/churn/infer", V2_BODY),
            "/models/{name}/invocations": post(
                traced.server, "/models/churn/invocations", {"instances": [[1.0]]}
            ),
        }
        for route, answer in routes.items():
            assert answer.status_code == 200, answer.text
            root, *stages = traced.of(answer.headers["x-request-id"])
            assert root.name == f"POST {route}"
            assert root.attributes.items() >= REVISION.items()
            assert [stage.name for stage in stages] == ["decode", "queue", "model", "encode"]
        grpc_caller.infer(infer_request(), x_request_id="over-grpc")
        root, *stages = traced.of("over-grpc")
        assert root.name == "inference.GRPCInferenceService/ModelInfer"
        assert root.attributes == REVISION | {
            "rpc.system.name": "grpc",
            "rpc.method": "inference.GRPCInferenceService/ModelInfer",
            "rpc.response.status_code": "OK",
            "mlops.request_id": "over-grpc",
            "mlops.rows": 1,
        }
        assert [stage.name for stage in stages] == ["decode", "queue", "model", "encode"]

    def test_a_failing_model_fails_its_stage_and_the_request(self, traced):
        answer = traced.server.predict([[99.0]], name="fragile")
        assert answer.status_code == 500
        root, *stages = traced.of(answer.headers["x-request-id"])
        assert root.failed
        assert root.attributes["error.type"] == "500"
        assert any(stage.name == "model" for stage in stages)
        assert not any(stage.failed for stage in stages if stage.name == "decode")

    def test_a_refusal_is_no_failure_of_the_server(self, traced, grpc_caller):
        refused = {
            400: traced.server.predict([["text"]]),
            401: traced.server.predict([[1.0]], token="nobody"),
            404: traced.server.predict([[1.0]], name="unknown"),
        }
        for status, answer in refused.items():
            root, *_ = traced.of(answer.headers["x-request-id"])
            assert root.attributes["http.response.status_code"] == status
            assert not root.failed
            assert "error.type" not in root.attributes
        with pytest.raises(grpc.RpcError):
            grpc_caller.infer(infer_request(), token="nobody", x_request_id="refused-grpc")
        root, *_ = traced.of("refused-grpc")
        assert root.attributes["rpc.response.status_code"] == "UNAUTHENTICATED"
        assert not root.failed

    def test_probes_and_metrics_are_not_traced(self, traced):
        for path, token in (("/health/live", None), ("/metrics", ADMIN), ("/models/churn/ping", CALLER)):
            assert traced.server.get(path, token).status_code == 200
        answer = traced.server.predict([[1.0]])
        traced.of(answer.headers["x-request-id"])  # which came later
        routes = {span.attributes.get("http.route", "") for span in traced.collector.roots()}
        assert not [route for route in routes if route.endswith(("live", "metrics", "ping", "status"))]


class TestParents:
    def test_a_span_belongs_to_the_caller_s(self, traced, grpc_caller):
        state = "vendor=abc,other=1"
        answers = [
            traced.server.predict([[1.0]], traceparent=SAMPLED, tracestate=state),
            post(traced.server, "/v2/models/churn/infer", V2_BODY, traceparent=SAMPLED, tracestate=state),
        ]
        ids = [answer.headers["x-request-id"] for answer in answers]
        grpc_caller.infer(infer_request(), x_request_id="child", traceparent=SAMPLED, tracestate=state)
        for request_id in (*ids, "child"):
            root, *stages = traced.of(request_id)
            assert (root.trace_id, root.parent) == (TRACE, SPAN)
            assert root.raw.trace_state == state
            assert root.raw.flags & 0x300 == 0x300  # the parent is known to be remote
            assert stages
            assert {stage.trace_id for stage in stages} == {TRACE}
        root, *_ = traced.of(ids[0])
        assert answers[0].headers["traceparent"] == f"00-{TRACE}-{root.span_id}-01"

    def test_a_caller_that_is_not_sampled_is_not_traced(self, traced):
        unsampled = traced.server.predict([[1.0]], traceparent=UNSAMPLED)
        assert unsampled.headers["traceparent"] == UNSAMPLED
        later = traced.server.predict([[1.0]])
        traced.of(later.headers["x-request-id"])
        assert traced.collector.of_request(unsampled.headers["x-request-id"]) is None

    def test_what_is_no_traceparent_is_passed_over(self, traced):
        answer = traced.server.predict([[1.0]], traceparent=f"00-{'0' * 32}-{SPAN}-00", tracestate="a=b")
        root, *_ = traced.of(answer.headers["x-request-id"])
        assert not root.parent
        assert not root.raw.trace_state
        assert answer.headers["traceparent"] == f"00-{root.trace_id}-{root.span_id}-01"


class TestWhatIsSent:
    def test_goes_to_the_standard_path_with_the_headers_that_were_set(self, traced):
        answer = traced.server.predict([[1.0]])
        traced.of(answer.headers["x-request-id"])
        assert traced.collector.paths == {"/v1/traces"}
        for headers in traced.collector.headers:
            assert headers["x-collector-key"] == "mlops_collector_secret"
            assert headers["content-encoding"] == "gzip"

    def test_holds_no_key_no_value_and_no_body(self, traced):
        marker, number = "5a5a-secret-value", 123456.789
        server = traced.server
        ids = [
            server.predict([[number]]).headers["x-request-id"],
            server.predict([[marker]]).headers["x-request-id"],
            server.predict([{"customer_id": CUSTOMER}], name="lookedup").headers["x-request-id"],
            server.predict([{"customer_id": marker}], name="lookedup").headers["x-request-id"],
            server.predict([[1.0]], name=marker).headers["x-request-id"],
            server.predict([[number]], name="fragile").headers["x-request-id"],
            server.predict([[1.0]], token=marker).headers["x-request-id"],
            server.get(f"/v1/models?api_key={marker}").headers["x-request-id"],
        ]
        for request_id in ids:
            traced.of(request_id)
        sent = b"\n".join(traced.collector.bodies)
        for secret in (marker, CUSTOMER, str(CHARGES), str(number), CALLER, ADMIN, "collector_secret"):
            assert secret.encode() not in sent, secret

    def test_is_counted(self, traced):
        traced.server.predict([[1.0]])

        def counted() -> bool:
            lines = traced.server.get("/metrics").text.splitlines()
            found = dict(line.split(" ") for line in lines if line.startswith("inference_traces_"))
            assert found["inference_traces_dropped_total"] == "0"
            return int(found["inference_traces_exported_total"]) >= len(traced.collector.roots()) > 0

        eventually(counted, "the traces in the metrics")


class TestPredictionLog:
    def test_a_trace_names_the_request_as_the_log_does(self, traced):
        import pyarrow.parquet as pq

        answer = traced.server.predict([[1.0]])
        root, *_ = traced.of(answer.headers["x-request-id"])
        flushed = traced.server.client.post(
            f"{traced.server.base}/internal/flush", headers={"authorization": f"Bearer {ADMIN}"}
        )
        assert json.loads(flushed.content) == {"flushed": True}
        files = (traced.server.state / "predictions" / "log").glob("**/*.parquet")
        logged = {
            i for file in files for i in pq.ParquetFile(file).read(["request_id"])["request_id"].to_pylist()
        }
        assert root.attributes["mlops.request_id"] in logged

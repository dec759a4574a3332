"""V2 over gRPC: typed and raw contents, addresses, statuses, and messages that must be refused."""

import gzip
import json
import socket
import struct
import sys

import grpc
import pytest

from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb
from tests.inference.support.control import ADMIN, CALLER, endpoint, revision, snapshot
from tests.inference.support.grpc_caller import GrpcCaller, GrpcLoad, typed, values_of
from tests.inference.support.server import eventually
from tests.inference.support.tensors import KINDS, TYPES, RestCaller, raw, tensor, types_inputs

CODE = grpc.StatusCode
MODEL_METHODS = ["ModelReady", "ModelMetadata", "ModelInfer"]


def with_raw(inputs: list[dict], model: str = "types", **more) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, **more)
    for each in inputs:
        request.inputs.add(name=each["name"], datatype=each["datatype"], shape=each["shape"])
        data = each["data"] if isinstance(each["data"], bytes) else raw(each["datatype"], each["data"])
        request.raw_input_contents.append(data)
    return request


def refusal(ask) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        ask()
    return caught.value


def about(method: str, model: str, version: str = "") -> bytes:
    """The message that asks a method about a model."""
    if method == "ModelInfer":
        message = typed([tensor("x0", "FP64", [1.0])], model, model_version=version)
    else:
        message = getattr(pb, f"{method}Request")(name=model, version=version)
    return message.SerializeToString()


class TestModelInfer:
    def test_answers_as_the_trained_pipeline_does(self, calls, churn):
        rows = churn.instances(40)
        kinds = {c.name: KINDS[c.type][0] for c in churn.bundle.manifest.signature.inputs}
        inputs = [tensor(name, kinds[name], [row[name] for row in rows]) for name in rows[0]]
        answer = calls.infer(typed(inputs, "churn", id="mine"))
        assert (answer.id, answer.model_name, answer.model_version) == ("mine", "churn", "7")
        (output,) = answer.outputs
        assert (output.name, output.datatype, list(output.shape)) == ("churn", "FP64", [40])
        assert values_of(output) == pytest.approx(churn.expected(40), abs=1e-5)
        again = calls.infer(with_raw(inputs, "churn"))
        assert list(struct.unpack("<40d", again.raw_output_contents[0])) == values_of(output)
        assert not again.outputs[0].HasField("contents")

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            ("boolean", [True, False]),
            ("integer", [-(2**31), 2**31 - 1]),
            ("long", [-(2**63), 2**63 - 1]),
            ("float", [0.5, -2.0]),
            ("double", [0.1, -1e308]),
            ("string", ["", "Ⅻ🦄"]),
        ],
    )
    def test_gives_back_what_it_was_given(self, calls, kind, values):
        inputs = [tensor("value", KINDS[kind][0], values)]
        assert values_of(calls.infer(typed(inputs, f"echo-{kind}")).outputs[0]) == values
        answer = calls.infer(with_raw(inputs, f"echo-{kind}"))
        assert answer.raw_output_contents[0] == raw(answer.outputs[0].datatype, values)

    def test_takes_a_matrix_and_filters_its_outputs(self, calls):
        request = typed([tensor("x", "FP32", [1.0, 2.0, 3.0, 4.0], [2, 2])], "pair")
        request.outputs.add(name="high")
        (output,) = calls.infer(request).outputs
        assert (output.name, output.datatype, values_of(output)) == ("high", "FP32", [2.0, 4.0])

    def test_looks_features_up_by_entity_key(self, calls):
        inputs = [tensor("customer_id", "BYTES", ["a", "b"]), tensor("x2", "FP64", [100.0, 200.0])]
        assert values_of(calls.infer(typed(inputs, "lookedup")).outputs[0]) == [111.0, 222.0]
        unknown = [tensor("customer_id", "BYTES", ["nobody"]), tensor("x2", "FP64", [1.0])]
        assert refusal(lambda: calls.infer(typed(unknown, "lookedup"))).code() == CODE.FAILED_PRECONDITION

    def test_chooses_a_version_among_the_loaded(self, calls):
        for version, expected in (("1", 2.0), ("2", 3.0), ("", 2.0)):
            request = typed([tensor("x0", "FP64", [1.0])], "split", model_version=version)
            assert values_of(calls.infer(request).outputs[0]) == [expected]

    def test_names_the_revision_and_the_request_behind_the_answer(self, calls):
        request = typed(types_inputs()).SerializeToString()
        _, call = calls.send("ModelInfer", request, x_request_id="mine-42")
        trailing = dict(call.trailing_metadata())
        assert trailing["mlops-revision"] == "rev-types"
        assert trailing["mlops-model-version"] == "1"
        assert trailing["x-request-id"] == "mine-42"

    def test_is_counted_and_logged_as_any_other_request(self, calls, v2_server):
        def count() -> int:
            return sum(r.requests for r in v2_server.metrics(600).revisions if r.revision_id == "rev-wide")

        before = count()
        calls.infer(typed([tensor("m", "FP64", [1.0, 2.0, 3.0], [1, 3])], "wide"))
        eventually(lambda: count() == before + 1, "one more request")
        assert "/inference.GRPCInferenceService/ModelInfer" in v2_server.get("/metrics").text


class TestDescription:
    def test_of_the_server(self, calls):
        assert calls.ask("ServerLive", None).live
        assert calls.ask("ServerReady", None).ready
        answer = calls.ask("ServerMetadata")
        assert (answer.name, list(answer.extensions)) == ("ml-platform", ["binary_tensor_data"])

    def test_of_a_model(self, calls):
        answer = calls.ask("ModelMetadata", name="types")
        found = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in answer.inputs]
        assert found == [(name, datatype, [-1, 1]) for name, datatype, _ in TYPES]
        assert (answer.name, list(answer.versions), answer.platform) == ("types", ["1"], "onnx_onnxv1")
        assert calls.ask("ModelReady", name="types").ready
        assert not calls.ask("ModelReady", name="warm").ready
        assert refusal(lambda: calls.ask("ModelMetadata", name="warm")).code() == CODE.UNAVAILABLE


class TestAddress:
    @pytest.mark.parametrize("method", ["ServerMetadata", *MODEL_METHODS])
    @pytest.mark.parametrize(
        ("token", "code"),
        [
            (None, CODE.UNAUTHENTICATED),
            ("wrong", CODE.UNAUTHENTICATED),
            ("powerless", CODE.PERMISSION_DENIED),
        ],
    )
    def test_needs_a_key_that_permits(self, calls, method, token, code):
        data = about(method, "types") if method in MODEL_METHODS else b""
        assert refusal(lambda: calls.send(method, data, token)).code() == code

    @pytest.mark.parametrize("method", MODEL_METHODS)
    @pytest.mark.parametrize(
        ("model", "token", "metadata"),
        [
            ("types", "other-team", {}),
            ("theirs", CALLER, {}),
            ("theirs", CALLER, {"mlops_team": "umbrella"}),
            ("types", "other-team", {"mlops_team": "acme"}),
            ("staged", CALLER, {}),
            ("types", CALLER, {"mlops_environment": "nowhere"}),
            ("unknown", CALLER, {}),
            ("", CALLER, {}),
            ("types", ADMIN, {}),
        ],
    )
    def test_of_another_team_or_environment_is_not_found(self, calls, method, model, token, metadata):
        error = refusal(lambda: calls.send(method, about(method, model), token, **metadata))
        assert error.code() == CODE.NOT_FOUND

    @pytest.mark.parametrize("method", MODEL_METHODS)
    def test_of_a_version_that_is_not_loaded_is_not_found(self, calls, method):
        for version in ("9", "3", "rev-one"):
            error = refusal(lambda v=version: calls.send(method, about(method, "split", v)))
            assert error.code() == CODE.NOT_FOUND

    def test_is_given_by_metadata(self, calls):
        for metadata in (
            {"mlops_environment": "staging"},
            {"mlops_environment": "staging", "mlops_team": "acme"},
        ):
            calls.send("ModelInfer", about("ModelInfer", "staged"), **metadata)
        calls.send("ModelInfer", about("ModelInfer", "theirs"), ADMIN, mlops_team="umbrella")

    def test_of_a_method_that_does_not_exist_is_unimplemented(self, calls):
        assert refusal(lambda: calls.send("ModelTrain", b"")).code() == CODE.UNIMPLEMENTED


class TestBadInput:
    @pytest.mark.parametrize(
        ("request_", "says"),
        [
            (typed([]), "inputs: missing"),
            (typed(types_inputs(amount=None)), "inputs.amount: missing"),
            (
                typed(types_inputs(amount=tensor("no", "FP64", [1.0, 2.0]))),
                "inputs.no: the model has no such",
            ),
            (typed(types_inputs(amount=tensor("flag", "BOOL", [True] * 2))), "inputs.flag: given twice"),
            (typed(types_inputs(amount=tensor("amount", "FP64", [1.0], [2]))), "fp64_contents has 1"),
            (
                typed(types_inputs(amount=tensor("amount", "FP64", [float("nan")] * 2))),
                "inputs.amount.data[0]",
            ),
            (
                typed(types_inputs(amount=tensor("amount", "FP64", [1.0, float("inf")]))),
                "inputs.amount.data[1]",
            ),
            (typed(types_inputs(amount=tensor("amount", "BOOL", [True] * 2))), "inputs.amount.datatype"),
            (
                typed(types_inputs(small=tensor("small", "INT8", [128, 0]))),
                "inputs.small.contents[0]: 128 is no",
            ),
            (typed(types_inputs(small=tensor("small", "INT64", [2**31, 0]))), "inputs.small.data[0]"),
            (typed(types_inputs(label=tensor("label", "BYTES", [b"\xff", b""]))), "inputs.label.contents[0]"),
            (typed([tensor("value", "FP64", [1.0] * 501)], "echo-double"), "at most 500 rows"),
            (typed([tensor("value", "FP64", [1.0], [-1])], "echo-double"), "at least one row"),
            (typed([tensor("value", "FP64", [], [2**62])], "echo-double"), "at most 500 rows"),
            (with_raw(types_inputs(amount=tensor("amount", "FP64", b"123", [2]))), "16 bytes, got 3"),
            (
                with_raw(types_inputs(label=tensor("label", "BYTES", b"\xff" * 4, [2]))),
                "inputs.label.data[0]",
            ),
        ],
        ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
    )
    def test_in_a_tensor_is_named(self, calls, request_, says):
        error = refusal(lambda: calls.infer(request_))
        assert (error.code(), says in error.details()) == (CODE.INVALID_ARGUMENT, True), error.details()

    def test_in_the_number_of_raw_contents_is_explained(self, calls):
        request = with_raw(types_inputs())
        del request.raw_input_contents[-1]
        assert "one for each of 6 inputs" in refusal(lambda: calls.infer(request)).details()
        request = with_raw(types_inputs())
        request.inputs[0].contents.bool_contents.append(True)
        assert "inputs.flag: has contents beside" in refusal(lambda: calls.infer(request)).details()

    def test_of_fp16_in_typed_contents_is_refused(self, calls):
        request = pb.ModelInferRequest(model_name="echo-double")
        request.inputs.add(name="value", datatype="FP16", shape=[1])
        assert "raw_input_contents" in refusal(lambda: calls.infer(request)).details()

    @pytest.mark.parametrize("method", ["ServerLive", "ServerMetadata", *MODEL_METHODS])
    @pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\x08" * 50], ids=range(4))
    def test_that_is_no_message_is_refused(self, calls, method, data):
        try:
            calls.send(method, data)
        except grpc.RpcError as error:
            assert error.code() in {CODE.INVALID_ARGUMENT, CODE.NOT_FOUND}  # noqa: PT017 - or it is one

    @pytest.mark.parametrize("part", ["inputs", "outputs", "shape", "values"])
    def test_of_very_many_parts_is_refused(self, calls, part):
        request = typed([tensor("value", "FP64", [1.0])], "echo-double")
        if part == "shape":
            request.inputs[0].shape.extend([1] * 150_000)
        elif part == "values":
            request.inputs[0].contents.fp64_contents.extend([1.0] * 20_000)
        else:
            for _ in range(20_000):
                getattr(request, part).add(name="x")
        assert refusal(lambda: calls.infer(request)).code() == CODE.INVALID_ARGUMENT

    def test_too_large_a_message_is_refused(self, calls):
        assert refusal(lambda: calls.send("ModelInfer", b"\0" * 300_000)).code() == CODE.RESOURCE_EXHAUSTED

    def test_of_metadata_is_refused_or_read(self, calls):
        assert calls.ask("ServerLive", None, metadata={"x_a": "ü".encode().hex() * 100}).live
        error = refusal(lambda: calls.ask("ServerLive", None, metadata={"x_long": "x" * 30_000}))
        assert error.code() == CODE.RESOURCE_EXHAUSTED

    def test_one_that_grows_when_it_is_unpacked_is_refused(self, v2_server):
        assert len(gzip.compress(b"\0" * 50_000_000)) < 200_000
        options = [("grpc.default_compression_algorithm", 2), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{v2_server.grpc_port}", options=options) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            error = refusal(lambda: call(b"\0" * 50_000_000, timeout=20, compression=grpc.Compression.Gzip))
        assert error.code() == CODE.RESOURCE_EXHAUSTED

    def test_leaves_the_worker_alive(self, v2_server):
        assert "ended with" not in v2_server.log.read_text()
        assert "Traceback" not in v2_server.log.read_text()


class TestPort:
    def test_is_shared_by_all_workers_and_survives_one(self, make_server, control, one):
        control.publish(snapshot(1, endpoint(revision(one, "rev-1"), name="one")))
        server = make_server(workers=2, grpc_port=0).start()
        server.has_applied(control.snapshot)
        request = typed([tensor("x0", "FP64", [1.0])], "one")

        def ask() -> bool:
            caller = GrpcCaller(server.grpc_port, [("grpc.use_local_subchannel_pool", 1)])
            try:
                return values_of(caller.infer(request).outputs[0]) == [2.0]
            except grpc.RpcError:
                return False
            finally:
                caller.close()

        assert all(ask() for _ in range(8))
        for pid in server.worker_pids():
            server.kill_worker(pid)
        eventually(lambda: all(ask() for _ in range(8)), "answers from new workers")
        assert server.stop() == 0

    def test_that_is_taken_is_a_clear_error(self, make_server, control, one):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            server = make_server(grpc_port=port)
            with pytest.raises(
                RuntimeError, match=rf"cannot serve gRPC on 127.0.0.1:{port}: .*choose another"
            ):
                server.start()

    @pytest.mark.parametrize(("workers", "kills"), [(1, 1), (2, 2)])
    def test_loses_no_call_of_a_stock_client_when_workers_are_killed(
        self, make_server, control, one, workers, kills
    ):
        """The client has no policy of retries: it repeats by itself what was not begun."""
        control.publish(snapshot(1, endpoint(revision(one, "rev-1"), name="one")))
        server = make_server(workers=workers, grpc_port=0).start()
        server.has_applied(control.snapshot)
        with GrpcLoad(server.grpc_port, typed([tensor("x0", "FP64", [1.0])], "one"), 6) as load:
            for _ in range(kills):
                server.has_applied(control.snapshot)
                load.goes_on()
                server.kill_worker(server.worker_pids()[-1])
                load.goes_on()
        assert load.failures == []

    def test_lets_clients_go_in_order_at_a_stop(self, make_server, control, one):
        control.publish(snapshot(1, endpoint(revision(one, "rev-1"), name="one")))
        server = make_server(grpc_port=0).start()
        server.has_applied(control.snapshot)
        calls = GrpcCaller(server.grpc_port)
        calls.infer(typed([tensor("x0", "FP64", [1.0])], "one"))
        assert server.stop() == 0
        assert refusal(lambda: calls.ask("ServerLive", None)).code() == CODE.UNAVAILABLE
        calls.close()

    def test_serves_models_in_processes_of_their_own_and_those_that_end(self, make_server, control, mischief):
        control.publish(snapshot(1, endpoint(revision(mischief, "rev-1"), name="mischief")))
        server = make_server(grpc_port=0, pyfunc_python=sys.executable).start()
        server.has_applied(control.snapshot)
        calls = GrpcCaller(server.grpc_port)

        def ask(command: str) -> list:
            inputs = [tensor("command", "BYTES", [command]), tensor("value", "FP64", [2.0])]
            return values_of(calls.infer(typed(inputs, "mischief")).outputs[0])

        assert ask("answer") == [4.0]
        assert refusal(lambda: ask("exit")).code() == CODE.UNAVAILABLE
        assert refusal(lambda: ask("answer")).code() == CODE.UNAVAILABLE
        eventually(lambda: not isinstance(_tried(lambda: ask("answer")), grpc.RpcError), "the model again")
        calls.close()

    def test_serves_a_directory_to_everybody(self, make_server, one):
        server = make_server(control=None, model_dir=one.path, anonymous=1, grpc_port=0).start()
        calls = GrpcCaller(server.grpc_port)
        request = typed([tensor("x0", "FP64", [1.0])], one.path.name)
        eventually(
            lambda: not isinstance(_tried(lambda: calls.infer(request, None)), grpc.RpcError), "answers"
        )
        assert values_of(calls.infer(request, None).outputs[0]) == [2.0]
        body = json.dumps({"inputs": [tensor("x0", "FP64", [1.0])]}).encode()
        response = RestCaller(server).post(body, one.path.name, token=None)
        assert response.json()["outputs"][0]["data"] == [2.0]
        assert server.get("/v2", None).json()["name"] == "ml-platform"
        calls.close()

    def test_is_off_unless_it_is_asked_for(self, make_server, control):
        server = make_server().start()
        assert server.grpc_port == -1


def _tried(ask):
    try:
        return ask()
    except grpc.RpcError as error:
        return error

"""V2 over HTTP: tensors in and out in JSON and raw, addresses, versions, and input that must be refused."""

import json
import struct

import pytest

from tests.inference.support.control import ADMIN, CALLER
from tests.inference.support.tensors import KINDS, TYPES, binary_body, raw, tensor, types_inputs

ROUTES = [
    ("GET", ""),
    ("GET", "/models/types"),
    ("GET", "/models/types/ready"),
    ("POST", "/models/types/infer"),
    ("GET", "/models/types/versions/1"),
    ("GET", "/models/types/versions/1/ready"),
    ("POST", "/models/types/versions/1/infer"),
]


def churn_inputs(churn, count: int) -> list[dict]:
    rows = churn.instances(count)
    kinds = {column.name: KINDS[column.type][0] for column in churn.bundle.manifest.signature.inputs}
    return [tensor(name, kinds[name], [row[name] for row in rows]) for name in rows[0]]


class TestInfer:
    def test_answers_as_the_trained_pipeline_does(self, caller, churn):
        response = caller.infer(churn_inputs(churn, 40), "churn", id="mine")
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["outputs"][0].pop("data") == pytest.approx(churn.expected(40), abs=1e-5)
        assert answer == {
            "id": "mine",
            "model_name": "churn",
            "model_version": "7",
            "outputs": [{"name": "churn", "datatype": "FP64", "shape": [40]}],
        }
        assert response.headers["mlops-revision"] == "rev-churn"

    def test_answers_just_as_v1_does(self, caller, churn):
        one = caller.server.predict(churn.instances(3)).json()["predictions"]
        assert caller.infer(churn_inputs(churn, 3), "churn").json()["outputs"][0]["data"] == one

    def test_leaves_the_id_out_when_there_was_none(self, caller):
        assert "id" not in caller.infer(types_inputs()).json()

    def test_takes_a_column_as_a_list_or_as_a_matrix_of_one(self, caller):
        shapes = [([2], [4.5, 5.5]), ([2, 1], [4.5, 5.5]), ([2, 1], [[4.5], [5.5]])]
        for shape, data in shapes:
            given = {"name": "amount", "datatype": "FP64", "shape": shape, "data": data}
            response = caller.infer(types_inputs(amount=given))
            assert response.json()["outputs"][0]["data"] == [4.5, 5.5], response.text

    @pytest.mark.parametrize("data", [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    def test_takes_one_matrix_for_all_columns(self, caller, data):
        given = {"name": "anything", "datatype": "FP32", "shape": [2, 3], "data": data}
        output = caller.infer([given], "wide").json()["outputs"][0]
        assert (output["shape"], output["data"]) == ([2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])

    @pytest.mark.parametrize("datatype", ["INT8", "UINT16", "INT64", "UINT64", "FP16", "FP32"])
    def test_takes_a_number_in_every_type_that_loses_nothing(self, caller, datatype):
        inputs = [tensor("value", datatype, [3, 4])]
        assert caller.infer(inputs, "echo-double").json()["outputs"][0]["data"] == [3.0, 4.0]
        body, headers = binary_body(inputs)
        assert caller.post(body, "echo-double", **headers).json()["outputs"][0]["data"] == [3.0, 4.0]

    def test_fills_optional_columns_that_are_absent_null_or_nan(self, caller):
        assert caller.infer(types_inputs(ratio=None, label=None)).status_code == 200
        nulls = {
            "ratio": tensor("ratio", "FP32", [None, 1.0]),
            "label": tensor("label", "BYTES", [None, "x"]),
        }
        assert caller.infer(types_inputs(**nulls)).status_code == 200
        body, headers = binary_body(types_inputs(ratio=tensor("ratio", "FP32", [float("nan"), 1.0])))
        assert caller.post(body, **headers).status_code == 200

    def test_of_an_isolated_loop_runs_large_batches_too(self, caller, churn):
        response = caller.infer(churn_inputs(churn, 400), "churn")
        assert response.json()["outputs"][0]["data"] == pytest.approx(churn.expected(400), abs=1e-5)


class TestOutputs:
    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            ("boolean", [True, False]),
            ("integer", [-(2**31), 2**31 - 1]),
            ("long", [-(2**63), 2**63 - 1]),
            ("float", [0.5, 3.4028234663852886e38]),
            ("double", [0.1, -1e308]),
            ("string", ["", "Ⅻ🦄"]),
        ],
    )
    def test_come_back_as_they_went_in(self, caller, kind, values):
        datatype = KINDS[kind][0]
        wide = {"INT32": "INT64", "FP32": "FP64"}.get(datatype, datatype)
        inputs = [tensor("value", datatype, values)]
        output = {"name": "predictions", "datatype": wide, "shape": [2]}
        assert caller.infer(inputs, f"echo-{kind}").json()["outputs"] == [output | {"data": values}]
        body, headers = binary_body(inputs, parameters={"binary_data_output": True})
        response = caller.post(body, f"echo-{kind}", **headers)
        length = int(response.headers["inference-header-content-length"])
        assert response.headers["content-type"] == "application/octet-stream"
        data = raw(wide, values)
        assert response.content[length:] == data
        assert json.loads(response.content[:length])["outputs"] == [
            output | {"parameters": {"binary_data_size": len(data)}}
        ]

    def test_are_named_and_typed_by_the_signature(self, caller):
        inputs = [tensor("x", "FP64", [1.0, 2.0, 3.0, 4.0], [2, 2])]
        assert caller.infer(inputs, "pair").json()["outputs"] == [
            {"name": "low", "datatype": "FP64", "shape": [2], "data": [1.0, 3.0]},
            {"name": "high", "datatype": "FP32", "shape": [2], "data": [2.0, 4.0]},
        ]

    def test_are_those_that_were_asked_for_in_that_order_and_form(self, caller):
        inputs = [tensor("x", "FP64", [1.0, 2.0], [1, 2])]
        answer = caller.infer(inputs, "pair", outputs=[{"name": "high"}]).json()
        assert [output["name"] for output in answer["outputs"]] == ["high"]
        outputs = [{"name": "high", "parameters": {"binary_data": True}}, {"name": "low"}]
        response = caller.infer(inputs, "pair", outputs=outputs)
        length = int(response.headers["inference-header-content-length"])
        assert [output["name"] for output in json.loads(response.content[:length])["outputs"]] == [
            "high",
            "low",
        ]
        assert response.content[length:] == struct.pack("<f", 2.0)

    def test_that_do_not_exist_are_refused_by_name(self, caller):
        response = caller.infer([tensor("x", "FP64", [1.0, 2.0], [1, 2])], "pair", outputs=[{"name": "no"}])
        assert (response.status_code, "outputs.no:" in response.json()["error"]) == (400, True)

    def test_too_large_for_their_type_get_a_wider_one(self, caller):
        output = caller.infer([tensor("x", "FP64", [1.0, 1e300], [1, 2])], "pair").json()["outputs"][1]
        assert (output["datatype"], output["data"]) == ("FP64", [1e300])


class TestVersions:
    def test_choose_among_the_loaded_revisions(self, caller):
        body = json.dumps({"inputs": [tensor("x0", "FP64", [1.0])]}).encode()
        for version, expected, revision in (("1", 2.0, "rev-one"), ("2", 3.0, "rev-two")):
            response = caller.post_to(f"/v2/models/split/versions/{version}/infer", body)
            assert response.json()["outputs"][0]["data"] == [expected]
            assert response.json()["model_version"] == version
            assert response.headers["mlops-revision"] == revision
        assert caller.post(body, "split").json()["model_version"] == "1"

    @pytest.mark.parametrize("version", ["9", "rev-one", "%00", "3", "1%2F2"])
    def test_that_are_not_loaded_are_not_found(self, caller, version):
        body = json.dumps({"inputs": [tensor("x0", "FP64", [1.0])]}).encode()
        assert caller.post_to(f"/v2/models/split/versions/{version}/infer", body).status_code == 404
        for path in ("", "/ready"):
            assert caller.server.get(f"/v2/models/split/versions/{version}{path}", CALLER).status_code == 404

    def test_keep_an_entity_on_one_revision(self, caller):
        seen = [
            {
                caller.infer([tensor("x0", "FP64", [float(i)])], "stickyentity").headers["mlops-revision"]
                for _ in range(3)
            }
            for i in range(20)
        ]
        assert all(len(revisions) == 1 for revisions in seen)
        assert set.union(*seen) == {"rev-c", "rev-d"}

    def test_and_v1_keep_an_entity_on_the_same_revision(self, caller):
        for i in range(5):
            first = caller.server.predict([{"x0": float(i)}], name="stickyentity").headers["mlops-revision"]
            response = caller.infer([tensor("x0", "FP64", [float(i)])], "stickyentity")
            assert response.headers["mlops-revision"] == first


class TestEntityKeys:
    def test_alone_are_looked_up(self, caller):
        inputs = [tensor("customer_id", "BYTES", ["a", "b"]), tensor("x2", "FP64", [100.0, 200.0])]
        response = caller.infer(inputs, "lookedup")
        assert response.json()["outputs"][0]["data"] == [111.0, 222.0], response.text

    def test_are_not_needed_when_every_column_is_there(self, caller):
        inputs = [tensor(f"x{i}", "FP64", [1.0]) for i in range(3)]
        assert caller.infer(inputs, "lookedup").json()["outputs"][0]["data"] == [3.0]
        matrix = [tensor("all", "FP64", [1.0, 1.0, 1.0], [1, 3])]
        assert caller.infer(matrix, "lookedup").json()["outputs"][0]["data"] == [3.0]

    def test_that_are_unknown_or_missing_are_refused_by_name(self, caller):
        given = tensor("x2", "FP64", [1.0])
        for customer in ("nobody", "hollow"):
            assert (
                caller.infer([tensor("customer_id", "BYTES", [customer]), given], "lookedup").status_code
                == 422
            )
        response = caller.infer([given], "lookedup")
        assert (response.status_code, "customer_id: missing" in response.json()["error"]) == (400, True)


class TestDescription:
    def test_of_the_server(self, caller):
        answer = caller.server.get("/v2", CALLER).json()
        assert answer["name"] == "ml-platform"
        assert answer["extensions"] == ["binary_tensor_data"]

    def test_of_its_health_needs_no_key(self, caller):
        assert caller.server.get("/v2/health/live", None).json() == {"live": True}
        assert caller.server.get("/v2/health/ready", None).json() == {"ready": True}

    def test_of_a_model_has_its_tensors(self, caller):
        answer = caller.server.get("/v2/models/types", CALLER).json()
        assert answer["inputs"] == [
            {"name": name, "datatype": datatype, "shape": [-1, 1]} for name, datatype, _ in TYPES
        ]
        assert answer["outputs"] == [{"name": "predictions", "datatype": "FP64", "shape": [-1]}]
        assert (answer["name"], answer["versions"], answer["platform"]) == ("types", ["1"], "onnx_onnxv1")
        wide = caller.server.get("/v2/models/wide", CALLER).json()
        assert wide["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 3]}]
        assert caller.server.get("/v2/models/split", CALLER).json()["versions"] == ["1", "2"]

    def test_of_readiness(self, caller):
        ready = caller.server.get("/v2/models/types/ready", CALLER)
        assert (ready.status_code, ready.json()) == (200, {"name": "types", "ready": True})
        warm = caller.server.get("/v2/models/warm/ready", CALLER)
        assert (warm.status_code, warm.json()) == (503, {"name": "warm", "ready": False})
        assert caller.infer([tensor("x0", "FP64", [1.0])], "warm").status_code == 503


class TestAddress:
    @pytest.mark.parametrize(("method", "path"), ROUTES)
    @pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 401), ("powerless", 403)])
    def test_needs_a_key_that_permits(self, caller, method, path, token, status):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        for root in ("/v2", "/acme/production/v2"):
            response = caller.server.client.request(method, caller.server.base + root + path, headers=headers)
            assert (response.status_code, set(response.json())) == (status, {"error"})

    @pytest.mark.parametrize(("method", "path"), ROUTES[1:])
    @pytest.mark.parametrize(
        ("root", "model", "token"),
        [
            ("/v2", "types", "other-team"),
            ("/v2", "theirs", CALLER),
            ("/umbrella/production/v2", "theirs", CALLER),
            ("/acme/production/v2", "types", "other-team"),
            ("/v2", "staged", CALLER),
            ("/acme/nowhere/v2", "types", CALLER),
            ("/v2", "unknown", CALLER),
            ("/v2", "types", ADMIN),  # of no team: it must name one
        ],
    )
    def test_of_another_team_or_environment_is_not_found(self, caller, method, path, root, model, token):
        path = caller.server.base + root + path.replace("types", model)
        response = caller.server.client.request(method, path, headers={"authorization": f"Bearer {token}"})
        assert (response.status_code, set(response.json())) == (404, {"error"})

    def test_of_an_environment_by_header_or_path(self, caller):
        body = json.dumps({"inputs": [tensor("x0", "FP64", [1.0])]}).encode()
        for path, headers in (
            ("/v2/models/staged/infer", {"mlops-environment": "staging"}),
            ("/acme/staging/v2/models/staged/infer", {}),
        ):
            assert caller.post_to(path, body, **headers).json()["outputs"][0]["data"] == [2.0]

    @pytest.mark.parametrize(
        "path",
        ["/", "/model", "/models", "/models/", "/models/types/x", "/models/types/versions", "/health", "x"],
    )
    def test_unknown_is_not_found(self, caller, path):
        assert caller.server.get("/v2" + path, CALLER).status_code == 404

    @pytest.mark.parametrize(("method", "path"), ROUTES)
    def test_answers_the_methods_of_the_protocol_alone(self, caller, method, path):
        for other in {"GET", "POST", "PUT", "DELETE"} - {method}:
            url = f"{caller.server.base}/v2{path}"
            response = caller.server.client.request(other, url, headers={"authorization": f"Bearer {CALLER}"})
            assert response.status_code == 405


def flag(**changes) -> dict:
    return tensor("flag", "BOOL", [True, False]) | changes


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            (
                {"amount": tensor("amount", "FP64", ["4.5", 1])},
                "inputs.amount.data[0]: expected float, got str",
            ),
            (
                {"amount": tensor("amount", "FP64", [1.0, None])},
                "inputs.amount.data[1]: expected float, got null",
            ),
            (
                {"amount": tensor("amount", "FP64", [1.0, True])},
                "inputs.amount.data[1]: expected float, got bool",
            ),
            (
                {"amount": tensor("amount", "BYTES", ["a", "b"])},
                "inputs.amount.datatype: expected FP64, got 'BYTES'",
            ),
            (
                {"amount": tensor("amount", "BF16", [1, 2])},
                "inputs.amount.datatype: expected FP64, got 'BF16'",
            ),
            (
                {"amount": tensor("amount", "FP64", [1.0])},
                "inputs.amount.shape: 1 rows, where the tensors before",
            ),
            (
                {"amount": tensor("amount", "FP64", [1.0], [2])},
                "inputs.amount.data: the shape says 2 values, got 1",
            ),
            (
                {"amount": tensor("amount", "FP64", [1.0], [2, 2])},
                "inputs.amount.shape: expected [rows] or [rows, 1]",
            ),
            ({"amount": tensor("amount", "FP64", [1.0], [-1])}, "inputs.amount.shape: -1 rows"),
            (
                {"amount": tensor("amount", "FP64", [[1.0, 2.0]], [2, 1])},
                "inputs.amount.data[0]: expected 1 values",
            ),
            ({"amount": {"name": "amount", "datatype": "FP64", "shape": [2]}}, "inputs.amount.data: missing"),
            ({"amount": None}, "inputs.amount: missing"),
            (
                {"amount": tensor("amuont", "FP64", [1.0, 2.0])},
                "inputs.amuont: the model has no such input; it has flag,",
            ),
            ({"amount": tensor("flag", "BOOL", [True, False])}, "inputs.flag: given twice"),
            ({"flag": flag(data=[1, 0])}, "inputs.flag.data[0]: expected bool, got int"),
            ({"flag": flag(shape=[])}, "inputs.flag.shape: expected [rows]"),
            ({"flag": flag(shape=[0], data=[])}, "inputs.flag.shape: expected at least one row"),
            ({"flag": flag(shape=[2**70])}, "inputs.flag.shape: at most 500 rows"),
            ({"flag": flag(shape=[1.5])}, "inputs[0].shape[0]: expected int, got float"),
            ({"flag": flag(shape="2")}, "inputs[0].shape: expected array, got str"),
            ({"flag": flag(name=3)}, "inputs[0].name: expected str, got int"),
            ({"flag": flag(parameters=[])}, "inputs[0].parameters: expected object"),
            ({"flag": flag(parameters={"binary_data_size": 2})}, "inputs.flag: binary data needs the header"),
            (
                {"small": tensor("small", "INT32", [2**31, 0])},
                "inputs.small.data[0]: expected int <= 2147483647",
            ),
            (
                {"small": tensor("small", "INT64", [2**31, 0])},
                "inputs.small.data[0]: expected -2147483648 to",
            ),
            ({"small": tensor("small", "INT8", [128, 0])}, "inputs.small.data[0]: expected int <= 127"),
            (
                {"small": tensor("small", "FP64", [1.0, 2.0])},
                "inputs.small.datatype: expected INT32, got 'FP64'",
            ),
            ({"big": tensor("big", "UINT64", [2**63, 0])}, "inputs.big.data[0]: expected"),
            ({"big": tensor("big", "UINT64", [2**64, 0])}, "inputs.big.data[0]: expected int < 2**64"),
            ({"amount": tensor("amount", "UINT64", [0, 10**400])}, "inputs.amount.data"),
            ({"big": tensor("big", "INT64", [1.5, 0])}, "inputs.big.data[0]: expected int, got float"),
            ({"ratio": tensor("ratio", "FP32", [1e39, 0])}, "inputs.ratio.data[0]: expected float <= 3.4"),
            ({"ratio": tensor("ratio", "FP64", [0, 1e39])}, "inputs.ratio.data[1]: expected -3.4"),
            (
                {"label": tensor("label", "BYTES", [5, "a"])},
                "inputs.label.data[0]: expected str | null, got int",
            ),
        ],
    )
    def test_in_a_tensor_is_named(self, caller, changes, says):
        response = caller.infer(types_inputs(**changes))
        assert (response.status_code, set(response.json())) == (400 if "500" not in says else 413, {"error"})
        assert says in response.json()["error"]

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            (
                {"amount": tensor("amount", "FP64", b"\0" * 15)},
                "inputs.amount.data: 2 values of FP64 are 16 bytes, got 15",
            ),
            (
                {"amount": tensor("amount", "FP64", [float("nan"), 1.0])},
                "inputs.amount.data[0]: expected double, got NaN",
            ),
            (
                {"amount": tensor("amount", "FP64", [1.0, float("inf")])},
                "inputs.amount.data[1]: expected a finite number",
            ),
            (
                {"ratio": tensor("ratio", "FP32", [1.0, float("-inf")])},
                "inputs.ratio.data[1]: expected a finite number",
            ),
            ({"flag": flag(data=b"\x01\x02")}, "inputs.flag.data: a BOOL is a byte of 0 or 1"),
            (
                {"label": tensor("label", "BYTES", [b"a", b"\xff"])},
                "inputs.label.data[1]: expected text in UTF-8",
            ),
            (
                {"label": tensor("label", "BYTES", b"\xff\xff\xff\xff")},
                "inputs.label.data[0]: an element of 4294967295",
            ),
            (
                {"label": tensor("label", "BYTES", b"\1\0\0\0a")},
                "inputs.label.data: the shape says 2 elements",
            ),
            ({"label": tensor("label", "BYTES", ["a", "b", "c"])}, "inputs.label.data: 5 bytes too many"),
            (
                {"small": tensor("small", "INT64", [2**31, 0])},
                "inputs.small.data[0]: expected -2147483648 to",
            ),
        ],
    )
    def test_in_a_raw_tensor_is_named(self, caller, changes, says):
        changes = {name: given | {"shape": [2]} for name, given in changes.items()}
        body, headers = binary_body(types_inputs(**changes))
        response = caller.post(body, **headers)
        assert (response.status_code, set(response.json())) == (400, {"error"})
        assert says in response.json()["error"]

    @pytest.mark.parametrize("length", ["-1", "abc", "", "1e3", "999999999", "9" * 5000, "10"])
    def test_in_the_length_of_the_json_is_named(self, caller, length):
        body, _ = binary_body(types_inputs())
        response = caller.post(body, inference_header_content_length=length)
        assert response.status_code == 400

    @pytest.mark.parametrize(
        ("cut", "says"), [(-1, "binary_data_size: 10 bytes are more"), (None, "belong to no")]
    )
    def test_in_the_sizes_of_raw_tensors_is_named(self, caller, cut, says):
        body, headers = binary_body(types_inputs(label=tensor("label", "BYTES", ["a", "b"])))
        response = caller.post(body[:cut] if cut else body + b"x", **headers)
        assert (response.status_code, says in response.json()["error"]) == (400, True), response.text

    def test_with_data_twice_is_named(self, caller):
        inputs = types_inputs()
        inputs[0]["parameters"] = {"binary_data_size": 2}
        text = json.dumps({"inputs": inputs}).encode()
        response = caller.post(text + b"\0\0", inference_header_content_length=str(len(text)))
        assert "inputs.flag: has data and binary data" in response.json()["error"]

    @pytest.mark.parametrize(
        ("inputs", "says"),
        [
            ([tensor("m", "FP64", [1.0, 2.0], [1, 2])], "inputs.m.shape: expected [rows, 3], got [1, 2]"),
            ([tensor("m", "FP64", [1.0, 2.0, 3.0])], "inputs.m.shape: expected [rows, 3], got [3]"),
            (
                [tensor("m", "FP64", [[1.0, 2.0], [3.0]], [1, 3])],
                "inputs.m.data[0]: expected 3 values, got 2",
            ),
            ([tensor("m", "BYTES", ["a", "b", "c"], [1, 3])], "inputs.m.datatype: expected FP64"),
            ([tensor("m", "FP64", [], [0, 3])], "inputs.m.shape: expected at least one row"),
            ([tensor("m", "FP64", [1.0], [1, 3])], "inputs.m.data: the shape says 3 values, got 1"),
        ],
    )
    def test_in_a_matrix_is_named(self, caller, inputs, says):
        response = caller.infer(inputs, "wide")
        assert (response.status_code, says in response.json()["error"]) == (400, True), response.text

    def test_of_a_matrix_is_refused_where_columns_are_text(self, caller):
        response = caller.infer([tensor("m", "FP64", [1.0] * 6, [1, 6])])
        assert (response.status_code, "inputs.m: the model has no such input" in response.text) == (400, True)

    def test_of_whole_numbers_in_a_matrix_is_named_by_its_column(self, caller, v2_server):
        response = caller.infer([tensor("m", "FP32", [2.0, 3.5], [2, 1])], "echo-long")
        assert "inputs.m.value[1]: expected a whole number, got 3.5" in response.json()["error"]
        assert caller.infer([tensor("m", "FP32", [2.0, 3.0], [2, 1])], "echo-long").status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"null",
            b"[]",
            b"{}",
            b'{"inputs":[]}',
            b'{"inputs":{}}',
            b'{"inputs":[1]}',
            b'{"inputs":[{}]}',
            b'{"inputs":[{"name":"flag","shape":[1],"datatype":"BOOL","data":' + b"[" * 50_000,
            b'{"inputs":[{"name":"ratio","shape":[1],"datatype":"FP32","data":[NaN]}]}',
            b'{"inputs":[{"name":"ratio","shape":[1],"datatype":"FP32","data":[1e999]}]}',
            b'{"inputs":[{"name":"label","shape":[1],"datatype":"BYTES","data":["\\ud800"]}]}',
            b'{"inputs":[{"name":"label","shape":[1],"datatype":"BYTES","data":["\xff"]}]}',
            b'{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":[1]}],"outputs":[1]}',
            b'{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":[1]}],"id":5}',
        ],
    )
    def test_in_the_body_is_explained(self, caller, body):
        response = caller.post(body)
        assert (response.status_code, set(response.json())) == (400, {"error"})

    @pytest.mark.parametrize("part", ["inputs", "outputs"])
    def test_of_very_many_parts_is_refused(self, caller, part):
        body = json.dumps({"inputs": types_inputs()} | {part: [{"name": "", "shape": [], "datatype": ""}]})
        many = body.replace('{"name": "", ', '{"name": ""},' * 10_000 + '{"name": "", ')
        response = caller.post(many.encode())
        assert (response.status_code, part in response.json()["error"]) == (400, True)

    def test_too_many_rows_or_too_large_a_body_is_refused(self, caller):
        assert caller.infer([tensor("value", "FP64", [1.0] * 501)], "echo-double").status_code == 413
        assert caller.post(b" " * 300_000).status_code == 413

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
    )
    def test_another_content_type_is_refused(self, caller, kind):
        response = caller.post(json.dumps({"inputs": types_inputs()}).encode(), content_type=kind)
        assert response.status_code == 415

    def test_a_compressed_body_is_refused(self, caller):
        assert caller.post(b"\x1f\x8b", content_encoding="gzip").status_code == 415

    def test_of_classification_is_refused(self, caller):
        outputs = [{"name": "predictions", "parameters": {"classification": 3}}]
        assert "classification" in caller.infer(types_inputs(), outputs=outputs).json()["error"]

    def test_leaves_the_worker_alive(self, v2_server):
        assert "ended with" not in v2_server.log.read_text()
        assert "Traceback" not in v2_server.log.read_text()

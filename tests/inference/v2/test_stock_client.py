"""Triton's own client, in an environment of its own, over REST and gRPC."""

from pathlib import Path

import pytest

from tests.inference.support.control import CALLER
from tests.inference.support.tensors import KINDS, TYPES
from tests.support.environments import StockClient

TRITON = StockClient(Path(__file__).with_name("triton_program.py"), "tritonclient[http,grpc]==2.73.0")
pytestmark = TRITON.marks


def ask(server, model: str, version: str, inputs: list[dict], outputs: list[str]) -> dict:
    task = {
        "http": f"127.0.0.1:{server.port}",
        "grpc": f"127.0.0.1:{server.grpc_port}",
        "token": CALLER,
        "model": model,
        "version": version,
        "inputs": inputs,
        "outputs": outputs,
    }
    return TRITON.ask(task)


class TestTritonsClient:
    def test_gets_the_pipelines_answers_in_every_form(self, v2_server, churn):
        rows = churn.instances(5)
        kinds = {c.name: KINDS[c.type][0] for c in churn.bundle.manifest.signature.inputs}
        inputs = [
            {"name": name, "datatype": kinds[name], "shape": [5, 1], "data": [row[name] for row in rows]}
            for name in rows[0]
        ]
        found = ask(v2_server, "churn", "7", inputs, ["churn"])
        for over, forms in (("http", ("binary", "json", "versioned")), ("grpc", ("raw", "versioned"))):
            for form in forms:
                assert found[over][form]["churn"] == pytest.approx(churn.expected(5), abs=1e-5), (over, form)
            assert found[over]["id"] == "mine"
            assert [found[over][what] for what in ("live", "ready", "model_ready")] == [True, True, True]
            assert found[over]["server"] == "ml-platform"
            assert found[over]["metadata"]["name"] == "churn"
            assert {each["name"]: each["datatype"] for each in found[over]["metadata"]["inputs"]} == kinds
            assert "there is no model 'unknown'" in found[over]["error"][1]
        assert found["http"]["error"][0] == "404"
        assert found["grpc"]["error"][0] == "StatusCode.NOT_FOUND"
        assert not found["http"]["unknown_ready"]

    def test_speaks_every_type(self, v2_server):
        inputs = [{"name": n, "datatype": d, "shape": [2], "data": v} for n, d, v in TYPES]
        found = ask(v2_server, "types", "1", inputs, ["predictions"])
        assert found["http"]["binary"] == found["grpc"]["raw"] == {"predictions": [4.5, 5.5]}

    def test_gets_text_back(self, v2_server):
        inputs = [{"name": "value", "datatype": "BYTES", "shape": [2, 1], "data": ["", "Ⅻ🦄"]}]
        found = ask(v2_server, "echo-string", "1", inputs, ["predictions"])
        expected = {"predictions": ["", "Ⅻ🦄"]}
        assert found["http"]["binary"] == found["http"]["json"] == found["grpc"]["raw"] == expected

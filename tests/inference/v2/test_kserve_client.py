"""KServe's own clients, in an environment of their own: V1 and V2 over REST, and gRPC."""

from pathlib import Path
from typing import Any

import pytest

from tests.inference.support.control import CALLER
from tests.inference.support.tensors import KINDS
from tests.support.environments import StockClient

KSERVE = StockClient(Path(__file__).with_name("kserve_program.py"), "kserve==0.21.0")
pytestmark = KSERVE.marks
ROWS = 3


@pytest.fixture(scope="module")
def found(v2_server, churn) -> dict[str, Any]:
    """What all of its clients got in one run: importing `kserve` takes most of the time."""
    rows = churn.instances(ROWS)
    kinds = {c.name: KINDS[c.type][0] for c in churn.bundle.manifest.signature.inputs}
    return KSERVE.ask(
        {
            "http": v2_server.base,
            "grpc": f"127.0.0.1:{v2_server.grpc_port}",
            "token": CALLER,
            "model": "churn",
            "version": "7",
            "idle": "warm",
            "instances": rows,
            "explained": "explained",
            "to_explain": {"instances": [[5.0]]},
            "outputs": ["churn"],
            "inputs": [
                {"name": n, "datatype": kinds[n], "shape": [ROWS, 1], "data": [row[n] for row in rows]}
                for n in rows[0]
            ],
        }
    )


class TestV1:
    def test_predicts_at_each_address(self, found, churn):
        expected = pytest.approx(churn.expected(ROWS), abs=1e-5)
        assert found["v1"]["predict"] == {"predictions": expected}
        assert found["v1"]["addressed"] == {"predictions": expected}
        assert found["v1"]["revision"] == "rev-churn"

    def test_explains(self, found):
        (explanation,) = found["v1"]["explain"]["explanations"]
        assert explanation == {"base_value": pytest.approx(3.0), "values": {"x0": pytest.approx(3.0)}}

    def test_knows_what_lives_and_what_is_ready(self, found):
        assert found["v1"]["live"]
        assert found["v1"]["ready"] == [True, False]

    def test_is_refused_in_words_that_it_understands(self, found):
        assert found["v1"]["unknown"][0] == 404
        assert "there is no model 'unknown'" in found["v1"]["unknown"][1]
        assert found["v1"]["no_key"][0] == 401
        assert found["v1"]["bad"][0] == 400
        assert "instances[0]." in found["v1"]["bad"][1]


class TestV2:
    @pytest.mark.parametrize("form", ["json", "filtered", "binary", "addressed"])
    def test_infers_in_each_form(self, found, churn, form):
        assert found["v2"][form] == {"churn": pytest.approx(churn.expected(ROWS), abs=1e-5)}

    def test_gets_its_id_back(self, found):
        assert found["v2"]["id"] == "mine"

    def test_knows_what_lives_and_what_is_ready(self, found):
        assert found["v2"]["live"]
        assert found["v2"]["server_ready"]
        assert found["v2"]["ready"] == [True, False, False]

    def test_is_refused_in_words_that_it_understands(self, found):
        assert found["v2"]["unknown"][0] == 404
        assert "there is no model 'unknown'" in found["v2"]["unknown"][1]
        assert found["v2"]["no_output"][0] == 400
        assert "outputs.none: the model has no such output" in found["v2"]["no_output"][1]


class TestGrpc:
    @pytest.mark.parametrize("form", ["typed", "raw", "filtered", "versioned"])
    def test_infers_in_each_form(self, found, churn, form):
        assert found["grpc"][form] == {"churn": pytest.approx(churn.expected(ROWS), abs=1e-5)}

    def test_gets_its_id_and_the_version_back(self, found):
        assert (found["grpc"]["id"], found["grpc"]["version"]) == ("mine", "7")

    def test_knows_what_lives_and_what_is_ready(self, found):
        assert found["grpc"]["live"]
        assert found["grpc"]["server_ready"]
        assert found["grpc"]["ready"] == [True, False]

    def test_is_refused_with_the_codes_of_grpc(self, found):
        assert found["grpc"]["unknown_ready"][0] == "NOT_FOUND"
        assert found["grpc"]["unknown"][0] == "NOT_FOUND"
        assert found["grpc"]["no_version"][0] == "NOT_FOUND"
        assert found["grpc"]["no_key"][0] == "UNAUTHENTICATED"

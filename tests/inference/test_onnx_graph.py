"""What is read of a graph without loading it is what ONNX Runtime says once it is loaded."""

import contextlib
import random

import onnxruntime
import pytest

from ml_platform.contracts.bundles import BundleError
from ml_platform.inference.runtimes.onnx_graph import graph_inputs


class TestGraphInputs:
    @pytest.mark.parametrize("name", ["churn", "one", "types"])
    def test_are_those_of_the_loaded_session(self, name, churn, one, types):
        bundle = {"churn": churn.bundle, "one": one, "types": types}[name]
        path = bundle.path / "model.onnx"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert graph_inputs(path) == {node.name: node.type for node in session.get_inputs()}

    def test_of_a_damaged_file_are_refused_or_read_and_nothing_else(self, tmp_path, types):
        whole = (types.path / "model.onnx").read_bytes()
        dice = random.Random(7)
        path = tmp_path / "model.onnx"
        for _ in range(2000):
            data = bytearray(whole[: dice.randrange(1, len(whole) + 1)])
            for _ in range(dice.randrange(4)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            path.write_bytes(data)
            with contextlib.suppress(BundleError):
                assert graph_inputs(path)

    @pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 64, b"{}", b"\x3a\xff\xff\xff\xff\x0f"])
    def test_of_what_is_no_graph_are_refused(self, tmp_path, data):
        (tmp_path / "model.onnx").write_bytes(data)
        with pytest.raises(BundleError, match="not an ONNX model"):
            graph_inputs(tmp_path / "model.onnx")

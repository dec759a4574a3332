"""What a rollout does with a bundle that lies in the storage already."""

from pathlib import Path

import pytest

from ml_platform.contracts.bundles import Column, OnnxGraph, Signature
from ml_platform.contracts.problems import ErrorCode
from ml_platform.integrations.rollouts import tools
from ml_platform.kit.errors import ConflictError
from tests.inference.support.bundles import Bundle, write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    signature = Signature(inputs=(Column(name="x", type="double"),))
    return write_bundle(
        tmp_path / "b1",
        {"model.onnx": b"graph"},
        runtime="onnx",
        signature=signature,
        task="regression",
        onnx=OnnxGraph(inputs="matrix", prediction="variable"),
    )


class TestVerifying:
    def test_the_one_that_was_built_passes(self, bundle: Bundle) -> None:
        assert tools._checked(bundle.path, bundle.digest) == (bundle.manifest, bundle.digest)

    def test_one_with_a_changed_file_is_refused_with_its_remedy(self, bundle: Bundle) -> None:
        (bundle.path / "model.onnx").write_bytes(b"Graph")
        with pytest.raises(
            ConflictError, match="b1 was changed in the storage; removed from there"
        ) as caught:
            tools._checked(bundle.path, bundle.digest)
        assert caught.value.code is ErrorCode.ARTIFACT_CHANGED

    def test_one_without_a_manifest_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConflictError, match="cannot be read") as caught:
            tools._checked(tmp_path, None)
        assert caught.value.code is ErrorCode.ARTIFACT_CHANGED

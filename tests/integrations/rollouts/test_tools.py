"""What a rollout does with a bundle that lies in the storage already."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from ml_platform.contracts.bundles import Column, OnnxGraph, Signature, encode_manifest
from ml_platform.contracts.problems import ErrorCode
from ml_platform.integrations.rollouts.tools import take
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


class TestTaking:
    def test_the_one_that_was_built_passes(self, bundle: Bundle) -> None:
        taken = take(bundle.path, bundle.digest)
        assert (taken.path, taken.digest, taken.runtime) == (bundle.path, bundle.digest, "onnx")
        assert taken.reused

    def test_it_still_says_how_it_came_to_be(self, tmp_path: Path) -> None:
        isolated = write_bundle(
            tmp_path / "b2",
            {"requirements.txt": b""},
            runtime="pyfunc",
            signature=Signature(inputs=(Column(name="x", type="double"),)),
            task="other",
            metadata={"not_converted_because": "it has categories", "warnings": "one\ntwo"},
        )
        taken = take(isolated.path, isolated.digest)
        assert (taken.reason, taken.warnings, taken.converter) == ("it has categories", ("one", "two"), None)

    def test_one_with_a_changed_file_is_refused_with_its_remedy(self, bundle: Bundle) -> None:
        (bundle.path / "model.onnx").write_bytes(b"Graph")
        with pytest.raises(ConflictError, match="b1 was changed in the storage") as caught:
            take(bundle.path, bundle.digest)
        assert caught.value.code is ErrorCode.ARTIFACT_CHANGED
        assert "built anew" in (caught.value.hint or "")

    def test_one_whose_manifest_was_made_to_match_the_changed_file_is_refused(self, bundle: Bundle) -> None:
        (bundle.path / "model.onnx").write_bytes(b"Graph")
        files = {**bundle.manifest.files, "model.onnx": hashlib.sha256(b"Graph").hexdigest()}
        changed = msgspec.structs.replace(bundle.manifest, files=files)
        (bundle.path / "bundle.json").write_bytes(encode_manifest(changed))
        with pytest.raises(ConflictError, match="b1 was changed in the storage"):
            take(bundle.path, bundle.digest)

    def test_one_without_a_manifest_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConflictError, match="cannot be read") as caught:
            take(tmp_path, "0" * 64)
        assert caught.value.code is ErrorCode.ARTIFACT_CHANGED

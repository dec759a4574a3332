import os
from pathlib import Path

import msgspec
import pytest
from mlflow.types import DataType, ParamSchema, ParamSpec
from mlflow.types.schema import Object, Property

from ml_platform.contracts.bundles import Param
from ml_platform.integrations.modelbuild import ModelRefusedError, inspect_model

SIGNATURE = """signature:
  inputs: '[{"type": "string", "name": "a", "required": true}, {"type": "double", "name": "b", "required": false}]'
  outputs: '[{"type": "double"}]'
"""
GOOD = "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(GOOD + SIGNATURE)
    (folder / "requirements.txt").write_text("mlflow==3.17.2\n")
    (folder / "model.pkl").write_bytes(b"x")
    return folder


class TestInspecting:
    def test_what_it_says(self, model: Path) -> None:
        info = inspect_model(model)
        assert info.signature is not None
        assert [(c.name, c.type, c.required) for c in info.signature.inputs] == [
            ("a", "string", True),
            ("b", "double", False),
        ]
        assert set(info.files) == {"MLmodel", "requirements.txt", "model.pkl"}

    def test_the_params_that_mlflow_writes(self, model: Path) -> None:
        schema = ParamSchema(
            [
                ParamSpec("scale", "double", 1.5),
                ParamSpec("limit", "long", None),
                ParamSpec("stop", "string", ["a"], shape=(-1,)),
                ParamSpec("moment", "datetime", "2024-01-02T03:04:05"),
                ParamSpec("options", Object([Property("deep", DataType.boolean)]), {"deep": True}),
            ]
        )
        (model / "MLmodel").write_text(GOOD + SIGNATURE + f"  params: '{schema.to_json()}'\n")
        info = inspect_model(model)
        assert info.signature is not None
        assert info.signature.params == (
            Param(name="scale", type="double", default=1.5),
            Param(name="limit", type="long"),
            Param(name="stop", type="string", default=("a",), shape=(-1,)),
            Param(name="moment", type="datetime", default="2024-01-02T03:04:05"),
        )

    def test_no_params(self, model: Path) -> None:
        signature = inspect_model(model).signature
        assert signature is not None
        assert "params" not in msgspec.to_builtins(signature)

    def test_the_digest_tells_any_change_of_content_or_name(self, model: Path) -> None:
        digests = {inspect_model(model).digest}
        (model / "model.pkl").write_bytes(b"y")
        digests.add(inspect_model(model).digest)
        (model / "model.pkl").rename(model / "model2.pkl")
        digests.add(inspect_model(model).digest)
        assert len(digests) == 3

    @pytest.mark.parametrize(
        "line", ["model_path: ../x", "data: /etc", "code: a/../../b", "data: file:///etc", "data: ~/x"]
    )
    def test_a_path_that_leads_outside(self, model: Path, line: str) -> None:
        key = line.partition(":")[0]
        others = "".join(
            kept for kept in GOOD.splitlines(keepends=True) if kept.strip().partition(":")[0] != key
        )
        (model / "MLmodel").write_text(others + f"    {line}\n" + SIGNATURE)
        with pytest.raises(ModelRefusedError, match="outside"):
            inspect_model(model)

    def test_a_name_that_comes_twice(self, model: Path) -> None:
        (model / "MLmodel").write_text(GOOD + "    model_path: another.pkl\n" + SIGNATURE)
        with pytest.raises(ModelRefusedError, match="'model_path' stands there twice"):
            inspect_model(model)

    def test_a_link(self, model: Path) -> None:
        (model / "link").symlink_to("/etc/passwd")
        with pytest.raises(ModelRefusedError, match="'link'"):
            inspect_model(model)

    def test_a_pipe(self, model: Path) -> None:
        os.mkfifo(model / "pipe")
        with pytest.raises(ModelRefusedError, match="no plain file"):
            inspect_model(model)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{",
            "flavors: 3",
            "a: !!python/object/apply:os.system [id]",
            "a: &a [1]\nb: [*a, *a]\nflavors: {}",
            "flavors:\n  x: 1",
            "[" * 100_000,
            "\x00",
        ],
    )
    def test_an_unreadable_mlmodel(self, model: Path, text: str) -> None:
        (model / "MLmodel").write_text(text)
        with pytest.raises(ModelRefusedError):
            inspect_model(model)

    def test_one_that_is_too_large_or_no_text(self, model: Path) -> None:
        (model / "MLmodel").write_bytes(b"#" * 5_000_000)
        with pytest.raises(ModelRefusedError, match="larger"):
            inspect_model(model)
        (model / "MLmodel").write_bytes(b"\xff\xfe\xff")
        with pytest.raises(ModelRefusedError, match="UTF-8"):
            inspect_model(model)

    @pytest.mark.parametrize(
        "inputs",
        ["not json", "3", "[3]", '[{"type": "object", "name": "a"}]', '[{"type": "tensor"}]', "[" * 9999],
    )
    def test_a_signature_that_is_no_table_is_said_so(self, model: Path, inputs: str) -> None:
        (model / "MLmodel").write_text(GOOD + f"signature:\n  inputs: '{inputs}'\n")
        info = inspect_model(model)
        assert info.signature is None
        assert info.signature_problem

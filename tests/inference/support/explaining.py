"""Bundles with background rows, so that they can be explained."""

import json
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from ml_platform.contracts.bundles import (
    BACKGROUND_FILE,
    MANIFEST_NAME,
    ONNX_FILE,
    Background,
    Column,
    OnnxGraph,
    Signature,
)

from .bundles import Bundle, seal, write_bundle

PRICE = textwrap.dedent(
    '''
    """A price by region and area; without a region it is a guess. `area` below zero is a mistake, 1e9 takes long."""
    import time
    import mlflow.pyfunc
    from mlflow.models import set_model

    FACTOR = {"north": 2.0, "south": 3.0}

    class Price(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            if (model_input["area"] < 0).any():
                raise ValueError("an area below zero")
            if (model_input["area"] == 1e9).any():
                time.sleep(600)
            return [
                FACTOR.get(region, 1.0) * area + 10.0 * garden
                for region, area, garden in zip(model_input["region"], model_input["area"], model_input["garden"])
            ]

    set_model(Price())
    '''
)
PRICE_COLUMNS = (
    Column(name="region", type="string", required=False),
    Column(name="area", type="double"),
    Column(name="garden", type="boolean"),
)
PRICE_ROWS = [["north", 1.0, False], ["south", 2.0, True], [None, 3.0, False], ["north", 4.0, True]]


def price(region: str | None, area: float, garden: bool) -> float:
    return {"north": 2.0, "south": 3.0, None: 1.0}[region] * area + 10.0 * garden


def with_background(bundle: Bundle, directory: Path, rows: Sequence[Sequence[Any]]) -> Bundle:
    """The same bundle with rows to explain against."""
    shutil.copytree(bundle.path, directory)
    (directory / MANIFEST_NAME).unlink()
    (directory / BACKGROUND_FILE).write_text(json.dumps({"rows": list(rows)}))
    parts = {name: getattr(bundle.manifest, name) for name in bundle.manifest.__struct_fields__}
    parts = {name: value for name, value in parts.items() if name not in {"files", "format"}}
    return seal(directory, **parts | {"explain": Background(file=BACKGROUND_FILE, rows=len(rows))})


def build_price(directory: Path, rows: Sequence[Sequence[Any]] = PRICE_ROWS) -> Bundle:
    """An isolated model with a column of text that may be missing."""
    return _build_isolated(directory, PRICE, PRICE_COLUMNS, rows, task="other")


def _build_isolated(
    directory: Path, source: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Any]], **manifest: Any
) -> Bundle:
    directory.mkdir(parents=True)
    code = directory.parent / f"{directory.name}.py"
    code.write_text(source)
    schema = Schema([ColSpec(c.type, c.name, required=c.required) for c in columns])
    mlflow.pyfunc.save_model(
        directory / "model",
        python_model=str(code),
        signature=ModelSignature(inputs=schema, outputs=None),
        pip_requirements=["mlflow", "pandas"],
    )
    (directory / "requirements.txt").write_text("mlflow\npandas\n")
    (directory / BACKGROUND_FILE).write_text(json.dumps({"rows": list(rows)}))
    return seal(
        directory,
        runtime="pyfunc",
        signature=Signature(inputs=columns),
        explain=Background(file=BACKGROUND_FILE, rows=len(rows)),
        **manifest,
    )


SCORES = textwrap.dedent(
    '''
    """Says of a flower how much it is of each of three kinds, in the form that its column `form` asks for."""
    import mlflow.pyfunc
    import numpy as np
    import pandas as pd
    from mlflow.models import set_model

    def scores(frame):
        raw = np.stack([frame["a"], frame["b"] * frame["a"], 1.0 - frame["b"]], axis=1)
        return np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)

    class Scores(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return FORM

    class Sure(Scores):
        def predict_proba(self, model_input):
            return scores(model_input)

    set_model(KIND())
    '''
)
FORMS = {
    "frame": ("Scores", 'pd.DataFrame(scores(model_input), columns=["rose", "tulip", "lily"])'),
    "lists": ("Scores", "scores(model_input).tolist()"),
    "labels": ("Scores", '[("rose", "tulip", "lily")[i] for i in scores(model_input).argmax(axis=1)]'),
    "sure": ("Sure", '[("rose", "tulip", "lily")[i] for i in scores(model_input).argmax(axis=1)]'),
}
SCORED_ROWS = [[0.0, 0.0], [1.0, 0.5], [0.25, 2.0], [1.5, -1.0]]


def kinds(a: float, b: float) -> list[float]:
    """What the models of `FORMS` say of a row."""
    raw = np.exp([a, b * a, 1.0 - b])
    return (raw / raw.sum()).tolist()


def build_scores(directory: Path, form: str) -> Bundle:
    """An isolated model that says how sure it is of each class, or which one it is."""
    kind, expression = FORMS[form]
    columns = (Column(name="a", type="double"), Column(name="b", type="double"))
    return _build_isolated(
        directory,
        SCORES.replace("FORM", expression).replace("KIND", kind),
        columns,
        SCORED_ROWS,
        task="other",
    )


@dataclass(frozen=True)
class Flowers:
    """A classifier of three classes, which answers with their names, and the rows it is explained against."""

    bundle: Bundle
    model: Any
    background: Any


def build_isolated_flowers(directory: Path) -> Flowers:
    """The same classifier as `build_flowers`, as MLflow's scikit-learn flavour has it."""
    import mlflow.sklearn

    data = load_iris()
    names = [name.replace(" ", "_") for name in data.feature_names]
    frame = pd.DataFrame(data.data, columns=names)
    model = LogisticRegression(max_iter=500).fit(frame, data.target_names[data.target].astype(str))
    directory.mkdir(parents=True)
    schema = Schema([ColSpec("double", name) for name in names])
    mlflow.sklearn.save_model(model, directory / "model", signature=ModelSignature(inputs=schema))
    (directory / "requirements.txt").write_text("mlflow\nscikit-learn\n")
    background = frame.iloc[::10]
    (directory / BACKGROUND_FILE).write_text(json.dumps({"rows": background.to_numpy().tolist()}))
    bundle = seal(
        directory,
        runtime="pyfunc",
        signature=Signature(inputs=tuple(Column(name=name, type="double") for name in names)),
        task="classification",
        classes=tuple(model.classes_.tolist()),
        explain=Background(file=BACKGROUND_FILE, rows=len(background)),
    )
    return Flowers(bundle, model, background)


def build_flowers(directory: Path) -> Flowers:
    data = load_iris()
    rows, names = data.data.astype(np.float32), data.target_names[data.target].astype(str)
    model = LogisticRegression(max_iter=500).fit(rows, names)
    graph = convert_sklearn(
        model,
        initial_types=[("input", FloatTensorType([None, 4]))],
        options={id(model): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    background = rows[::10]
    bundle = write_bundle(
        directory,
        {
            ONNX_FILE: graph.SerializeToString(),
            BACKGROUND_FILE: json.dumps({"rows": background.tolist()}).encode(),
        },
        runtime="onnx",
        signature=Signature(
            inputs=tuple(Column(name=name.replace(" ", "_"), type="double") for name in data.feature_names)
        ),
        task="classification",
        classes=tuple(model.classes_.tolist()),
        onnx=OnnxGraph(inputs="matrix", prediction="label", probabilities="probabilities"),
        explain=Background(file=BACKGROUND_FILE, rows=len(background)),
    )
    return Flowers(bundle, model, background)

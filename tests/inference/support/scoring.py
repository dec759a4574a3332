"""One model twice: behind our server, and behind MLflow's own scoring server, for the same payloads."""

import textwrap
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, Schema, TensorSpec
from starlette.testclient import TestClient

from ml_platform.contracts.bundles import Column, ColumnType, Signature

from .bundles import Bundle, seal

ECHO = textwrap.dedent(
    '''
    """Answers each row with the values that it was given, and the types that they arrived in."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import set_model

    def told(value):
        if value is None or value is pd.NaT or value != value:
            return None
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, pd.Timestamp):
            value = value.isoformat()
        return f"{type(value).__name__} {value}"

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            if hasattr(model_input, "columns"):
                names = [str(name) for name in model_input.columns]
                rows = zip(*(model_input[name] for name in model_input.columns))
                return [{n: t for n, v in zip(names, row) if (t := told(v))} for row in rows]
            return [[told(v) for v in row] for row in model_input]

    set_model(Echo())
    '''
)
COLUMNS: tuple[tuple[str, ColumnType, bool], ...] = (
    ("flag", "boolean", True),
    ("small", "integer", True),
    ("big", "long", True),
    ("ratio", "float", True),
    ("amount", "double", True),
    ("label", "string", True),
    ("seen", "datetime", True),
    ("note", "string", False),
    ("extra", "double", False),
)


def build_echo(directory: Path, columns: tuple[tuple[str, ColumnType, bool], ...] = COLUMNS) -> Bundle:
    schema = Schema([ColSpec(kind, name, required=required) for name, kind, required in columns])
    signature = Signature(
        inputs=tuple(Column(name=name, type=kind, required=required) for name, kind, required in columns)
    )
    return _build(directory, schema, signature)


def build_matrix(directory: Path, width: int = 3) -> Bundle:
    import numpy as np

    schema = Schema([TensorSpec(np.dtype("float64"), (-1, width))])
    inputs = tuple(Column(name=str(index), type="double") for index in range(width))
    return _build(directory, schema, Signature(inputs=inputs, layout="tensor"))


def _build(directory: Path, schema: Schema, signature: Signature) -> Bundle:
    directory.mkdir(parents=True)
    code = directory.parent / f"{directory.name}.py"
    code.write_text(ECHO)
    mlflow.pyfunc.save_model(
        directory / "model",
        python_model=str(code),
        signature=ModelSignature(inputs=schema, outputs=None),
        pip_requirements=["mlflow", "pandas"],
    )
    (directory / "requirements.txt").write_text("mlflow\npandas\n")
    return seal(directory, runtime="pyfunc", signature=signature, task="other")


class Stock:
    """What `mlflow models serve` runs, in this process."""

    def __init__(self, bundle: Bundle) -> None:
        self.client = TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(bundle.path / "model"))))

    def invoke(self, body: bytes, content_type: str = "application/json") -> Any:
        return self.client.post("/invocations", content=body, headers={"content-type": content_type})

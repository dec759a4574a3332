"""A model whose signature has params: it says what it was given, and how many rows came with it."""

import textwrap
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

from ml_platform.contracts.bundles import Column, Param, Signature

from .bundles import Bundle, seal

TOLD = textwrap.dedent(
    '''
    """Answers each row with `x` times `scale`, the params, their types, and the size of its batch."""
    import time
    import mlflow.pyfunc
    from mlflow.models import set_model

    class Told(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            if params["note"] == "wait":
                time.sleep(0.3)
            told = {name: str(value) for name, value in params.items()}
            types = {name: type(value).__name__ for name, value in params.items()}
            return [
                {"x": float(x * params["scale"]), "told": told, "types": types, "rows": len(model_input)}
                for x in model_input["x"]
            ]

    set_model(Told())
    '''
)
SCALED = textwrap.dedent(
    '''
    """`x` times `scale` plus `y`: a number, which can be explained."""
    import mlflow.pyfunc
    from mlflow.models import set_model

    class Scaled(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return (model_input["x"] * params["scale"] + model_input["y"]).tolist()

    set_model(Scaled())
    '''
)
PARAMS = (
    ParamSpec("scale", "double", 1.0),
    ParamSpec("count", "integer", 3),
    ParamSpec("big", "long", 2**40),
    ParamSpec("ratio", "float", 0.5),
    ParamSpec("strict", "boolean", False),
    ParamSpec("note", "string", "none"),
    ParamSpec("stop", "string", ["a", "b"], shape=(-1,)),
    ParamSpec("moment", "datetime", "2024-01-02T03:04:05"),
    ParamSpec("limit", "long", None),
)
DEFAULTS: dict[str, Any] = {
    "scale": 1.0,
    "count": 3,
    "big": 2**40,
    "ratio": 0.5,
    "strict": False,
    "note": "none",
    "stop": ["a", "b"],
    "moment": "2024-01-02T03:04:05",
    "limit": None,
}


def build_told(directory: Path) -> Bundle:
    return _build(directory, TOLD, ["x"], PARAMS)


def build_scaled(directory: Path) -> Bundle:
    return _build(directory, SCALED, ["x", "y"], PARAMS[:1])


def _build(directory: Path, source: str, columns: list[str], params: tuple[ParamSpec, ...]) -> Bundle:
    directory.mkdir(parents=True)
    code = directory.parent / f"{directory.name}.py"
    code.write_text(source)
    mlflow.pyfunc.save_model(
        directory / "model",
        python_model=str(code),
        signature=ModelSignature(
            inputs=Schema([ColSpec("double", name) for name in columns]), params=ParamSchema(list(params))
        ),
        pip_requirements=["mlflow", "pandas"],
    )
    signature = Signature(
        inputs=tuple(Column(name=name, type="double") for name in columns),
        params=tuple(map(_param, params)),
    )
    (directory / "requirements.txt").write_text("mlflow\npandas\n")
    return seal(directory, runtime="pyfunc", signature=signature, task="other")


def _param(spec: ParamSpec) -> Param:
    told = spec.to_dict()
    default = tuple(told["default"]) if isinstance(told["default"], list) else told["default"]
    return Param(name=spec.name, type=told["type"], default=default, shape=spec.shape)

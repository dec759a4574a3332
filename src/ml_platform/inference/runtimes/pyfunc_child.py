"""The program of an isolated model: loads an MLflow model and answers batches over its standard pipes.

It runs in the model's own environment and so imports nothing of ours, only what every MLflow model needs.
Messages are JSON, each after its length in four bytes (big-endian). The first one in is the set-up, the
first one out says that the model is loaded; then each batch gets one answer. The end of the input is the
end of the program.
"""

import ctypes
import json
import math
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "object",
    "datetime": "datetime64[ns]",
}


def main() -> int:
    answer: dict[str, Any]
    requests, answers = _take_pipes()
    setup = _read(requests)
    _restrict(setup["memory_bytes"], setup["parent"])
    try:
        predict = _load(setup)
    except BaseException as error:  # a model's code may raise anything, and SystemExit too
        _write(answers, {"error": _describe(error)})
        return 1
    _write(answers, {"ready": True})
    while True:
        request = _read(requests)
        if request is None:
            return 0
        try:
            answer = {"predictions": predict(request["rows"])}
        except Exception as error:
            answer = {"error": _describe(error)}
        _write(answers, answer)


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Keeps the pipes for us: what the model prints goes to stderr, what it reads is empty."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _restrict(memory_bytes: int, parent: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it died before we could ask to be told


def _load(setup: dict[str, Any]) -> Callable[[list[list[Any]]], list[Any]]:
    import mlflow.pyfunc
    import numpy as np
    import pandas as pd

    model = mlflow.pyfunc.load_model(setup["model"])
    columns, types, tensor = setup["columns"], setup["types"], setup["tensor"]
    function = _function(model, setup["probability"])

    def predict(rows: list[list[Any]]) -> list[Any]:
        if tensor:
            data = np.array(rows, dtype=_DTYPES[types[0]])
        else:
            data = pd.DataFrame(
                {
                    name: _column(pd, np, [row[index] for row in rows], kind)
                    for index, (name, kind) in enumerate(zip(columns, types, strict=True))
                }
            )
        return _plain(function(data), setup["probability"])

    return predict


def _function(model: Any, probability: bool) -> Callable[[Any], Any]:
    if probability:
        try:
            found: Callable[[Any], Any] = model.get_raw_model().predict_proba
        except (AttributeError, NotImplementedError, TypeError):
            found = model.predict  # then its own predict must give them
        return found
    plain: Callable[[Any], Any] = model.predict
    return plain


def _column(pandas: Any, numpy: Any, values: list[Any], kind: str) -> Any:
    """A plain array for numbers: of Series alone, pandas takes several times as long to make a frame.

    Objects keep the type that they are given in an Index; in an array pandas 3 would guess it.
    """
    if kind == "datetime":
        return pandas.to_datetime(pandas.Series(values), format="ISO8601")
    if kind == "string" or (None in values and kind in ("boolean", "integer", "long")):
        return pandas.Index(values, dtype="object")
    return numpy.array(values, dtype=_DTYPES[kind])


def _plain(result: Any, probability: bool) -> list[Any]:
    """The predictions as JSON values: one number or string for each row, or an object or list of them."""
    if hasattr(result, "to_dict") and hasattr(result, "columns"):
        if len(result.columns) == 1:
            result = result.iloc[:, 0]
        elif not probability:
            return [_value(row) for row in result.to_dict(orient="records")]
    if hasattr(result, "to_numpy"):
        result = result.to_numpy()
    if hasattr(result, "ndim") and result.ndim == 2:
        if probability and result.shape[1] == 2:
            result = result[:, 1]
        elif result.shape[1] == 1:
            result = result[:, 0]
    return [_value(item) for item in (result.tolist() if hasattr(result, "tolist") else list(result))]


def _value(value: Any) -> Any:
    if hasattr(value, "item") and not isinstance(value, (list, dict)):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_value(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error!s}"[:2000]


def _read(stream: IO[bytes]) -> Any:
    head = stream.read(4)
    if len(head) < 4:
        return None
    return json.loads(stream.read(struct.unpack(">I", head)[0]))


def _write(stream: IO[bytes], message: dict[str, Any]) -> None:
    data = json.dumps(message, allow_nan=False).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()


if __name__ == "__main__":
    code = 1
    try:
        code = main()
    except BaseException:  # a model that calls sys.exit, too: its callers are waiting
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)  # at once, whatever threads and exit handlers the model left behind

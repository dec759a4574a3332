"""The program of an isolated model: loads an MLflow model and answers batches over its standard pipes.

It runs in the model's own environment and so imports nothing of ours, only what every MLflow model needs.
Messages are JSON, each after its length in four bytes (big-endian). The first one in is the set-up, the
first one out says that the model is loaded; then each batch gets one answer, which repeats its number. The
end of the input is the end of the program. Its pipes are the descriptors that it is started with.
"""

import contextlib
import gc
import json
import math
import os
import resource
import struct
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any

_OUT_OF_MEMORY = 121
_MOST_NESTED = 32
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
    requests, answers = os.fdopen(int(sys.argv[1]), "rb"), os.fdopen(int(sys.argv[2]), "wb")
    for pipe in (requests, answers):
        os.set_inheritable(pipe.fileno(), False)
    setup = _read(requests)
    if setup is None:
        return 0
    own = os.getpid()
    if setup["data_bytes"] and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (setup["data_bytes"], setup["data_bytes"]))
    try:
        predict = _load(setup)
    except BaseException as error:  # a model's code may raise anything, and SystemExit too
        _write(answers, json.dumps({"error": _describe(error)}).encode())
        return 1
    _end_if_forked(own)
    gc.collect()
    gc.freeze()  # what is loaded stays: no collection has to look at it again
    _write(answers, b'{"ready":true}')
    while (request := _read(requests)) is not None:
        data, exhausted = _answer(predict, request, setup["answer_bytes"])
        _end_if_forked(own)
        _write(answers, data)
        if exhausted:
            return _OUT_OF_MEMORY
    return 0


def _end_if_forked(own: int) -> None:
    """A copy of this process that a model's fork let come back would answer a second time."""
    if os.getpid() != own:
        os._exit(0)


Predict = Callable[[list[list[Any]], dict[str, Any]], list[Any]]


def _answer(predict: Predict, request: dict[str, Any], most: int) -> tuple[bytes, bool]:
    """The answer as it is sent, and whether the memory is exhausted."""
    exhausted = False
    try:
        answer = {"number": request["number"], "predictions": predict(request["rows"], request)}
        data = json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()
        if len(data) <= most:
            return data, False
        error = f"ValueError: an answer of {len(data)} bytes, more than {most}"
    except _NoScoresError as raised:
        return json.dumps({"number": request["number"], "unsupported": str(raised)}).encode(), False
    except MemoryError:
        error, exhausted = "MemoryError: it ran out of memory", True
    except Exception as raised:
        error = _describe(raised)
    return json.dumps({"number": request["number"], "error": error}).encode(), exhausted


def _load(setup: dict[str, Any]) -> Predict:
    import mlflow.pyfunc
    import numpy as np
    import pandas as pd

    model = mlflow.pyfunc.load_model(setup["model"])
    columns, types, tensor = setup["columns"], setup["types"], setup["tensor"]
    function, objects = _function(model, setup["probability"]), _objects(pd, np)

    def predict(rows: list[list[Any]], manner: dict[str, Any]) -> list[Any]:
        if tensor:
            data = np.array(rows, dtype=_DTYPES[types[0]])
        else:
            data = pd.DataFrame(
                {
                    name: _column(pd, np, [row[index] for row in rows], kind, objects)
                    for index, (name, kind) in enumerate(zip(columns, types, strict=True))
                }
            )
        if manner["scores"]:
            return _plain(_scores(model, manner)(data), False)
        if manner["params"] is not None:
            return _plain(model.predict(data, params=json.loads(manner["params"])), False)
        return _plain(function(data), setup["probability"])

    return predict


class _NoScoresError(Exception):
    """The model does not say how sure it is of each class."""


def _scores(model: Any, manner: dict[str, Any]) -> Callable[[Any], Any]:
    """What gives the score of each class as an array, for a model that itself answers with labels."""
    if manner["params"] is not None:
        raise _NoScoresError("it answers with labels, and its params are for `predict` alone")
    found = None
    for unwrap in ("get_raw_model", "unwrap_python_model"):  # of a flavour's model, and of one's own making
        with contextlib.suppress(Exception):
            found = found or getattr(getattr(model, unwrap)(), "predict_proba", None)
    if found is None:
        raise _NoScoresError(
            "it answers with labels and has no `predict_proba`; only numbers are explained: have it answer with a "
            "number, or with the score of each class as a list or an object"
        )
    give: Callable[[Any], Any] = found

    def scores(data: Any) -> Any:
        told = give(data)
        return told.to_numpy() if hasattr(told, "to_numpy") else told

    return scores


def _function(model: Any, probability: bool) -> Callable[[Any], Any]:
    if probability:
        try:
            found: Callable[[Any], Any] = model.get_raw_model().predict_proba
        except (AttributeError, NotImplementedError, TypeError):
            found = model.predict  # then its own predict must give them
        return found
    plain: Callable[[Any], Any] = model.predict
    return plain


def _objects(pandas: Any, numpy: Any) -> Callable[[list[Any]], Any]:
    """Makes a column of objects that keep their types in a frame.

    An array where pandas leaves it as it is, which is fastest; pandas 3 would make its own type of text of it, but
    not of an Index.
    """

    def array(values: list[Any]) -> Any:
        made = numpy.empty(len(values), dtype="object")
        made[:] = values
        return made

    if pandas.DataFrame({"text": array(["a", None])}).dtypes["text"] == "object":
        return array
    return lambda values: pandas.Index(values, dtype="object")


def _column(
    pandas: Any, numpy: Any, values: list[Any], kind: str, objects: Callable[[list[Any]], Any]
) -> Any:
    """An array rather than a Series, of which pandas takes several times as long to make a frame."""
    if kind == "datetime":
        return pandas.to_datetime(pandas.Series(values), format="ISO8601")
    if kind == "string" or (None in values and kind in ("boolean", "integer", "long")):
        return objects(values)
    return numpy.array(values, dtype=_DTYPES[kind])


def _plain(result: Any, probability: bool) -> list[Any]:
    """The predictions as JSON values: one number or string for each row, or an object or list of them."""
    if result is None or isinstance(result, (str, bytes, Mapping, set, frozenset)):
        raise TypeError(f"one prediction for each instance expected, not a {type(result).__name__}")
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


def _value(value: Any, depth: int = 0) -> Any:
    if hasattr(value, "item") and not isinstance(value, (list, dict)):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError("a prediction is a whole number of more than 64 bits")
        return value
    if isinstance(value, (dict, list, tuple)):
        if depth >= _MOST_NESTED:
            raise ValueError(f"a prediction is nested deeper than {_MOST_NESTED} levels")
        if isinstance(value, dict):
            return {str(key): _value(item, depth + 1) for key, item in value.items()}
        return [_value(item, depth + 1) for item in value]
    return value if value is None or isinstance(value, str) else str(value)


def _describe(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error!s}"
    except Exception:
        text = type(error).__name__
    return text[:2000].encode(errors="replace").decode()


def _read(stream: IO[bytes]) -> Any:
    head = stream.read(4)
    if len(head) < 4:
        return None
    return json.loads(stream.read(struct.unpack(">I", head)[0]))


def _write(stream: IO[bytes], data: bytes) -> None:
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

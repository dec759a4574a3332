"""The program that touches a model: converts it, or asks it for predictions.

It runs in the model's own environment, where nothing of the platform is installed, so it imports nothing of
ours. One request file in, one answer file out; what the model prints goes to the log.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ML_DOMAIN = "ai.onnx.ml"
OPSET = {"": 17, ML_DOMAIN: 3}
"""Old enough for every ONNX Runtime that serves, new enough for the converters."""

RELATIVE_TOLERANCE = 1e-5
"""For large regression values, which single precision cannot hold to an absolute 1e-4."""

_DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "datetime": "datetime64[ns]",
}
_MISSING: dict[str, list[Any]] = {
    "string": ["", "nan", "None"],
    "boolean": [False],
    "integer": [0, -1],
    "long": [0, -1],
    "float": [None],
    "double": [None],
}
"""What may stand for a null in a graph, in the order in which it is tried; None is NaN."""


class Unconvertible(Exception):  # noqa: N818 - it is an answer, not a failure
    """The model stays as it is; the text says why."""


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Writes the graph and says how it maps and how far it is from the original."""
    table = Table(request)
    model = load_native(request["model"], request["flavour"])
    classes = getattr(model, "classes_", None) if hasattr(model, "predict") else None
    subject = Subject(model, table, classes)
    reasons = []
    for integers, numbers in (("int64", "float"), ("float", "float"), ("int64", "double")):
        try:
            return subject.convert(integers, numbers, request)
        except Unconvertible as error:
            reasons.append(str(error))
        except Exception as error:
            reasons.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}")
    raise Unconvertible(reasons[0])


def predict(request: dict[str, Any]) -> dict[str, Any]:
    """Asks the model for its predictions and, where it has them, its probabilities."""
    import mlflow.pyfunc

    table = Table(request)
    model = mlflow.pyfunc.load_model(request["model"])
    answers = {"prediction": _plain(model.predict(table.frame()))}
    classes = None
    if request["probabilities"]:
        try:
            raw = model.get_raw_model()
            answers["probabilities"] = np.asarray(raw.predict_proba(table.frame()), dtype=np.float64)
            answers["prediction"] = _plain(raw.predict(table.frame()))
            classes = _scalars(raw.classes_)
        except (AttributeError, NotImplementedError, TypeError):
            answers.pop("probabilities", None)
    np.savez(request["answers"], **answers)
    return {"rows": len(answers["prediction"]), "classes": classes}


class Table:
    """The rows of the request: arrays without pickles, as the platform wrote them."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.columns: list[dict[str, Any]] = request["columns"]
        self.names = [column["name"] for column in self.columns]
        self.matrix = request["layout"] == "tensor"
        with np.load(request["rows"], allow_pickle=False) as arrays:
            self.cells = [arrays[f"v{i}"] for i in range(len(self.columns))]
            self.nulls = [arrays[f"n{i}"] for i in range(len(self.columns))]
        self.rows = len(self.cells[0])

    def frame(self, values: list[Any] | None = None, nulls: list[Any] | None = None) -> Any:
        """What the original model sees, with MLflow's own types."""
        import pandas as pd

        values = self.cells if values is None else values
        nulls = self.nulls if nulls is None else nulls
        if self.matrix:
            return np.stack(values, axis=1).astype(_DTYPES[self.columns[0]["type"]])
        series = [
            _series(pd, column["type"], v, n)
            for column, v, n in zip(self.columns, values, nulls, strict=True)
        ]
        return pd.DataFrame(dict(zip(self.names, series, strict=True)))

    def shuffled(self) -> tuple[list[Any], list[Any]]:
        """Each column in an order of its own: combinations that the sample does not hold."""
        random = np.random.default_rng(0)
        orders = [random.permutation(self.rows) for _ in self.columns]
        return (
            [v[o] for v, o in zip(self.cells, orders, strict=True)],
            [n[o] for n, o in zip(self.nulls, orders, strict=True)],
        )


class Subject:
    """A fitted model that is to be converted and compared with its graph."""

    def __init__(self, model: Any, table: Table, classes: Any) -> None:
        self.model = model
        self.table = table
        self.classes = classes
        self.native = not hasattr(model, "get_params")
        if self.native:
            raise Unconvertible(f"{type(model).__name__} has no scikit-learn interface")
        self.probability = classes is not None and hasattr(model, "predict_proba")
        # Trees without a pipeline before them read one matrix, which is also the fastest graph.
        numeric = all(column["type"] in ("float", "double", "integer", "long") for column in table.columns)
        self.as_matrix = table.matrix or (numeric and type(model).__name__ != "Pipeline")

    def convert(self, integers: str, numbers: str, request: dict[str, Any]) -> dict[str, Any]:
        import onnxruntime

        graph = self._convert(integers, numbers)
        data = graph.SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the order of sums, and so the parity, is the same every time
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
        if self.probability and len(outputs) < 2:
            raise Unconvertible("the graph gives no probabilities")
        graph_answers = self._runner(session, outputs)
        parity = self._parity(graph_answers, request["tolerance"])
        warnings: list[str] = []
        columns = self._check_nulls(graph_answers, request["tolerance"], warnings)
        self._check_unseen(warnings)
        Path(request["onnx"]).write_bytes(data)
        return {
            "inputs": "matrix" if self.as_matrix else "columns",
            "prediction": outputs[0],
            "probabilities": outputs[1] if self.probability else None,
            "classes": _scalars(self.classes) if self.classes is not None else None,
            "task": self._task(),
            "columns": columns,
            "parity": parity,
            "warnings": warnings,
            "dtypes": f"{integers}, {numbers}",
        }

    def _task(self) -> str:
        from sklearn.base import is_regressor

        if self.classes is not None:
            return "classification"
        return "regression" if is_regressor(self.model) else "other"

    def _convert(self, integers: str, numbers: str) -> Any:
        from skl2onnx import convert_sklearn
        from skl2onnx.common import data_types as types

        kinds = {
            "int64": types.Int64TensorType,
            "float": types.FloatTensorType,
            "double": types.DoubleTensorType,
        }
        by_type = {
            "string": types.StringTensorType,
            "boolean": types.BooleanTensorType,
            "integer": kinds[integers],
            "long": kinds[integers],
            "float": types.FloatTensorType,
            "double": kinds[numbers],
        }
        _register_boosters()
        if self.as_matrix:
            wanted = [("input", kinds[numbers]([None, len(self.table.columns)]))]
        else:
            odd = [c["name"] for c in self.table.columns if c["type"] not in by_type]
            if odd:
                raise Unconvertible(f"column {odd[0]!r} is of a type that graphs cannot hold")
            wanted = [(c["name"], by_type[c["type"]]([None, 1])) for c in self.table.columns]
        options = {id(self.model): {"zipmap": False}} if self.probability else None
        graph = convert_sklearn(
            self.model, name="model", initial_types=wanted, options=options, target_opset=OPSET
        )
        return _with_all_inputs(graph, wanted)

    def _runner(self, session: Any, outputs: list[str]) -> Callable[[list[Any], list[Any]], list[Any]]:
        dtypes = {
            "tensor(float)": np.float32,
            "tensor(double)": np.float64,
            "tensor(int64)": np.int64,
            "tensor(bool)": np.bool_,
            "tensor(string)": np.object_,
        }
        inputs = [(node.name, dtypes[node.type]) for node in session.get_inputs()]
        wanted = outputs[: 2 if self.probability else 1]

        def run(values: list[Any], _: list[Any]) -> list[Any]:
            if self.as_matrix:
                feed: dict[str, Any] = {inputs[0][0]: np.stack(values, axis=1).astype(inputs[0][1])}
            else:
                by_name = dict(zip(self.table.names, values, strict=True))
                feed = {name: by_name[name].astype(dtype).reshape(-1, 1) for name, dtype in inputs}
            return list(session.run(wanted, feed))

        return run

    def _parity(self, run: Callable[..., list[Any]], tolerance: float) -> dict[str, Any]:
        """On the rows as they are, and with each column shuffled; nulls have a check of their own."""
        whole = ~np.any(np.stack(self.table.nulls), axis=0)
        if not whole.any():
            raise Unconvertible("no row of the sample is complete, so parity cannot be shown")
        plain = [v[whole] for v in self.table.cells], [n[whole] for n in self.table.nulls]
        mixed_values, mixed_nulls = self.table.shuffled()
        whole = ~np.any(np.stack(mixed_nulls), axis=0)
        mixed = [v[whole] for v in mixed_values], [n[whole] for n in mixed_nulls]
        worst, labels, rows, allowed = 0.0, 0, 0, tolerance
        for values, nulls in (plain, mixed):
            if not len(values[0]):
                continue
            difference, mismatches, excess, bound = self._compare(run, values, nulls, values, tolerance)
            allowed = max(allowed, bound)
            worst, labels, rows = max(worst, difference), labels + mismatches, rows + len(values[0])
            if excess:
                raise Unconvertible(
                    f"the graph differs from the model by up to {worst:.3g} on {rows} rows "
                    f"(allowed: {bound:g})"
                )
        return {"rows": rows, "max_abs_difference": worst, "tolerance": allowed, "label_mismatches": labels}

    def _compare(
        self,
        run: Callable[..., list[Any]],
        values: list[Any],
        nulls: list[Any],
        fed: list[Any],
        tolerance: float,
    ) -> tuple[float, int, bool, float]:
        """The largest difference, the labels that differ, whether that is too much, and what was allowed."""
        frame = self.table.frame(values, nulls)
        answers = run(fed, nulls)
        if not self.probability:
            original = np.asarray(self.model.predict(frame))
            if self.classes is not None:
                wrong = int(np.sum(original.astype(str) != np.asarray(answers[0]).reshape(-1).astype(str)))
                return float(wrong > 0), wrong, wrong > 0, tolerance
            difference, excess, bound = _distance(original, answers[0], tolerance)
            return difference, 0, excess, bound
        original = np.asarray(self.model.predict_proba(frame))
        if original.shape != np.asarray(answers[1]).shape:
            raise Unconvertible("the graph's probabilities have another shape than the model's")
        labels = np.asarray(self.model.predict(frame)).astype(str)
        wrong = int(np.sum(labels != np.asarray(answers[0]).reshape(-1).astype(str)))
        difference = _distance(original, answers[1], tolerance)[0]
        # A label may turn when the probability stands on the border; a difference within the tolerance.
        return difference, wrong, difference > tolerance, tolerance

    def _check_nulls(
        self, run: Callable[..., list[Any]], tolerance: float, warnings: list[str]
    ) -> list[dict[str, Any]]:
        """For each column that may be null: the value that stands for it with the same answers."""
        columns = []
        for index, column in enumerate(self.table.columns):
            settled = dict(column)
            if not column["required"]:
                settled |= self._settle_null(index, column, run, tolerance, warnings)
            columns.append(settled)
        return columns

    def _settle_null(
        self,
        index: int,
        column: dict[str, Any],
        run: Callable[..., list[Any]],
        tolerance: float,
        warnings: list[str],
    ) -> dict[str, Any]:
        count = min(self.table.rows, 200)
        values = [v[:count] for v in self.table.cells]
        nulls = [np.zeros(count, dtype=bool) for _ in values]
        nulls[index] = np.ones(count, dtype=bool)
        try:
            self.model.predict(self.table.frame(values, nulls))
        except Exception:
            warnings.append(
                f"column {column['name']!r} may be null by the signature, but the model refuses it"
            )
            return {"required": True}
        for candidate in _MISSING.get(column["type"], []):
            fed = list(values)
            if candidate is None:
                fed[index] = np.full(count, np.nan)
            else:
                fed[index] = np.full(count, candidate, dtype=object if column["type"] == "string" else None)
            try:
                if not self._compare(run, values, nulls, fed, tolerance)[2]:
                    return {"missing": candidate}
            except Exception:  # noqa: S112 - this value does not do; the next one may
                continue
        raise Unconvertible(
            f"column {column['name']!r} may be null, which the graph cannot answer as the model does"
        )

    def _check_unseen(self, warnings: list[str]) -> None:
        """Whether the model refuses categories that it never saw: a graph answers them silently."""
        for index, column in enumerate(self.table.columns):
            if column["type"] != "string":
                continue
            values = [v[:1] for v in self.table.cells]
            values[index] = np.array(["\u2400 never seen"], dtype=object)
            try:
                self.model.predict(self.table.frame(values, [n[:1] for n in self.table.nulls]))
            except Exception:
                warnings.append(
                    f"column {column['name']!r}: the model refuses unknown values, its graph does not"
                )


def load_native(model: str, flavour: str) -> Any:
    import importlib

    return importlib.import_module(f"mlflow.{flavour}").load_model(model)


def _register_boosters() -> None:
    """LightGBM and XGBoost inside scikit-learn pipelines, as onnxmltools converts them."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    classifier = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    if "lightgbm" in sys.modules:
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        update_registered_converter(
            LGBMClassifier, "LightGbmLGBMClassifier", shapes.calculate_linear_classifier_output_shapes,
            convert_lightgbm, options=classifier,
        )  # fmt: skip
        update_registered_converter(
            LGBMRegressor, "LightGbmLGBMRegressor", shapes.calculate_linear_regressor_output_shapes,
            convert_lightgbm, options={"split": None},
        )  # fmt: skip
    if "xgboost" in sys.modules:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        xgboost = sys.modules["xgboost"]
        update_registered_converter(
            xgboost.XGBClassifier, "XGBoostXGBClassifier", shapes.calculate_linear_classifier_output_shapes,
            convert_xgboost, options=classifier,
        )  # fmt: skip
        update_registered_converter(
            xgboost.XGBRegressor,
            "XGBoostXGBRegressor",
            shapes.calculate_linear_regressor_output_shapes,
            convert_xgboost,
        )


def _with_all_inputs(graph: Any, wanted: list[tuple[str, Any]]) -> Any:
    """Columns that the model drops are inputs all the same: the signature names them."""
    from onnx import helper

    there = {node.name for node in graph.graph.input}
    for name, kind in wanted:
        if name not in there:
            element = kind.to_onnx_type().tensor_type.elem_type
            graph.graph.input.append(helper.make_tensor_value_info(name, element, [None, 1]))
    return graph


def _distance(original: Any, answer: Any, tolerance: float) -> tuple[float, bool, float]:
    """The largest absolute difference, whether one is beyond what its size allows, and the largest allowance."""
    a = np.asarray(original, dtype=np.float64).reshape(len(original), -1)
    b = np.asarray(answer, dtype=np.float64).reshape(len(original), -1)
    both = np.isnan(a) & np.isnan(b)
    difference = np.where(both, 0.0, np.abs(a - b))
    difference = np.nan_to_num(difference, nan=1e300, posinf=1e300)
    allowed = tolerance + RELATIVE_TOLERANCE * np.nan_to_num(np.abs(a), posinf=0.0)
    return (
        float(difference.max(initial=0.0)),
        bool((difference > allowed).any()),
        float(allowed.max(initial=tolerance)),
    )


def _series(pd: Any, kind: str, values: Any, nulls: Any) -> Any:
    if kind == "string":
        return pd.Series(np.where(nulls, None, values.astype(object)), dtype="object")
    if not nulls.any():
        return pd.Series(values.astype(_DTYPES[kind]))
    if kind in ("float", "double", "datetime"):
        return pd.Series(values.astype(_DTYPES[kind])).mask(nulls)
    if kind == "boolean":
        return pd.Series(np.where(nulls, None, values.astype(object)), dtype="object")
    return pd.Series(np.where(nulls, np.nan, values.astype(np.float64)))


def _plain(answer: Any) -> Any:
    """One array without objects, whatever the model gave."""
    if hasattr(answer, "to_numpy"):
        answer = answer.to_numpy()
    array = np.asarray(answer)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "biuf":
        return array
    return array.astype(str)


def _scalars(values: Any) -> list[Any]:
    return [value.item() if hasattr(value, "item") else value for value in values]


def main(path: str) -> int:
    request = json.loads(Path(path).read_text())
    try:
        answer: dict[str, Any] = {
            "ok": True,
            **{"convert": convert, "predict": predict}[request["op"]](request),
        }
    except Unconvertible as error:
        answer = {"ok": False, "reason": str(error)}
    except Exception as error:
        answer = {"ok": False, "failed": True, "reason": f"{type(error).__name__}: {str(error)[:1000]}"}
    Path(request["answer"]).write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

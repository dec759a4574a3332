"""The program that reads tables, runs graphs and computes metrics, in a child of ours under limits.

Parquet files and graphs come from outside: what they do to a parser must not happen to the control plane.
One request file in, one answer file out.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ml_platform.contracts.bundles import (
    FOLDED_FILE,
    MANIFEST_NAME,
    ONNX_FILE,
    BundleManifest,
    FoldedGraph,
    decode_manifest,
)

MAX_CELLS = 200_000_000
MOST_SLICES = 12
MOST_SLICED_COLUMNS = 30
LONGEST_VALUE = 100


class Unsuitable(Exception):  # noqa: N818 - it is an answer, not a failure
    """The data do not fit the model; the text says where."""


def rows(request: dict[str, Any]) -> dict[str, Any]:
    """Writes the model's columns from a Parquet file or an input example as plain arrays."""
    columns = request["columns"]
    if request["source"].endswith(".json"):
        values = _from_example(Path(request["source"]), columns, request["layout"], request["limit"])
    else:
        values = _from_parquet(Path(request["source"]), [c["name"] for c in columns], request["limit"])
    arrays: dict[str, Any] = {}
    for index, (column, cells) in enumerate(zip(columns, values, strict=True)):
        arrays[f"v{index}"], arrays[f"n{index}"] = _as_arrays(column, cells)
    np.savez(request["rows"], **arrays)
    count = len(arrays["v0"])
    if count == 0:
        raise Unsuitable("the data hold no rows")
    return {"rows": count}


def background(request: dict[str, Any]) -> dict[str, Any]:
    """Writes some of the rows as JSON, spread over all that the model takes, for explanations."""
    nullable = request["nullable"]
    with np.load(request["rows"], allow_pickle=False) as arrays:
        values = [arrays[f"v{i}"] for i in range(len(nullable))]
        gaps = [_gaps(arrays[f"n{i}"], values[i]) for i in range(len(nullable))]
    refused = [gap for gap, may_be_null in zip(gaps, nullable, strict=True) if not may_be_null]
    whole = np.flatnonzero(~np.any(np.stack(refused), axis=0)) if refused else np.arange(len(values[0]))
    count = min(len(whole), request["limit"])
    chosen = whole[np.linspace(0, len(whole) - 1, count).astype(np.int64)] if count else whole
    cells = [_as_json(v[chosen], gap[chosen]) for v, gap in zip(values, gaps, strict=True)]
    found = list(zip(*cells, strict=True))
    Path(request["background"]).write_text(json.dumps({"rows": found}, allow_nan=False))
    return {"rows": len(found)}


def _gaps(nulls: Any, values: Any) -> Any:
    """Where there is no value, or none that JSON can hold."""
    return nulls | ~np.isfinite(values) if values.dtype.kind == "f" else nulls


def _as_json(values: Any, gaps: Any) -> list[Any]:
    plain = np.datetime_as_string(values, unit="us") if values.dtype.kind == "M" else values
    return [None if gap else value for value, gap in zip(plain.tolist(), gaps.tolist(), strict=True)]


def graph(request: dict[str, Any]) -> dict[str, Any]:
    """Loads a bundle's graph as the inference plane does, and asks it."""
    import onnxruntime

    bundle = Path(request["bundle"])
    manifest = decode_manifest((bundle / MANIFEST_NAME).read_bytes())
    if manifest.onnx is None:
        raise Unsuitable("the bundle holds no graph")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(bundle / ONNX_FILE), options, providers=["CPUExecutionProvider"]
    )
    wanted = [name for name in (manifest.onnx.prediction, manifest.onnx.probabilities) if name]
    with np.load(request["rows"], allow_pickle=False) as arrays:
        feed = _feed(session, manifest, arrays)
    results = session.run(wanted, feed)
    answers = {"prediction": _plain(results[0])}
    if manifest.onnx.probabilities:
        answers["probabilities"] = np.asarray(results[1], dtype=np.float64)
    np.savez(request["answers"], **answers)
    return {"rows": len(answers["prediction"]), "classes": manifest.classes}


def folded(request: dict[str, Any]) -> dict[str, Any]:
    """Writes the folded graph beside the bundle's own, if there is one and it answers every row the same.

    Rows are encoded by the very code that serves.
    """
    import msgspec
    import onnx
    import onnxruntime

    from ml_platform.inference.runtimes.feeding import FoldedFeeder
    from ml_platform.integrations.modelbuild.workers.folding import fold

    bundle = Path(request["bundle"])
    manifest = decode_manifest((bundle / MANIFEST_NAME).read_bytes())
    if manifest.onnx is None or manifest.onnx.inputs != "columns":
        raise Unsuitable("its columns are a matrix already")
    names = [column.name for column in manifest.signature.inputs]
    found = fold(onnx.load(bundle / ONNX_FILE), names)
    if found is None:
        raise Unsuitable("its columns are not merely encoded")
    model, filling = found
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    wanted = [name for name in (manifest.onnx.prediction, manifest.onnx.probabilities) if name]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        for source in (str(bundle / ONNX_FILE), data)
    ]
    with np.load(request["rows"], allow_pickle=False) as arrays:
        feed = _feed(sessions[0], manifest, arrays)
    cells = list(zip(*(feed[name][:, 0].tolist() for name in names), strict=True))
    encoder = FoldedFeeder(msgspec.convert({"file": FOLDED_FILE, **filling}, FoldedGraph))
    expected, answers = sessions[0].run(wanted, feed), sessions[1].run(wanted, encoder.many(cells))
    if not all(_same(a, b) for a, b in zip(expected, answers, strict=True)):
        raise Unsuitable("folded it does not give the same answers")
    (bundle / FOLDED_FILE).write_bytes(data)
    return filling


def _same(expected: Any, answer: Any) -> bool:
    if expected.shape != answer.shape or expected.dtype != answer.dtype:
        return False
    return bool(np.array_equal(expected, answer, equal_nan=expected.dtype.kind == "f"))


def score(request: dict[str, Any]) -> dict[str, Any]:
    """The usual metrics of the answers against the label."""
    with np.load(request["answers"], allow_pickle=False) as arrays:
        prediction = arrays["prediction"]
        probabilities = arrays.get("probabilities")
    (cells,) = _from_parquet(Path(request["source"]), [request["label"]], None)
    label = _label(cells, request["label"])
    if len(label) != len(prediction):
        raise Unsuitable(f"the model gave {len(prediction)} predictions for {len(label)} rows")
    distinct = sorted(set(label.tolist()), key=str)
    classes = request["classes"]
    if prediction.ndim > 1:
        classes, probabilities = _shares_by_place(label, prediction)
        prediction = prediction.argmax(axis=1)
    numeric_answers = prediction.dtype.kind == "f" and label.dtype.kind in "biuf"
    if classes is None and (request["task"] == "regression" or (numeric_answers and len(distinct) > 2)):
        metrics = _finite(_regression(label, prediction))
        errors = (label.astype(np.float64) - prediction.astype(np.float64)) ** 2
        found = _slices(request, lambda rows: {"rmse": float(np.sqrt(errors[rows].mean()))})
        return {"task": "regression", "metrics": metrics, "positive": None, "slices": found}
    metrics, positive, truth, answers = _classification(label, prediction, probabilities, classes, distinct)
    measure = _of_classes(truth, answers, None if positive is None else _name(positive))
    found = _slices(request, measure)
    return {
        "task": "classification",
        "metrics": _finite(metrics),
        "positive": positive,
        "slices": found,
    }


def _slices(request: dict[str, Any], measure: Callable[[Any], dict[str, float]]) -> dict[str, Any]:
    """What was measured over the rows of each value of each column of few values, the label's aside."""
    import pyarrow.parquet as pq

    path = Path(request["source"])
    schema = pq.ParquetFile(path).schema_arrow
    found: dict[str, Any] = {}
    for field in schema:
        if field.name == request["label"] or not _sliceable(field.type) or len(found) >= MOST_SLICED_COLUMNS:
            continue
        groups = _groups(_from_parquet(path, [field.name], None)[0])
        if groups:
            found[field.name] = {
                value: {"rows": int(rows.sum()), **measure(rows)} for value, rows in groups.items()
            }
    return found


def _sliceable(kind: Any) -> bool:
    """Whether a column of this type can have few values, so that others are not read at all."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return any(
        fits(kind) for fits in (types.is_string, types.is_large_string, types.is_boolean, types.is_integer)
    )


def _groups(cells: Any) -> dict[str, Any]:
    """The rows of each value, as masks; empty for a column of one value, of many, or of long texts."""
    import pyarrow as pa

    coded = cells if isinstance(cells.type, pa.DictionaryType) else cells.dictionary_encode()
    values = coded.dictionary.to_pylist()
    if not 2 <= len(values) + (coded.null_count > 0) <= MOST_SLICES:
        return {}
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    named = {_name(value): codes == code for code, value in enumerate(values)}
    if any(len(name) > LONGEST_VALUE for name in named):
        return {}
    if coded.null_count:
        named["(missing)"] = codes == -1
    return {name: rows for name, rows in named.items() if rows.any()}


def _of_classes(truth: Any, answers: Any, positive: str | None) -> Callable[[Any], dict[str, float]]:
    """Accuracy; of two classes also how often the positive one is given, and given rightly and wrongly."""

    def measure(rows: Any) -> dict[str, float]:
        found = {"accuracy": float((truth[rows] == answers[rows]).mean())}
        if positive is None:
            return found
        given, real = answers[rows] == positive, truth[rows] == positive
        found["positive_rate"] = float(given.mean())
        if real.any():
            found["true_positive_rate"] = float(given[real].mean())
        if (~real).any():
            found["false_positive_rate"] = float(given[~real].mean())
        return found

    return measure


def _shares_by_place(label: Any, answers: Any) -> tuple[list[int], Any]:
    """The classes of a model without any of its own, such as a booster, and their probabilities.

    Raises:
        Unsuitable: the answers are no probabilities, or the label does not count their places.
    """
    width = answers.shape[1] if answers.ndim == 2 else 0
    sums_up = width > 1 and answers.min() >= 0 and np.allclose(answers.sum(axis=1), 1.0, atol=1e-3)
    if not sums_up or label.dtype.kind not in "biu" or label.min() < 0 or label.max() >= width:
        raise Unsuitable(
            f"the model gives {width} values for a row, which have no metrics unless they are the "
            f"probabilities of labels from 0 to {width - 1}"
        )
    return list(range(width)), answers.astype(np.float64)


def _regression(label: Any, prediction: Any) -> dict[str, Any]:
    from sklearn import metrics

    if label.dtype.kind not in "biuf" or prediction.dtype.kind not in "biuf":
        raise Unsuitable("the label or the predictions are no numbers")
    label, prediction = label.astype(np.float64), prediction.astype(np.float64)
    if not np.isfinite(prediction).all():
        raise Unsuitable("the model predicts values that are not finite")
    found = {
        "rmse": metrics.root_mean_squared_error(label, prediction),
        "mae": metrics.mean_absolute_error(label, prediction),
    }
    return found | ({"r2": metrics.r2_score(label, prediction)} if len(label) > 1 else {})


def _classification(
    label: Any, prediction: Any, probabilities: Any, classes: list[Any] | None, distinct: list[Any]
) -> tuple[dict[str, Any], Any, Any, Any]:
    """The metrics, the positive class, and truth and answers as text."""
    from sklearn import metrics

    known = list(classes) if classes else distinct
    if probabilities is None and prediction.dtype.kind == "f" and len(known) == 2 and _is_share(prediction):
        # A model of its own making that answers with the probability of the second class.
        probabilities = np.column_stack([1 - prediction, prediction])
        prediction = np.array([str(known[int(p >= 0.5)]) for p in prediction])
    truth, answers, names = _text(label), _text(prediction), [_name(c) for c in known]
    strange = sorted(set(truth.tolist()) - set(names))
    if classes and strange:
        raise Unsuitable(f"the label holds {strange[0]!r}, a class that the model does not know")
    found = {"accuracy": metrics.accuracy_score(truth, answers)}
    binary = len(names) == 2
    how = {"pos_label": names[1], "average": "binary"} if binary else {"average": "macro"}
    if binary and not set(answers.tolist()) <= set(names):
        how = {"average": "macro"}
    for name, function in (
        ("f1", metrics.f1_score),
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
    ):
        found[name] = function(truth, answers, zero_division=0.0, **how)
    if probabilities is not None and probabilities.shape == (len(truth), len(names)):
        where = {name: index for index, name in enumerate(names)}
        truth_index = np.array([where[t] for t in truth])
        held = np.clip(probabilities[np.arange(len(truth)), truth_index], 1e-15, 1.0)
        found["log_loss"] = float(-np.log(held).mean())
        if binary and len(set(truth_index.tolist())) == 2:
            found["roc_auc"] = metrics.roc_auc_score(truth_index, probabilities[:, 1])
    return found, known[1] if binary else None, truth, answers


def _finite(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if math.isfinite(float(value))}


def _is_share(values: Any) -> bool:
    return bool(len(values) and np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1)


def _name(value: Any) -> str:
    """One text for 1, 1.0 and True's own: labels come as numbers here and as text there."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _text(values: Any) -> Any:
    return np.array([_name(value) for value in values.tolist()])


def _from_parquet(path: Path, names: list[str], limit: int | None) -> list[Any]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    missing = [name for name in names if name not in file.schema_arrow.names]
    if missing:
        raise Unsuitable(f"the data have no column {missing[0]!r}")
    total = file.metadata.num_rows
    if total * len(names) > MAX_CELLS:
        raise Unsuitable(f"{total} rows of {len(names)} columns are more than {MAX_CELLS} cells")
    table = file.read(columns=names)
    if limit is not None and total > limit:
        # Spread over all of it: files are often sorted.
        table = table.take(np.linspace(0, total - 1, limit).astype(np.int64))
    return [table.column(name).combine_chunks() for name in names]


def _from_example(path: Path, columns: list[dict[str, Any]], layout: str, limit: int) -> list[Any]:
    import pyarrow as pa

    if path.stat().st_size > 64 * 1024**2:
        raise Unsuitable("the input example is larger than 64 MiB")
    example = json.loads(path.read_text())
    if layout == "tensor":
        table = example["inputs"] if isinstance(example, dict) and "inputs" in example else example
        table = table["data"] if isinstance(table, dict) else table
        return [pa.array([row[i] for row in table[:limit]]) for i in range(len(columns))]
    if not isinstance(example, dict) or "columns" not in example:
        raise Unsuitable("the input example is no table")
    place = {name: index for index, name in enumerate(example["columns"])}
    missing = [c["name"] for c in columns if c["name"] not in place]
    if missing:
        raise Unsuitable(f"the input example has no column {missing[0]!r}")
    return [pa.array([row[place[c["name"]]] for row in example["data"][:limit]]) for c in columns]


def _as_arrays(column: dict[str, Any], cells: Any) -> tuple[Any, Any]:
    """The values without objects, and where there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column["type"]
    target = {
        "string": pa.string(),
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "long": pa.int64(),
        "float": pa.float64(),
        "double": pa.float64(),
        "datetime": pa.timestamp("ns"),
    }[kind]
    if isinstance(cells.type, pa.DictionaryType):
        cells = cells.dictionary_decode()
    textual = pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)
    if (kind == "string") != textual and not pa.types.is_null(cells.type):
        raise Unsuitable(f"column {column['name']!r} is not of type {kind} but {cells.type}")
    try:
        cells = cells.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Unsuitable(f"column {column['name']!r} is not of type {kind}: {str(error)[:200]}") from error
    nulls = np.asarray(pc.is_null(cells))
    empty: Any = {"string": "", "boolean": False, "integer": 0, "long": 0, "datetime": None}.get(
        kind, math.nan
    )
    if kind == "string":
        longest = pc.max(pc.utf8_length(cells)).as_py() or 1
        if longest * len(cells) * 4 > 4 * 1024**3:
            raise Unsuitable(f"column {column['name']!r} holds texts of up to {longest} characters")
        return np.array(cells.fill_null("").to_pylist(), dtype=f"U{max(longest, 1)}"), nulls
    if kind == "datetime":
        return cells.to_numpy(zero_copy_only=False).astype("datetime64[ns]"), nulls
    return cells.fill_null(empty).to_numpy(zero_copy_only=False), nulls


def _label(cells: Any, name: str) -> Any:
    if cells.null_count:
        raise Unsuitable(f"the label {name!r} is null in {cells.null_count} rows")
    if len(cells) == 0:
        raise Unsuitable("the data hold no rows")
    values = cells.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Unsuitable(f"the label {name!r} is not finite everywhere")
    return values if values.dtype.kind in "biuf" else np.array([str(v) for v in values])


def _feed(session: Any, manifest: BundleManifest, arrays: Any) -> dict[str, Any]:
    dtypes = {
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(bool)": np.bool_,
        "tensor(string)": np.object_,
    }
    columns = {}
    for index, column in enumerate(manifest.signature.inputs):
        values, nulls = arrays[f"v{index}"], arrays[f"n{index}"]
        if nulls.any():
            fill = column.missing
            if fill is None and values.dtype.kind != "f":
                raise Unsuitable(f"column {column.name!r} holds nulls, which the graph does not take")
            fitting = values.astype(object) if values.dtype.kind == "U" else values
            values = np.where(nulls, math.nan if fill is None else fill, fitting)
        columns[column.name] = values
    inputs = session.get_inputs()
    assert manifest.onnx is not None
    if manifest.onnx.inputs == "matrix":
        (node,) = inputs
        return {node.name: np.stack(list(columns.values()), axis=1).astype(dtypes[node.type])}
    return {node.name: columns[node.name].astype(dtypes[node.type]).reshape(-1, 1) for node in inputs}


def _plain(answer: Any) -> Any:
    array = np.asarray(answer)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    return array if array.dtype.kind in "biuf" else array.astype(str)


OPERATIONS = {"rows": rows, "background": background, "graph": graph, "folded": folded, "score": score}


def answered(request: dict[str, Any]) -> dict[str, Any]:
    """What became of a request; of `each` what became of every one of its requests, in their order."""
    if request["op"] == "each":
        return {"ok": True, "answers": [answered(one) for one in request["requests"]]}
    try:
        return {"ok": True, **OPERATIONS[request["op"]](request)}
    except Unsuitable as error:
        return {"ok": False, "reason": str(error)}
    except Exception as error:
        return {"ok": False, "failed": True, "reason": f"{type(error).__name__}: {str(error)[:1000]}"}


def main(path: str) -> int:
    request = json.loads(Path(path).read_text())
    Path(request["answer"]).write_text(json.dumps(answered(request), allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

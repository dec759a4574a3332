"""The requests: `convert` writes a graph, `predict` asks the model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import boosters, estimators, networks
from .checks import Comparison
from .graphs import Graph, Session
from .originals import Original, Unconvertible, estimator, load_native, plain, scalars
from .table import Table


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Writes the graph and says how it maps and how far it is from the original."""
    table = Table(request)
    original, attempts = _ways(request, table)
    reasons = []
    for attempt in attempts:
        try:
            return _converted(attempt(), original, table, request)
        except Unconvertible as error:
            reasons.append(str(error))
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            reasons.append(f"{type(error).__name__}: {first[:300]}")
    raise Unconvertible(reasons[0])


def _ways(request: dict[str, Any], table: Table) -> tuple[Original, Any]:
    flavour = request["flavour"]
    if flavour == "pytorch":
        import mlflow.pyfunc

        loaded = mlflow.pyfunc.load_model(request["model"])
        original = Original(lambda frame: plain(loaded.predict(frame)), None, None, "other")
        return original, networks.graphs(loaded.get_raw_model(), original, table)
    model = load_native(request["model"], flavour)
    if type(model).__name__ == "Booster":
        original = boosters.original(model)
        return original, boosters.graphs(model, original, table)
    original = estimator(model)
    return original, estimators.graphs(model, original, table)


def _converted(graph: Graph, original: Original, table: Table, request: dict[str, Any]) -> dict[str, Any]:
    data = graph.model.SerializeToString(deterministic=True)
    comparison = Comparison(original, Session(graph, data, table), table, request["tolerance"])
    comparison.run()
    Path(request["onnx"]).write_bytes(data)
    return {
        "inputs": "matrix" if graph.as_matrix else "columns",
        "prediction": graph.prediction,
        "probabilities": graph.probabilities,
        "classes": scalars(original.classes) if original.classes is not None else None,
        "task": original.task,
        "columns": comparison.columns,
        "parity": comparison.parity,
        "warnings": comparison.warnings,
        "maker": graph.maker,
    }


def predict(request: dict[str, Any]) -> dict[str, Any]:
    """Asks the model for its predictions and, where it has them, its probabilities."""
    import mlflow.pyfunc

    table = Table(request)
    model = mlflow.pyfunc.load_model(request["model"])
    answers = {"prediction": plain(model.predict(table.frame()))}
    classes = None
    if request["probabilities"]:
        try:
            raw = model.get_raw_model()
            answers["probabilities"] = np.asarray(raw.predict_proba(table.frame()), dtype=np.float64)
            answers["prediction"] = plain(raw.predict(table.frame()))
            classes = scalars(raw.classes_)
        except (AttributeError, NotImplementedError, TypeError):
            answers.pop("probabilities", None)
    np.savez(request["answers"], **answers)
    return {"rows": len(answers["prediction"]), "classes": classes}


_OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"convert": convert, "predict": predict}


def main(path: str) -> int:
    request = json.loads(Path(path).read_text())
    try:
        answer: dict[str, Any] = {"ok": True, **_OPERATIONS[request["op"]](request)}
    except Unconvertible as error:
        answer = {"ok": False, "reason": str(error)}
    except Exception as error:
        answer = {"ok": False, "failed": True, "reason": f"{type(error).__name__}: {str(error)[:1000]}"}
    Path(request["answer"]).write_text(json.dumps(answer))
    return 0

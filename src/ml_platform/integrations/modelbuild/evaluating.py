"""What an evaluation is, and how it is asked of a model directory or a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_platform.contracts.bundles import BundleManifest, Column, Scalar, Signature
from ml_platform.integrations.modelbuild.children import (
    Answer,
    ChildLimits,
    ask_model,
    ask_platform,
    finite,
)
from ml_platform.integrations.modelbuild.errors import EvaluationFailedError


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on data; a metric that cannot be computed is absent, never NaN.

    Binary classification: accuracy, f1, precision, recall (of `positive_class`), and with probabilities
    log_loss and roc_auc. More classes: the same, averaged over the classes (macro), without roc_auc.
    Regression: rmse, mae, r2.

    `slices` holds for each column of the data with 2 to 12 values what was measured over the rows of each
    value: `rows`, and `accuracy` (of two classes also `positive_rate`, `true_positive_rate` and
    `false_positive_rate`) or `rmse`.
    """

    metrics: Mapping[str, float]
    task: str
    positive_class: Scalar | None
    rows: int
    slices: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)


def write_rows(
    folder: Path, limits: ChildLimits, signature: Signature, source: Path, limit: int | None
) -> Answer:
    """Lays the model's columns of `source` out in `<folder>/rows.npz`."""
    return ask_platform(
        folder,
        limits,
        {"op": "rows", "source": str(source), "limit": limit, **rows_request(folder, signature)},
    )


def rows_request(folder: Path, signature: Signature) -> dict[str, Any]:
    """The part of a request that says which columns the rows have."""
    columns = [_column(column) for column in signature.inputs]
    return {"rows": str(folder / "rows.npz"), "columns": columns, "layout": signature.layout}


def evaluate_graph(
    folder: Path, limits: ChildLimits, bundle: Path, manifest: BundleManifest, data: Path, label: str
) -> Evaluation:
    """Asks a bundle's graph, in our environment."""
    _taken(write_rows(folder, limits, manifest.signature, data, None))
    request = {"op": "graph", "bundle": str(bundle), **_paths(folder)}
    answer = _taken(ask_platform(folder, limits, request))
    return _score(folder, limits, answer, data, label, task=manifest.task)


def evaluate_model(
    folder: Path, limits: ChildLimits, python: Path, model: Path, signature: Signature, data: Path, label: str
) -> Evaluation:
    """Asks the original model, in its own environment."""
    _taken(write_rows(folder, limits, signature, data, None))
    request = {"op": "predict", "model": str(model), "probabilities": True, **_paths(folder)}
    answer = _taken(ask_model(python, folder, limits, request | rows_request(folder, signature)))
    return _score(folder, limits, answer, data, label, task=None)


def _score(
    folder: Path, limits: ChildLimits, answer: Answer, data: Path, label: str, task: str | None
) -> Evaluation:
    request = {"op": "score", "source": str(data), "label": label, "task": task, "classes": _classes(answer)}
    scored = _taken(ask_platform(folder, limits, request | _paths(folder)))
    return Evaluation(
        metrics={name: finite(value, name) for name, value in scored.content["metrics"].items()},
        task=scored.content["task"],
        positive_class=scored.content["positive"],
        rows=int(finite(answer.content["rows"], "rows")),
        slices=scored.content["slices"],
    )


def _classes(answer: Answer) -> list[Scalar] | None:
    classes = answer.content.get("classes")
    return classes if isinstance(classes, list) else None


def _paths(folder: Path) -> dict[str, Any]:
    return {"rows": str(folder / "rows.npz"), "answers": str(folder / "answers.npz")}


def _column(column: Column) -> dict[str, Any]:
    return {"name": column.name, "type": column.type, "required": column.required}


def _taken(answer: Answer) -> Answer:
    if not answer.ok:
        raise EvaluationFailedError(f"the model cannot be evaluated: {answer.reason}", answer.log)
    return answer

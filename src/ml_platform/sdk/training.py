"""`platform.train`: from features to a registered model, with our script or the user's own."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_platform.contracts.datasets import TrainingSet as TrainingSetData
from ml_platform.sdk.data import Dataset
from ml_platform.sdk.errors import InvalidInputError, error_class
from ml_platform.sdk.experiments import Experiment, Experiments
from ml_platform.sdk.features import Features, FeatureView, TrainingSet

TEMPLATE = Path(__file__).parent / "templates" / "tabular"
_OF_THE_JOB = frozenset({"requirements", "instance_type", "num_gpus", "timeout_seconds", "memory_bytes"})
_OF_THE_TEMPLATE = frozenset(
    {"algorithm", "hyperparameters", "task", "test_fraction", "seed", "columns", "exclude"}
)
_OF_A_SCRIPT = frozenset({"script", "source", "config"})
_OF_BOTH = frozenset({"name", "experiment", "label", "gate", "description"})


def train(
    experiments: Experiments,
    features: Features,
    given: TrainingSet | FeatureView | Dataset,
    model_config: Mapping[str, Any],
) -> Experiment:
    """See `Platform.train`."""
    config = _checked(model_config)
    columns, view = None, None
    if isinstance(given, FeatureView):
        view = given.name
        given = _joined(features, given, config)
    if isinstance(given, TrainingSet):
        columns, label = _columns(given.data), config.get("label") or given.data.label
        views = {reference.partition(":")[0] for reference in given.data.features}
        view = view or (views.pop() if len(views) == 1 else None)
        reference, default = given.reference, given.data.entities.partition("@")[0]
    elif isinstance(given, Dataset):
        label, reference, default = config.get("label"), f"dataset:{given.reference}", given.name
    else:
        raise InvalidInputError(
            f"features must be a training set, a feature view or a dataset, not a {type(given).__name__}"
        )
    if label is None:
        raise InvalidInputError("model_config must say the `label`, the column to predict")
    name = str(config.get("name") or _slug(default))
    experiment, _ = experiments.get_or_create(str(config.get("experiment") or name))
    job = experiment.train(
        inputs={"train": reference},
        register_as={
            "name": name,
            "label": label,
            "gate": config.get("gate"),
            "feature_view": view,
            "description": config.get("description"),
        },
        **_script(config, label, columns),
        **{key: config[key] for key in _OF_THE_JOB if key in config},
    )
    job.wait()
    if job.model_id is None:
        raise error_class(job.data.code, 409)(
            f"job {job.job_id} registered no model: {job.reason or 'no reason was given'}",
            code=job.data.code,
            hint=job.data.hint,
        )
    return experiment


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    config = dict(given)
    own = "script" in config or "source" in config
    fitting = _OF_BOTH | _OF_THE_JOB | (_OF_A_SCRIPT if own else _OF_THE_TEMPLATE)
    if unknown := sorted(set(config) - fitting):
        where = "beside a script of your own" if own and unknown[0] in _OF_THE_TEMPLATE else "in model_config"
        raise InvalidInputError(
            f"{unknown[0]!r} is not known {where}", hint=f"known are {', '.join(sorted(fitting))}"
        )
    return config


def _script(config: Mapping[str, Any], label: str, columns: list[str] | None) -> dict[str, Any]:
    if "script" in config or "source" in config:
        return {
            "script": config.get("script", "train.py"),
            "source": config.get("source"),
            "config": config.get("config") or {},
        }
    chosen = config.get("columns") or columns
    exclude = list(config.get("exclude") or ())
    settings = {key: config[key] for key in _OF_THE_TEMPLATE - {"columns", "exclude"} if key in config}
    if chosen is not None:
        settings["columns"] = [column for column in chosen if column != label and column not in exclude]
    return {
        "script": "train.py",
        "source": TEMPLATE,
        "config": settings | {"label": label, "exclude": exclude},
    }


def _joined(features: Features, view: FeatureView, config: Mapping[str, Any]) -> TrainingSet:
    label = config.get("label")
    if label is None:
        raise InvalidInputError("model_config must say the `label`, a column of the view's dataset")
    wanted = [f"{view.name}:{name}" for name in view.feature_names if name != label]
    return features.training_set(
        f"{view.data.dataset}@{view.data.dataset_version}",
        wanted,
        label=str(label),
        timestamp_field=view.data.timestamp_field,
    )


def _columns(data: TrainingSetData) -> list[str]:
    """The features' columns of a training set, without keys, times and whatever else the entities hold."""
    names = [reference.partition(":")[2] for reference in data.features]
    return [name for name in names if name in data.columns]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63] or "model"

"""How good a model is, and whether that is good enough."""

import math
from collections.abc import Iterator, Mapping

from ml_platform.contracts.models import Evaluation as EvaluationData
from ml_platform.contracts.models import GateMetric
from ml_platform.sdk.data import Dataset
from ml_platform.sdk.errors import InvalidInputError, NotFoundError
from ml_platform.sdk.models import Model
from ml_platform.sdk.objects import PlatformObject
from ml_platform.sdk.transport import Transport, at


class Evaluation(PlatformObject[EvaluationData], Mapping[str, float]):
    """Metrics of a model on data that it was not trained on."""

    _shown = ("model_id", "dataset", "rows", "metrics")

    @property
    def metrics(self) -> dict[str, float]:
        return dict(self._data.metrics)

    @property
    def rows(self) -> int | None:
        """How many rows it was judged on."""
        return self._data.rows

    def __getitem__(self, metric: str) -> float:
        return self._data.metrics[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data.metrics)

    def __len__(self) -> int:
        return len(self._data.metrics)

    def passes_threshold(self, criteria: Mapping[str, float]) -> bool:
        """Whether every metric reaches its threshold: at least this, for errors and losses at most this.

        Args:
            criteria: such as `{"roc_auc": 0.8, "log_loss": 0.5}`.

        Raises:
            InvalidInputError: a metric that was not measured, or a threshold that is no number.
        """
        if not criteria:
            raise InvalidInputError("there are no criteria to pass")
        return all(self._reaches(metric, threshold) for metric, threshold in criteria.items())

    def _reaches(self, metric: str, threshold: float) -> bool:
        if metric not in self:
            raise InvalidInputError(
                f"{metric!r} was not measured", hint=f"measured were {', '.join(sorted(self)) or 'none'}"
            )
        if not _is_number(threshold):
            raise InvalidInputError(f"the threshold of {metric!r} is {threshold!r}, not a number")
        lower = metric in set(GateMetric) and GateMetric(metric).lower_is_better
        return self[metric] <= threshold if lower else self[metric] >= threshold


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def evaluate(transport: Transport, model: Model, test_data: Dataset | str | None) -> Evaluation:
    """See `Platform.evaluate`."""
    if test_data is None:
        return Evaluation(transport, _of_holdout(model))
    if not isinstance(test_data, Dataset | str):
        raise InvalidInputError(
            f"test_data must be a dataset, not a {type(test_data).__name__}",
            hint="make it one: platform.data.upload(name, file)",
        )
    label = model.data.label
    if label is None:
        raise InvalidInputError(
            f"{model.model_id} does not say which column it predicts",
            hint="register it with `label`",
        )
    body = {
        "dataset": test_data.reference if isinstance(test_data, Dataset) else test_data,
        "label": label,
    }
    path = at("models", *model.model_id.split("/"), "evaluations")
    return Evaluation(transport, transport.post(path, EvaluationData, body))


def _of_holdout(model: Model) -> EvaluationData:
    gate = model.data.gate
    judged = gate is not None and bool(gate.metrics)
    metrics = gate.metrics if gate is not None and judged else model.metrics
    if not metrics:
        raise NotFoundError(
            f"{model.model_id} was judged on nothing yet",
            hint="give test_data, or train it with a gate and a holdout",
        )
    return EvaluationData(
        model_id=model.model_id,
        dataset=None,
        rows=gate.rows if gate is not None else None,
        metrics=metrics,
    )

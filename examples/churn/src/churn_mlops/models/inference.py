"""Asking for predictions: from a model in this process, or from an endpoint of the platform."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import pandas as pd

from churn_mlops.data.schema import CUSTOMER_ID, FEATURE_NAMES, FEATURES
from churn_mlops.models.churn_model import ChurnModel

DEFAULT_TIMEOUT = 5.0


@dataclass(frozen=True)
class ChurnPrediction:
    """The probability that the customer leaves; `prediction` is 1 when that is likelier than not."""

    churn_probability: float
    prediction: Literal[0, 1]

    @classmethod
    def of(cls, probability: float) -> Self:
        return cls(probability, 1 if probability > 0.5 else 0)


class EndpointError(RuntimeError):
    """The endpoint refused, failed or did not answer; `status` is its HTTP status, None without an answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class _Source(Protocol):
    def probabilities(self, instances: Sequence[Mapping[str, Any]]) -> list[float]: ...

    def close(self) -> None: ...


class ChurnPredictor:
    """Predicts for rows of raw columns; a context manager, which closes its connection.

    `ChurnPredictor.from_path(directory)` loads a saved model, `ChurnPredictor.from_endpoint(url, api_key)`
    asks a platform. Both answer alike.
    """

    def __init__(self, source: ChurnModel | _Source) -> None:
        self._source = _Local(source) if isinstance(source, ChurnModel) else source

    @classmethod
    def from_path(cls, directory: str | Path) -> Self:
        """Load a model that `ChurnModel.save` wrote."""
        return cls(ChurnModel.load(directory))

    @classmethod
    def from_endpoint(cls, url: str, api_key: str, timeout: float = DEFAULT_TIMEOUT) -> Self:
        """Ask the endpoint at `url`, a `.../v1/models/<name>:predict`, waiting `timeout` seconds at most."""
        return cls(_Endpoint(url, api_key, timeout))

    def predict(self, customers: pd.DataFrame | Sequence[Mapping[str, Any]]) -> list[ChurnPrediction]:
        """One prediction per row, in order.

        Args:
            customers: a table, or mappings, with the 19 raw columns; other columns are left out.

        Raises:
            ValueError: a column is missing.
            EndpointError: the endpoint did not give one probability per row.
        """
        rows = to_instances(
            customers if isinstance(customers, pd.DataFrame) else pd.DataFrame(list(customers))
        )
        return [ChurnPrediction.of(probability) for probability in self._source.probabilities(rows)]

    def predict_ids(self, customer_ids: Sequence[str]) -> list[ChurnPrediction]:
        """Predict by id alone: the platform looks the features up; a local model cannot."""
        if isinstance(self._source, _Local):
            raise NotImplementedError(
                "a local model has no feature store: predict from the raw columns, or an endpoint"
            )
        instances = [{CUSTOMER_ID: customer_id} for customer_id in customer_ids]
        return [ChurnPrediction.of(probability) for probability in self._source.probabilities(instances)]

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def to_instances(customers: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as the prediction protocols carry them: plain JSON objects of the 19 raw columns.

    Raises:
        ValueError: a column is missing, or a number is blank or infinite, which JSON cannot say.
    """
    missing = [name for name in FEATURE_NAMES if name not in customers.columns]
    if missing:
        raise ValueError(f"columns are missing: {', '.join(missing)}")
    columns = {}
    for column in FEATURES:
        convert = {"long": int, "double": float, "string": str}[column.type]
        values = customers[column.name]
        if values.isna().any() or (column.type != "string" and not values.map(math.isfinite).all()):
            raise ValueError(f"{column.name}: blank or infinite values cannot be sent")
        columns[column.name] = [convert(value) for value in values]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class _Local:
    def __init__(self, model: ChurnModel) -> None:
        self._model = model

    def probabilities(self, instances: Sequence[Mapping[str, Any]]) -> list[float]:
        if not instances:
            return []
        return [float(p) for p in self._model.predict_proba(pd.DataFrame(list(instances)))[:, 1]]

    def close(self) -> None:
        """Nothing is open."""


class _Endpoint:
    """KServe V1: `{"instances": [...]}` → `{"predictions": [...]}`."""

    def __init__(self, url: str, api_key: str, timeout: float) -> None:
        import httpx  # an optional dependency: a local model needs no HTTP

        self._url = url
        self._errors = httpx.HTTPError
        self._timeouts = httpx.TimeoutException
        self._timeout = timeout
        self._client = httpx.Client(headers={"Authorization": f"Bearer {api_key}"}, timeout=timeout)

    def probabilities(self, instances: Sequence[Mapping[str, Any]]) -> list[float]:
        try:
            response = self._client.post(self._url, json={"instances": list(instances)})
        except self._timeouts as error:
            raise EndpointError(f"{self._url} did not answer within {self._timeout:g} s", 504) from error
        except self._errors as error:
            raise EndpointError(f"{self._url} cannot be reached: {error}") from error
        if response.status_code != 200:
            raise EndpointError(
                f"{self._url} answered {response.status_code}: {response.text[:300]}", response.status_code
            )
        try:
            predictions = response.json()["predictions"]
            found = [_probability(prediction) for prediction in predictions]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise EndpointError(f"{self._url} answered something else than probabilities") from error
        if len(found) != len(instances):
            raise EndpointError(f"{self._url} answered {len(found)} predictions for {len(instances)} rows")
        return found

    def close(self) -> None:
        self._client.close()


def _probability(prediction: Any) -> float:
    """One prediction is the probability of leaving, or the pair of staying and leaving."""
    value = prediction[1] if isinstance(prediction, list) and len(prediction) == 2 else prediction
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"not a probability: {prediction!r}")
    return float(value)

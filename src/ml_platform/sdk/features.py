"""Feature views and training sets."""

import builtins
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ml_platform.contracts.datasets import (
    FeaturePushed,
    Materialization,
    OnlineFeatures,
)
from ml_platform.contracts.datasets import (
    FeatureView as FeatureViewData,
)
from ml_platform.contracts.datasets import (
    TrainingSet as TrainingSetData,
)
from ml_platform.sdk.data import Dataset
from ml_platform.sdk.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PlatformError,
    WaitTimeoutError,
)
from ml_platform.sdk.objects import PlatformObject
from ml_platform.sdk.rowfiles import columns_of
from ml_platform.sdk.transport import Transport, at

_MOST_ROWS, _MOST_VALUES = 10_000, 100_000  # of one request


class FeatureView(PlatformObject[FeatureViewData]):
    """Features of one kind of entity, over one version of a dataset."""

    _shown = ("name", "dataset", "dataset_version", "materialized_at", "online_entities")

    @property
    def name(self) -> str:
        return self._data.name

    @property
    def feature_names(self) -> list[str]:
        return [feature.name for feature in self._data.features]

    def materialize(self, *, dataset_version: int | None = None, timeout: float = 600) -> "FeatureView":
        """Writes the newest values online and waits for it.

        Raises:
            PlatformError: it failed; the message says why.
            WaitTimeoutError: it is still under way after `timeout` seconds.
        """
        state = self._transport.post(
            at("feature-views", self.name, "materialize"),
            Materialization,
            {"dataset_version": dataset_version},
        )
        deadline = time.monotonic() + timeout
        while state.finished_at is None:
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"materialising {self.name} is still under way after {timeout} s")
            time.sleep(0.2)
            state = self._transport.get(at("materializations", state.materialization_id), Materialization)
        if state.status != "succeeded":
            raise PlatformError(f"materialising {self.name} failed: {state.reason}")
        self._data = self._transport.get(at("feature-views", self.name), FeatureViewData)
        return self

    def online(self, *keys: Mapping[str, Any], features: list[str] | None = None) -> dict[str, list[Any]]:
        """The newest values of some entities, by column."""
        body = {"keys": [dict(key) for key in keys], "features": features}
        return self._transport.post(at("feature-views", self.name, "online"), OnlineFeatures, body).columns


class TrainingSet(PlatformObject[TrainingSetData]):
    """Features joined to entities as they were known at each entity's time."""

    _shown = ("training_set_id", "entities", "rows", "label", "digest")

    @property
    def training_set_id(self) -> str:
        return self._data.training_set_id

    @property
    def reference(self) -> str:
        """How a job names it as an input."""
        return f"training_set:{self.training_set_id}"


class Features:
    """`platform.features`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, dataset: Dataset | str, feature_defs: Mapping[str, Any]) -> FeatureView:
        """Defines a feature view.

        Args:
            dataset: where its history is: a `Dataset`, `name`, or `name@version`.
            feature_defs: `{"name", "entities": [{"name", "type"}] or names, "timestamp_field", "features":
                names or [{"name", "type"}] (default: every other column), "exclude", "ttl_seconds"}`.
        """
        body = dict(feature_defs)
        body["dataset"] = dataset.reference if isinstance(dataset, Dataset) else dataset
        for field in ("entities", "features"):
            if body.get(field) is not None:
                body[field] = [{"name": item} if isinstance(item, str) else item for item in body[field]]
        return FeatureView(self._transport, self._transport.post("/feature-views", FeatureViewData, body))

    def get_or_create(
        self, dataset: Dataset | str, feature_defs: Mapping[str, Any]
    ) -> tuple[FeatureView, bool]:
        """The feature view of that name, and whether it was made just now.

        One that is there already is taken as it is, over the version of the dataset that it was made of.
        """
        name = str(feature_defs.get("name") or "")
        try:
            return self.get(name), False
        except NotFoundError:
            pass
        try:
            return self.create(dataset, feature_defs), True
        except ConflictError:  # somebody made it in between
            return self.get(name), False

    def get(self, name: str) -> FeatureView:
        return FeatureView(self._transport, self._transport.get(at("feature-views", name), FeatureViewData))

    def list(self) -> list[FeatureView]:
        found = self._transport.pages("/feature-views", FeatureViewData)
        return [FeatureView(self._transport, item) for item in found]

    def delete(self, name: str) -> FeatureView:
        deleted = self._transport.delete(at("feature-views", name), FeatureViewData)
        return FeatureView(self._transport, deleted)

    def push(self, view: FeatureView | str, rows: Any, *, format: str | None = None) -> FeaturePushed:  # noqa: A002
        """Writes rows online at once, past the dataset; a later materialisation writes over them.

        Args:
            view: a feature view, or its name.
            rows: rows (mappings), columns by name, a pandas or Polars table, or a CSV, Parquet or JSON Lines
                file: every entity, every feature and the view's time column.
            format: of a file: `csv`, `parquet` or `jsonl`; default: by its ending.

        Returns:
            How many entities were written. Many rows go in parts, in their order; within a part the newest
            row of an entity is kept.

        Raises:
            InvalidInputError: a row does not fit the view; its part was not written.
        """
        found = view if isinstance(view, FeatureView) else self.get(view)
        fields = [*found.data.entities, *found.data.features]
        columns = columns_of(rows, {field.name: field.type for field in fields}, format)
        counts = {len(values) for values in columns.values()}
        if len(counts) > 1:  # found here, for else the first parts would be written
            raise InvalidInputError("rows: the columns must be equally long")
        count = max(counts, default=0)
        if count == 0:
            raise InvalidInputError("rows: there are none")
        size = max(1, min(_MOST_ROWS, _MOST_VALUES // len(columns)))
        entities = 0
        for start in range(0, count, size):
            part = {name: values[start : start + size] for name, values in columns.items()}
            path = at("feature-views", found.name, "push")
            entities += self._transport.post(path, FeaturePushed, {"columns": part}).entities
        return FeaturePushed(feature_view=found.name, entities=entities)

    def training_sets(self, *, limit: int | None = 100) -> builtins.list[TrainingSet]:
        """Newest first."""
        found = self._transport.pages("/training-sets", TrainingSetData, limit=limit)
        return [TrainingSet(self._transport, item) for item in found]

    def get_training_set(self, training_set_id: str) -> TrainingSet:
        found = self._transport.get(at("training-sets", training_set_id), TrainingSetData)
        return TrainingSet(self._transport, found)

    def training_set(
        self,
        entities: Dataset | str,
        features: Iterable[FeatureView | str],
        *,
        label: str | None = None,
        timestamp_field: str = "event_timestamp",
    ) -> TrainingSet:
        """Joins features to `entities`, point in time.

        Args:
            entities: the dataset with keys, times and label.
            features: views, their names, or `view:feature`.
            label: the label's column in `entities`.
            timestamp_field: the column with the times as of which features are wanted.
        """
        body = {
            "entities": entities.reference if isinstance(entities, Dataset) else entities,
            "features": [item.name if isinstance(item, FeatureView) else item for item in features],
            "label": label,
            "timestamp_field": timestamp_field,
        }
        made = self._transport.post("/training-sets", TrainingSetData, body)
        return TrainingSet(self._transport, made)

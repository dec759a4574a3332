"""Feast behind the features service: one repository a team."""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
import polars as pl

from ml_platform.contracts.features import FeatureType, KeyType
from ml_platform.integrations.feast.repository import FeastRepository
from ml_platform.integrations.feast.specs import EntitySpec, FeatureViewSpec, FieldSpec, SourceSpec
from ml_platform.kit.errors import BadInputError
from ml_platform.kit.redis import RedisAddress
from ml_platform.services.features import OnlineStore, PushedView, ViewDefinition

_TYPES: dict[Any, FeatureType] = {
    pl.Boolean: "BOOL", pl.Binary: "BYTES", pl.Int8: "INT32", pl.Int16: "INT32", pl.Int32: "INT32",
    pl.Int64: "INT64", pl.UInt8: "INT32", pl.UInt16: "INT32", pl.UInt32: "INT64", pl.Float32: "FLOAT",
    pl.Float64: "DOUBLE", pl.String: "STRING", pl.Categorical: "STRING", pl.Datetime: "UNIX_TIMESTAMP",
}  # fmt: skip


class FeastEngine:
    """Implements `FeatureEngine`."""

    def __init__(self, root: Path, redis: RedisAddress | None = None) -> None:
        self._root = root
        self._redis = redis
        self._repositories: dict[str, FeastRepository] = {}
        self._lock = threading.Lock()

    def store(self, team_id: str) -> OnlineStore:
        repository = self._repository(team_id)
        return OnlineStore(repository.online.kind, repository.project, repository.online.path)

    def apply(self, team_id: str, view: ViewDefinition) -> dict[str, str]:
        columns = pl.scan_parquet(view.source).collect_schema()
        types = {name: _type(name, kind, columns) for name, kind in view.features.items()}
        spec = FeatureViewSpec(
            name=view.name,
            entities=tuple(EntitySpec(name, cast("KeyType", kind)) for name, kind in view.entities.items()),
            source=SourceSpec(path=str(view.source), timestamp_field=view.timestamp_field),
            fields=tuple(FieldSpec(name, kind) for name, kind in types.items()),
            ttl=timedelta(seconds=view.ttl_seconds) if view.ttl_seconds else None,
            description=view.description,
        )
        self._repository(team_id).apply([spec])
        return dict(types)

    def delete(self, team_id: str, view: str) -> None:
        self._repository(team_id).delete_view(view)

    def materialize(
        self, team_id: str, view: str, start: datetime | None = None, end: datetime | None = None
    ) -> int:
        return self._repository(team_id).materialize(view, start=start, end=end).entities

    def push(self, team_id: str, view: PushedView, columns: Mapping[str, Sequence[Any]]) -> int:
        spec = FeatureViewSpec(
            name=view.name,
            entities=tuple(EntitySpec(name, cast("KeyType", kind)) for name, kind in view.entities.items()),
            source=SourceSpec(path="", timestamp_field=view.timestamp_field),
            fields=tuple(FieldSpec(name, cast("FeatureType", kind)) for name, kind in view.features.items()),
        )
        return self._repository(team_id).push(spec, columns)

    def training_set(
        self, team_id: str, entities: Path, features: list[str], *, timestamp_field: str, target: Path
    ) -> tuple[int, list[str]]:
        repository = self._repository(team_id)
        names = {feature.partition(":")[2] for feature in features}
        keys = {key for f in features for key in repository.get_view(f.partition(":")[0]).join_keys}
        frame = pl.read_parquet(entities)
        missing = sorted((keys | {timestamp_field}) - set(frame.columns))
        if missing:
            raise BadInputError.of("entities", f"the dataset has no column {missing[0]!r}")
        # What the features give comes from the features: the entities keep keys, times, label and the rest.
        kept = [column for column in frame.columns if column not in names]
        joined = repository.get_historical_features(
            frame.select(kept), features, timestamp_column=timestamp_field
        )
        joined.write_parquet(target)
        return joined.height, joined.columns

    def online(self, team_id: str, keys: list[dict[str, Any]], features: list[str]) -> dict[str, list[Any]]:
        return self._repository(team_id).get_online_features(keys, features)

    def lookup(self, team_id: str, columns: dict[str, str]) -> dict[str, Any]:
        spec = self._repository(team_id).lookup_spec(columns, on_missing="fail")
        value: dict[str, Any] = msgspec.to_builtins(spec)
        return value

    def _repository(self, team_id: str) -> FeastRepository:
        with self._lock:
            if team_id not in self._repositories:
                self._repositories[team_id] = FeastRepository(self._root, team_id, redis=self._redis)
            return self._repositories[team_id]


def _type(name: str, given: str | None, columns: pl.Schema) -> FeatureType:
    if given is not None:
        if given not in get_args(FeatureType):
            raise BadInputError.of("features", f"{given!r} is no value type of the feature store")
        return cast("FeatureType", given)
    if name not in columns:
        raise BadInputError.of("features", f"the dataset has no column {name!r}")
    kind = _TYPES.get(columns[name].base_type())
    if kind is None:
        raise BadInputError.of(
            "features", f"column {name!r} has type {columns[name]}: state the feature's type"
        )
    return kind

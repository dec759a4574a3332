"""Opens the features that a bundle asks for, in the store that a snapshot names.

Feast's layout tells which join keys a view has: they stand in every entity key. So nothing but the
store's path and project is needed to serve a view; its ttl, which the store does not hold, comes with a
`FeatureLookupSpec` where values must expire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ml_platform.contracts.bundles import ColumnType, FeatureRequest
from ml_platform.contracts.features import (
    FeatureColumn,
    FeatureLookupSpec,
    FeatureViewLookup,
    KeyType,
)
from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.features.connection import StoreConnection
from ml_platform.inference.features.errors import FeatureStoreUnavailable
from ml_platform.inference.features.keys import join_keys_of
from ml_platform.inference.features.reader import FeastSqliteReader
from ml_platform.inference.features.view import quoted

OPEN_DEADLINE_SECONDS: Final = 2.0
LOOKUP_DEADLINE_MS: Final = 50.0
_KEY_TYPES: Mapping[ColumnType, KeyType] = {
    "string": "STRING",
    "integer": "INT32",
    "long": "INT64",
    "datetime": "UNIX_TIMESTAMP",
}


def open_online_features(store: FeatureStore, request: FeatureRequest) -> FeastSqliteReader:
    """The reader of one revision's features.

    Raises `FeatureStoreUnavailable` when the store cannot be read now, and `ValueError` for a feature
    that does not exist or a join key that the request does not give.
    """
    if store.entity_key_serialization_version != 3:
        raise ValueError("only entity keys of serialisation version 3 can be read")
    by_view: dict[str, list[FeatureColumn]] = {}
    for column, reference in request.columns.items():
        view, colon, feature = reference.partition(":")
        if not (view and colon and feature):
            raise ValueError(f"{reference!r} is no feature: write it as view:feature")
        # The bytes of a value tell its type, so the declared one matters to no read.
        by_view.setdefault(view, []).append(FeatureColumn(name=feature, type="STRING", column=column))
    connection = StoreConnection(store.path, OPEN_DEADLINE_SECONDS)
    try:
        views = tuple(
            _view(connection, store.project, name, tuple(features), request)
            for name, features in by_view.items()
        )
    finally:
        connection.close()
    spec = FeatureLookupSpec(
        store_path=store.path, project=store.project, views=views, deadline_ms=LOOKUP_DEADLINE_MS
    )
    return FeastSqliteReader(spec, require_known=True)


def _view(
    connection: StoreConnection,
    project: str,
    name: str,
    features: tuple[FeatureColumn, ...],
    request: FeatureRequest,
) -> FeatureViewLookup:
    connection.begin()
    table = quoted(f"{project}_{name}")
    first = connection.select(f"SELECT entity_key FROM {table} LIMIT 1", ())  # noqa: S608 - quoted
    if not first:
        raise FeatureStoreUnavailable(f"the feature view {name!r} holds no entity yet: materialize it")
    join_keys = join_keys_of(first[0][0])
    given = {entity.name: entity.type for entity in request.entities}
    for key in join_keys:
        if key.name not in given:
            raise ValueError(f"the feature view {name!r} needs the join key {key.name!r}")
        if _KEY_TYPES.get(given[key.name]) != key.type:
            raise ValueError(f"the join key {key.name!r} of {name!r} is {key.type}, not {given[key.name]!r}")
    for feature in features:
        _expect(connection, table, first[0][0], name, feature.name)
    return FeatureViewLookup(name=name, join_keys=join_keys, features=features)


def _expect(connection: StoreConnection, table: str, entity: bytes, view: str, feature: str) -> None:
    """The first entity usually has it; only otherwise is the whole table looked through."""
    known = connection.select(
        f"SELECT 1 FROM {table} WHERE entity_key = ? AND feature_name = ?",  # noqa: S608 - quoted
        (entity, feature),
    ) or connection.select(
        f"SELECT 1 FROM {table} WHERE feature_name = ? LIMIT 1",  # noqa: S608 - quoted
        (feature,),
    )
    if not known:
        raise ValueError(f"the feature view {view!r} has no feature {feature!r}")

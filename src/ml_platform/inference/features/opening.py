"""Opens the features that a bundle asks for, in the store that a snapshot names.

The snapshot lists a team's feature views with their join keys, types and ttl. One that it does not list can
still be read from SQLite: Feast's layout tells which join keys a view has, since they stand in every entity
key. Redis cannot be looked through like that, and its address is never in a snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ml_platform.contracts.bundles import ColumnType, FeatureRequest
from ml_platform.contracts.features import (
    FeatureColumn,
    FeatureLookupSpec,
    FeatureType,
    FeatureViewLookup,
    JoinKey,
    KeyType,
    OnlineView,
)
from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.features.connection import StoreConnection
from ml_platform.inference.features.errors import FeatureStoreUnavailable
from ml_platform.inference.features.keys import join_keys_of
from ml_platform.inference.features.reader import FeastReader, FeastRedisReader, FeastSqliteReader
from ml_platform.inference.features.view import quoted
from ml_platform.kit.redis.address import RedisAddress

OPEN_DEADLINE_SECONDS: Final = 2.0
LOOKUP_DEADLINE_MS: Final = 50.0
_KEY_TYPES: Mapping[ColumnType, KeyType] = {
    "string": "STRING",
    "integer": "INT32",
    "long": "INT64",
    "datetime": "UNIX_TIMESTAMP",
}


def open_online_features(
    store: FeatureStore,
    request: FeatureRequest,
    deadline_ms: float = LOOKUP_DEADLINE_MS,
    *,
    redis: RedisAddress | None = None,
) -> FeastReader:
    """The reader of one revision's features, whose look-ups end after `deadline_ms`.

    `redis` is where Redis is, for stores that are there. Raises `FeatureStoreUnavailable` when the store
    cannot be read now, and `ValueError` for a feature that does not exist or a join key that the request does
    not give.
    """
    if store.entity_key_serialization_version != 3:
        raise ValueError("only entity keys of serialisation version 3 can be read")
    listed = {view.name: view for view in store.views}
    views = tuple(
        _listed(listed[name], wanted, request) if name in listed else _found(store, name, wanted, request)
        for name, wanted in _by_view(request).items()
    )
    spec = FeatureLookupSpec(
        store_path=store.path, project=store.project, views=views, deadline_ms=deadline_ms
    )
    return open_reader(store, spec, redis=redis, require_known=True)


def open_reader(
    store: FeatureStore,
    spec: FeatureLookupSpec,
    *,
    redis: RedisAddress | None = None,
    require_known: bool = False,
) -> FeastReader:
    """The reader of a specification in the store's own kind; it connects with the first look-up.

    Raises `ValueError` for a store in Redis when nothing says where that is.
    """
    if store.kind == "sqlite":
        return FeastSqliteReader(spec, require_known=require_known)
    if redis is None:
        raise ValueError("the team's features are in Redis, and this server has no online_store_url")
    return FeastRedisReader(spec, redis, require_known=require_known)


def _by_view(request: FeatureRequest) -> dict[str, list[tuple[str, str]]]:
    """Columns and features by view."""
    result: dict[str, list[tuple[str, str]]] = {}
    for column, reference in request.columns.items():
        view, colon, feature = reference.partition(":")
        if not (view and colon and feature):
            raise ValueError(f"{reference!r} is no feature: write it as view:feature")
        result.setdefault(view, []).append((column, feature))
    return result


def _listed(
    view: OnlineView, wanted: Sequence[tuple[str, str]], request: FeatureRequest
) -> FeatureViewLookup:
    """A view of which everything is known: nothing is asked of the store before the first look-up."""
    _check_keys(view.name, view.join_keys, request)
    types: dict[str, FeatureType] = {feature.name: feature.type for feature in view.features}
    for _, feature in wanted:
        if feature not in types:
            raise ValueError(f"the feature view {view.name!r} has no feature {feature!r}")
    return FeatureViewLookup(
        name=view.name,
        join_keys=view.join_keys,
        features=tuple(
            FeatureColumn(name=feature, type=types[feature], column=column) for column, feature in wanted
        ),
        ttl_seconds=view.ttl_seconds,
    )


def _found(
    store: FeatureStore, name: str, wanted: Sequence[tuple[str, str]], request: FeatureRequest
) -> FeatureViewLookup:
    """A view as its values in SQLite tell; without a ttl, which they do not."""
    if store.kind != "sqlite":
        raise FeatureStoreUnavailable(f"the team has no feature view {name!r}: define and materialize it")
    connection = StoreConnection(store.path, OPEN_DEADLINE_SECONDS)
    try:
        connection.begin()
        table = quoted(f"{store.project}_{name}")
        first = connection.select(f"SELECT entity_key FROM {table} LIMIT 1", ())  # noqa: S608 - quoted
        if not first:
            raise FeatureStoreUnavailable(f"the feature view {name!r} holds no entity yet: materialize it")
        join_keys = join_keys_of(first[0][0])
        _check_keys(name, join_keys, request)
        for _, feature in wanted:
            _expect(connection, table, first[0][0], name, feature)
    finally:
        connection.close()
    # The bytes of a value tell its type, so the declared one matters to no read.
    features = tuple(FeatureColumn(name=feature, type="STRING", column=column) for column, feature in wanted)
    return FeatureViewLookup(name=name, join_keys=join_keys, features=features)


def _check_keys(view: str, join_keys: Sequence[JoinKey], request: FeatureRequest) -> None:
    given = {entity.name: entity.type for entity in request.entities}
    for key in join_keys:
        if key.name not in given:
            raise ValueError(f"the feature view {view!r} needs the join key {key.name!r}")
        if _KEY_TYPES.get(given[key.name]) != key.type:
            raise ValueError(f"the join key {key.name!r} of {view!r} is {key.type}, not {given[key.name]!r}")


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

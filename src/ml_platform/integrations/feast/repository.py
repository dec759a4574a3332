"""A team's feature repository: Feast's registry and online store in the team's own directory.

    <root>/<team>/feature_store.yaml   a stock Feast client opens the directory as it is
                  registry.db          definitions
                  online.db            Feast's SQLite online store, in write-ahead mode, unless Redis is it

Definitions are data, never code: on-demand views, which carry pickled functions, are not taken.
"""

from __future__ import annotations

import fcntl
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from ml_platform.contracts.features import (
    FeatureColumn,
    FeatureLookupSpec,
    FeatureViewLookup,
    JoinKey,
    OnMissing,
)
from ml_platform.integrations.feast import vendor
from ml_platform.integrations.feast.errors import FeatureDefinitionError
from ml_platform.integrations.feast.history import ViewRequest, join_history
from ml_platform.integrations.feast.online import Progress, latest_rows
from ml_platform.integrations.feast.online_stores import OnlineTarget, RedisTarget, SqliteTarget
from ml_platform.integrations.feast.pushing import rows_of
from ml_platform.integrations.feast.sources import scan_source
from ml_platform.integrations.feast.specs import FeatureViewSpec, parse_references
from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.kit.redis import RedisAddress

_TEAM: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,62}\Z")
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Materialization:
    """What a materialisation did: `entities` were written, with the values known in [start, end]."""

    view: str
    entities: int
    start: datetime
    end: datetime


class FeastRepository:
    """Definitions, training sets and materialisation of one team. Threads may share it.

    Feast itself is imported at the first call that needs the registry.
    """

    def __init__(
        self,
        root: Path | str,
        team: str,
        *,
        redis: RedisAddress | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        if not _TEAM.match(team):
            raise FeatureDefinitionError.of(
                "team", "expected lower case letters, digits and underscores, at most 63"
            )
        self.project = team
        self.folder = Path(root) / team
        self.online_path = self.folder / "online.db"
        self.online: OnlineTarget = (
            SqliteTarget(self.online_path, team) if redis is None else RedisTarget(redis, team)
        )
        self._storage_options = storage_options
        self._lock = threading.RLock()

    def apply(self, specs: Sequence[FeatureViewSpec]) -> None:
        """Registers or changes feature views and makes their online tables; repeating it changes nothing.

        Raises `FeatureDefinitionError` when a source lacks a declared column, or an entity's type differs
        from the one it has in another view.
        """
        for spec in specs:
            columns = [*spec.join_keys, *(field.name for field in spec.fields)]
            scan_source(spec.source, columns, self._storage_options)
        with self._changing() as store:
            self._check_entities(store, specs)
            objects: list[Any] = []
            for spec in specs:
                entities, view = vendor.definitions_of(spec)
                objects += [*entities, view]
            with vendor.quiet():
                store.apply(objects)
            self.online.prepare()

    def list_views(self) -> list[FeatureViewSpec]:
        """All feature views of the team, by name."""
        with self._reading() as store:
            return sorted((vendor.spec_of(v) for v in store.list_feature_views()), key=lambda spec: spec.name)

    def get_view(self, name: str) -> FeatureViewSpec:
        """One feature view; raises `NotFoundError`."""
        with self._reading() as store:
            return vendor.spec_of(self._registered(store, name))

    def delete_view(self, name: str) -> None:
        """Removes the feature view and its online values; its source stays."""
        with self._changing() as store:
            view = self._registered(store, name)
            self.online.delete(vendor.spec_of(view))
            with vendor.quiet():
                store.apply([], objects_to_delete=[view, view.batch_source], partial=False)

    def materialize(
        self,
        name: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        progress: Progress | None = None,
    ) -> Materialization:
        """Writes the newest values known in [start, end] (default: everything up to now) to the online store.

        May be repeated: the same values are written again. `progress` is told entities done and total.
        """
        end = end or datetime.now(tz=UTC)
        start = start or _BEGINNING
        if start.tzinfo is None or end.tzinfo is None:
            raise FeatureDefinitionError.of("start", "times must carry a time zone")
        if start > end:
            raise FeatureDefinitionError.of("start", "must not be after the end")
        with self._changing() as store:
            registered = self._registered(store, name)
            view = vendor.spec_of(registered)
            if not view.online:
                raise ConflictError(f"the feature view {name!r} is declared offline only")
            columns = [*view.join_keys, *(field.name for field in view.fields)]
            history = scan_source(view.source, columns, self._storage_options)
            latest = latest_rows(history, view, start, end)
            entities = self.online.write(view, latest, vendor.convert_column, progress)
            store.registry.apply_materialization(registered, self.project, start, end)
        return Materialization(view=name, entities=entities, start=start, end=end)

    def push(self, view: FeatureViewSpec, columns: Mapping[str, Sequence[Any]]) -> int:
        """Writes the newest of these rows of each entity online; returns how many entities.

        The registry is not asked, so that nobody waits for a materialisation. What does not fit the view is
        a `FeatureSourceError` before anything is written.
        """
        view = replace(view, source=replace(view.source, created_timestamp_field=None))  # it is not pushed
        rows = rows_of(view, columns, vendor.convert_column)
        return self.online.write(view, rows, vendor.convert_column, None)

    def get_historical_features(
        self,
        entities: pl.DataFrame,
        features: Sequence[str],
        *,
        timestamp_column: str = "event_timestamp",
        full_feature_names: bool = False,
    ) -> pl.DataFrame:
        """A training set: `entities` with each `view:feature` as it was known at the row's time.

        Columns are named by the feature, or `view__feature` with `full_feature_names`.
        """
        with self._reading() as store:
            requests = [
                ViewRequest(
                    vendor.spec_of(self._registered(store, view)),
                    {name: f"{view}__{name}" if full_feature_names else name for name in names},
                )
                for view, names in parse_references(list(features)).items()
            ]
        return join_history(
            entities, requests, timestamp_column=timestamp_column, storage_options=self._storage_options
        )

    def get_online_features(
        self, keys: Sequence[Mapping[str, Any]], features: Sequence[str], *, full_feature_names: bool = False
    ) -> dict[str, list[Any]]:
        """The newest values by Feast's own client; the inference plane reads the same store by itself.

        Columns come as asked: the keys, then the features (Feast's own order changes from process to process).
        """
        by_view = parse_references(list(features))
        with self._reading() as store:
            for view in by_view:
                self._registered(store, view)
            with vendor.quiet(), vendor.reachable():
                answer: dict[str, list[Any]] = store.get_online_features(
                    features=list(features),
                    entity_rows=[dict(key) for key in keys],
                    full_feature_names=full_feature_names,
                ).to_dict()
        asked = [
            f"{view}__{name}" if full_feature_names else name
            for view, _, name in (reference.partition(":") for reference in features)
        ]
        entities = [name for name in answer if name not in asked]
        return {name: answer[name] for name in [*entities, *asked]}

    def lookup_spec(
        self,
        columns: Mapping[str, str],
        *,
        on_missing: OnMissing = "null",
        defaults: Mapping[str, Any] | None = None,
    ) -> FeatureLookupSpec:
        """What the inference plane needs in order to fill `columns` (column -> `view:feature`)."""
        lookups = []
        by_view: dict[str, list[tuple[str, str]]] = {}
        for column, reference in columns.items():
            for view_name, names in parse_references([reference]).items():
                by_view.setdefault(view_name, []).append((column, names[0]))
        for view_name, wanted in by_view.items():
            view = self.get_view(view_name)
            types = {field.name: field.type for field in view.fields}
            unknown = [name for _, name in wanted if name not in types]
            if unknown:
                raise FeatureDefinitionError.of("features", f"{view_name!r} has no feature {unknown[0]!r}")
            lookups.append(
                FeatureViewLookup(
                    name=view_name,
                    join_keys=tuple(JoinKey(name=e.name, type=e.type) for e in view.entities),
                    features=tuple(
                        FeatureColumn(
                            name=name, type=types[name], column=column, default=(defaults or {}).get(column)
                        )
                        for column, name in wanted
                    ),
                    ttl_seconds=view.ttl.total_seconds() if view.ttl else None,
                )
            )
        return FeatureLookupSpec(
            store_path=self.online.path,
            project=self.project,
            views=tuple(lookups),
            on_missing=on_missing,
        )

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        self._create()
        with self._lock:
            yield vendor.open_store(self.folder, self.project, self.online.own_config())

    @contextmanager
    def _changing(self) -> Iterator[Any]:
        """The registry is one file, written whole: changes take turns, between processes too."""
        self._create()
        with self._lock, (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield vendor.open_store(self.folder, self.project, self.online.own_config())

    def _create(self) -> None:
        """Writes the repository's settings, anew when the online store is another one by now."""
        config = self.folder / "feature_store.yaml"
        content = {
            "project": self.project,
            "provider": "local",
            "registry": {"registry_type": "file", "path": "registry.db", "cache_ttl_seconds": 60},
            "online_store": self.online.config(),
            "offline_store": {"type": "duckdb"},
            "entity_key_serialization_version": 3,
        }
        text = yaml.safe_dump(content, sort_keys=False)
        if config.exists() and config.read_text() == text:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = config.with_suffix(f".{threading.get_ident()}.tmp")
        draft.write_text(text)
        draft.replace(config)

    def _registered(self, store: Any, name: str) -> Any:
        feast = vendor.load()
        try:
            return store.get_feature_view(name)
        except feast.errors.FeatureViewNotFoundException as error:
            raise NotFoundError.of("feature view", name) from error

    def _check_entities(self, store: Any, specs: Sequence[FeatureViewSpec]) -> None:
        names = {spec.name for spec in specs}
        if len(names) != len(specs):
            raise FeatureDefinitionError.of("name", "two of the feature views have the same name")
        views = [vendor.spec_of(view) for view in store.list_feature_views() if view.name not in names]
        types: dict[str, str] = {}
        for view in [*views, *specs]:
            for entity in view.entities:
                if types.setdefault(entity.name, entity.type) != entity.type:
                    raise FeatureDefinitionError.of(
                        "entities", f"{entity.name!r} is {types[entity.name]} in another feature view"
                    )

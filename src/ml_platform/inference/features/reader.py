"""Looks features up in Feast's SQLite online store, without Feast.

The answers are those of Feast's own client, with one difference that is on purpose: a value older than
the view's ttl counts as missing, where Feast's client gives it out for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ml_platform.contracts.features import FeatureLookupSpec, FeatureViewLookup
from ml_platform.inference.features.connection import StoreConnection
from ml_platform.inference.features.errors import FeatureKeyError, FeatureNotFound, FeatureStoreUnavailable
from ml_platform.inference.features.view import ABSENT, Row, ViewReader

Status = Literal["present", "not_found", "expired"]


@dataclass(frozen=True, slots=True)
class FeatureVectors:
    """One value and one status for each key, by column."""

    columns: dict[str, list[Any]]
    statuses: dict[str, list[Status]]


class FeastSqliteReader:
    """Reads the features of a `FeatureLookupSpec`; threads may share it, and take turns.

    Opens the store at the first look-up, so that a server starts while the store is not there yet. With
    `require_known`, an entity that none of the views knows raises `FeatureNotFound` under any policy.
    """

    def __init__(
        self,
        spec: FeatureLookupSpec,
        *,
        require_known: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        outputs = [feature.output for view in spec.views for feature in view.features]
        doubled = sorted({name for name in outputs if outputs.count(name) > 1})
        if doubled:
            raise ValueError(
                f"two features would fill the column {doubled[0]!r}: name one of them differently"
            )
        if not spec.views:
            raise ValueError("the specification names no feature view")
        if spec.deadline_ms <= 0 or spec.max_keys <= 0 or spec.cache_entities < 0:
            raise ValueError("deadline_ms and max_keys must be positive, cache_entities not negative")
        self._spec = spec
        self._columns = tuple(outputs)
        self._clock = clock
        self._require_known = require_known
        self._turn = threading.Lock()
        self._connection: StoreConnection | None = None
        self._views = tuple(ViewReader(spec.project, view, spec.cache_entities) for view in spec.views)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the answer's columns, in order."""
        return self._columns

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """One list for each column, in the order of `keys`.

        Raises `FeatureStoreUnavailable`, `FeatureKeyError`, and under the policy `fail`
        `FeatureNotFound`.
        """
        answer: dict[str, list[Any]] = {}
        for view, rows in self._read(keys):
            if view.lookup.ttl_seconds is None and all(row is not None and row[2] for row in rows):
                values = zip(*[row[1] for row in rows if row is not None], strict=True)
                for feature, column in zip(view.lookup.features, values, strict=True):
                    answer[feature.output] = list(column)
            else:
                answer |= self._filled(view.lookup, rows, keys).columns
        return answer or {name: [] for name in self._columns}

    def read(self, keys: Sequence[Mapping[str, Any]]) -> FeatureVectors:
        """The same with a status beside each value."""
        vectors = FeatureVectors({name: [] for name in self._columns}, {name: [] for name in self._columns})
        for view, rows in self._read(keys):
            filled = self._filled(view.lookup, rows, keys)
            vectors.columns.update(filled.columns)
            vectors.statuses.update(filled.statuses)
        return vectors

    def close(self) -> None:
        """Closes the connection; a later look-up would open a new one."""
        with self._turn:
            self._disconnect()

    def _read(self, keys: Sequence[Mapping[str, Any]]) -> list[tuple[ViewReader, list[Row | None]]]:
        if not keys:
            return []
        if len(keys) > self._spec.max_keys:
            raise FeatureKeyError("keys", f"at most {self._spec.max_keys} entities at once, got {len(keys)}")
        encoded = [[view.encode(key) for key in keys] for view in self._views]
        if not self._turn.acquire(timeout=self._spec.deadline_ms / 1000):
            raise FeatureStoreUnavailable("the online store is busy: look-ups before this one take too long")
        try:
            connection = self._connect()
            if connection.begin():
                for view in self._views:
                    view.forget()
            found = [view.rows(connection, some) for view, some in zip(self._views, encoded, strict=True)]
        finally:
            self._turn.release()
        if self._require_known:
            for key, *rows in zip(keys, *found, strict=True):
                if not any(rows):
                    raise FeatureNotFound(_entity(key, self._spec.views))
        return list(zip(self._views, found, strict=True))

    def _connect(self) -> StoreConnection:
        if self._connection is not None and not self._connection.is_current():
            self._disconnect()
        if self._connection is None:
            self._connection = StoreConnection(self._spec.store_path, self._spec.deadline_ms / 1000)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _filled(
        self, lookup: FeatureViewLookup, rows: Sequence[Row | None], keys: Sequence[Mapping[str, Any]]
    ) -> FeatureVectors:
        now, ttl = self._clock(), lookup.ttl_seconds
        late = [bool(ttl and row and row[0] is not None and now - row[0] > ttl) for row in rows]
        vectors = FeatureVectors({}, {})
        for index, feature in enumerate(lookup.features):
            stand_in = feature.default if self._spec.on_missing == "default" else None
            values: list[Any] = []
            statuses: list[Status] = []
            for row, is_late in zip(rows, late, strict=True):
                value = ABSENT if row is None else row[1][index]
                status: Status = "not_found" if value is ABSENT else "expired" if is_late else "present"
                values.append(value if status == "present" else stand_in)
                statuses.append(status)
            vectors.columns[feature.output], vectors.statuses[feature.output] = values, statuses
        if self._spec.on_missing == "fail":
            _refuse_missing(lookup, vectors, keys)
        return vectors


def _refuse_missing(
    lookup: FeatureViewLookup, vectors: FeatureVectors, keys: Sequence[Mapping[str, Any]]
) -> None:
    for index, key in enumerate(keys):
        if any(column[index] != "present" for column in vectors.statuses.values()):
            raise FeatureNotFound(_entity(key, (lookup,)))


def _entity(key: Mapping[str, Any], views: Sequence[FeatureViewLookup]) -> dict[str, Any]:
    return {join_key.name: key[join_key.name] for view in views for join_key in view.join_keys}

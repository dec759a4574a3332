"""Looks features up in Feast's online stores, without Feast.

The answers are those of Feast's own client, with one difference that is on purpose: a value older than
the view's ttl counts as missing, where Feast's client gives it out for ever.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ml_platform.contracts.features import FeatureLookupSpec, FeatureViewLookup
from ml_platform.inference.features.connection import StoreConnection
from ml_platform.inference.features.errors import FeatureKeyError, FeatureNotFound, FeatureStoreUnavailable
from ml_platform.inference.features.keys import KeyEncoder
from ml_platform.inference.features.redis_link import RedisLink
from ml_platform.inference.features.redis_view import RedisView, read_views
from ml_platform.inference.features.values import Memo
from ml_platform.inference.features.view import ABSENT, Row, ViewReader
from ml_platform.kit.redis.address import RedisAddress

Status = Literal["present", "not_found", "expired"]


@dataclass(frozen=True, slots=True)
class FeatureVectors:
    """One value and one status for each key, by column."""

    columns: dict[str, list[Any]]
    statuses: dict[str, list[Status]]


class FeastReader(ABC):
    """Reads the features of a `FeatureLookupSpec`; threads may share it, and take turns.

    Opens the store at the first look-up, so that a server starts while the store is not there yet. With
    `require_known`, an entity of which none of the views has a value raises `FeatureNotFound` under any
    policy. What is particular to a store is how it gives the rows of some entity keys.
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
        self._encoders = [KeyEncoder(view.join_keys).encode for view in spec.views]

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
            if view.ttl_seconds is None and all(row is not None and row[2] for row in rows):
                values = zip(*[row[1] for row in rows if row is not None], strict=True)
                for feature, column in zip(view.features, values, strict=True):
                    answer[feature.output] = list(column)
            else:
                answer |= self._filled(view, rows, keys).columns
        return answer or {name: [] for name in self._columns}

    def read(self, keys: Sequence[Mapping[str, Any]]) -> FeatureVectors:
        """The same with a status beside each value."""
        vectors = FeatureVectors({name: [] for name in self._columns}, {name: [] for name in self._columns})
        for view, rows in self._read(keys):
            filled = self._filled(view, rows, keys)
            vectors.columns.update(filled.columns)
            vectors.statuses.update(filled.statuses)
        return vectors

    def encode(self, place: int, key: Mapping[str, Any]) -> bytes:
        """The key of an entity as the view at this place of the specification has it; raises FeatureKeyError."""
        return self._encoders[place](key)

    def rows(self, encoded: Sequence[Sequence[bytes]]) -> list[list[Row | None]]:
        """For each view the rows of its entity keys, in their order; None for what the store does not have.

        Raises `FeatureStoreUnavailable`.
        """
        seconds = self._spec.deadline_ms / 1000
        until = time.monotonic() + seconds
        if not self._turn.acquire(timeout=seconds):
            raise FeatureStoreUnavailable("the online store is busy: look-ups before this one take too long")
        try:
            return self._rows(encoded, until)
        finally:
            self._turn.release()

    @abstractmethod
    def decode_by(self, memo: Callable[[], Memo]) -> None:
        """Has values decoded otherwise than for predictions; before the first look-up."""

    def close(self) -> None:
        """Closes the connection; a later look-up would open a new one."""
        with self._turn:
            self._disconnect()

    @abstractmethod
    def _rows(self, keys: Sequence[Sequence[bytes]], until: float) -> list[list[Row | None]]:
        """For each view the rows of its entity keys, in their order; None for what the store does not have.

        `until` is a moment of the monotonic clock. Raises `FeatureStoreUnavailable`.
        """

    @abstractmethod
    def _disconnect(self) -> None: ...

    def _read(self, keys: Sequence[Mapping[str, Any]]) -> list[tuple[FeatureViewLookup, list[Row | None]]]:
        if not keys:
            return []
        if len(keys) > self._spec.max_keys:
            raise FeatureKeyError("keys", f"at most {self._spec.max_keys} entities at once, got {len(keys)}")
        encoded = [[encode(key) for key in keys] for encode in self._encoders]
        found = self.rows(encoded)
        if self._require_known:
            for key, *rows in zip(keys, *found, strict=True):
                if not any(rows):
                    raise FeatureNotFound(_entity(key, self._spec.views))
        return list(zip(self._spec.views, found, strict=True))

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


class FeastSqliteReader(FeastReader):
    """Over Feast's SQLite file (`store_path`); keeps what it decoded until the store changes."""

    def __init__(
        self,
        spec: FeatureLookupSpec,
        *,
        require_known: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(spec, require_known=require_known, clock=clock)
        self._connection: StoreConnection | None = None
        self._views = tuple(ViewReader(spec.project, view, spec.cache_entities) for view in spec.views)

    def decode_by(self, memo: Callable[[], Memo]) -> None:
        for view in self._views:
            view.decode_by(memo)

    def _rows(self, keys: Sequence[Sequence[bytes]], _until: float) -> list[list[Row | None]]:
        connection = self._connect()
        if connection.begin():
            for view in self._views:
                view.forget()
        return [view.rows(connection, some) for view, some in zip(self._views, keys, strict=True)]

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


class FeastRedisReader(FeastReader):
    """Over Feast's layout in Redis; all views of all entities come in one exchange."""

    def __init__(
        self,
        spec: FeatureLookupSpec,
        address: RedisAddress,
        *,
        require_known: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(spec, require_known=require_known, clock=clock)
        self._link = RedisLink(address)
        self._views = tuple(RedisView(spec.project, view) for view in spec.views)

    def decode_by(self, memo: Callable[[], Memo]) -> None:
        for view in self._views:
            view.decode_by(memo)

    def _rows(self, keys: Sequence[Sequence[bytes]], until: float) -> list[list[Row | None]]:
        return read_views(self._link, self._views, keys, until)

    def _disconnect(self) -> None:
        self._link.close()


def _refuse_missing(
    lookup: FeatureViewLookup, vectors: FeatureVectors, keys: Sequence[Mapping[str, Any]]
) -> None:
    for index, key in enumerate(keys):
        if any(column[index] != "present" for column in vectors.statuses.values()):
            raise FeatureNotFound(_entity(key, (lookup,)))


def _entity(key: Mapping[str, Any], views: Sequence[FeatureViewLookup]) -> dict[str, Any]:
    return {join_key.name: key[join_key.name] for view in views for join_key in view.join_keys}

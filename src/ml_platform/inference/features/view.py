"""One feature view in the online store: the queries, and the decoding of what they give.

Feast keeps one row for each entity and feature: `(entity_key, feature_name, value, event_ts, ...)`.
A plain read therefore costs most in making four Python objects for every row. The usual case, every
asked feature present for every entity, is read with only the value for each row; the key and the time
come with the first and the last feature of an entity, which also proves that the block between them is
whole. Anything else is read again in full.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ml_platform.contracts.features import FeatureViewLookup
from ml_platform.inference.features.connection import StoreConnection
from ml_platform.inference.features.errors import FeatureStoreUnavailable
from ml_platform.inference.features.values import Memo, decode_column

ABSENT: Final = type("Absent", (), {"__repr__": lambda _: "ABSENT", "__slots__": ()})()
"""Stands in a row for a feature that the store does not have for this entity."""

Row = tuple[float | None, tuple[Any, ...], bool]
"""When the entity's values became true (seconds since the epoch, if the view has a ttl), the values, and
whether none of them is `ABSENT`."""

_CHUNK = 512
_MEMO_LIMIT = 8192
_COMPOSITE = ("_LIST", "_SET", "MAP", "JSON", "STRUCT")


class ViewReader:
    """Reads entities of one view through one connection; keeps what it decoded until the store changes."""

    def __init__(self, project: str, lookup: FeatureViewLookup, cache_entities: int) -> None:
        if not lookup.features:
            raise ValueError(f"no features are asked for from {lookup.name!r}")
        self.lookup = lookup
        self.names = tuple(feature.name for feature in lookup.features)
        self._ordered = sorted(set(self.names), key=str.encode)
        self._memos = [Memo(_MEMO_LIMIT) for _ in self._ordered]
        positions = {name: index for index, name in enumerate(self._ordered)}
        self._positions = [positions[name] for name in self.names]
        self._table = quoted(f"{project}_{lookup.name}")
        self._wanted = "(" + ",".join(_literal(name) for name in self._ordered) + ")"
        self._sql: dict[int, str] = {}
        composite = any(feature.type.endswith(_COMPOSITE) for feature in lookup.features)
        self._limit = 0 if composite else cache_entities
        self._kept: dict[bytes, Row | None] = {}

    def decode_by(self, memo: Callable[[], Memo]) -> None:
        """Decodes each feature's values by a memo of another kind."""
        self._memos = [memo() for _ in self._memos]

    def forget(self) -> None:
        """Drops every kept entity: the store has changed."""
        self._kept.clear()

    def rows(self, connection: StoreConnection, keys: Sequence[bytes]) -> list[Row | None]:
        """The row of each key, in their order; None for an entity that the store does not have."""
        kept = self._kept
        try:
            return [kept[key] for key in keys]
        except KeyError:
            pass
        unknown = [key for key in dict.fromkeys(keys) if key not in kept]
        read: dict[bytes, Row | None] = {}
        try:
            for start in range(0, len(unknown), _CHUNK):
                read |= self._read(connection, unknown[start : start + _CHUNK])
        except ValueError as error:
            raise FeatureStoreUnavailable(
                f"the online store holds a damaged value in {self.lookup.name!r}: {error}"
            ) from error
        answer = [read[key] if key in read else kept[key] for key in keys]
        if self._limit and all(memo.shared for memo in self._memos):
            if len(kept) + len(read) > self._limit:
                kept.clear()
            if len(read) <= self._limit:
                kept.update(read)
        return answer

    def _read(self, connection: StoreConnection, keys: list[bytes]) -> dict[bytes, Row | None]:
        size = 1 << (len(keys) - 1).bit_length()
        sql = self._sql.get(size) or self._sql.setdefault(size, self._whole_sql(size))
        found = connection.select(sql, keys + keys[-1:] * (size - len(keys)))
        result: dict[bytes, Row | None] = dict.fromkeys(keys)
        if not found:
            return result
        width = len(self._ordered)
        values, marks, times = zip(*found, strict=True)
        firsts = marks[::width]
        if len(found) % width or firsts != marks[width - 1 :: width] or None in firsts:
            return result | self._read_ragged(connection, keys)
        columns = [decode_column(values[i::width], memo) for i, memo in enumerate(self._memos)]
        ordered = [columns[i] for i in self._positions]
        moments = (
            [self._moment(t) for t in times[::width]] if self.lookup.ttl_seconds else [None] * len(firsts)
        )
        whole = [True] * len(firsts)
        result.update(zip(firsts, zip(moments, zip(*ordered, strict=True), whole, strict=True), strict=True))
        return result

    def _read_ragged(self, connection: StoreConnection, keys: list[bytes]) -> dict[bytes, Row | None]:
        """Entities that lack some of the features, as after a feature was added to a view."""
        holes = ",".join("?" * len(keys))
        found = connection.select(
            f"SELECT entity_key, feature_name, value, event_ts FROM {self._table} "  # noqa: S608 - quoted
            f"WHERE entity_key IN ({holes}) AND +feature_name IN {self._wanted}",
            keys,
        )
        memos = dict(zip(self._ordered, self._memos, strict=True))
        by_key: dict[bytes, dict[str, Any]] = {}
        moments: dict[bytes, float | None] = {}
        for key, name, value, moment in found:
            by_key.setdefault(key, {})[name] = memos[name][value]
            if self.lookup.ttl_seconds:
                moments[key] = self._moment(moment)
        return {
            key: (
                moments.get(key),
                tuple(values.get(name, ABSENT) for name in self.names),
                len(values) == len(self._ordered),
            )
            for key, values in by_key.items()
        }

    def _whole_sql(self, size: int) -> str:
        holes = ",".join("?" * size)
        edge = f"feature_name IN ({_literal(self._ordered[0])},{_literal(self._ordered[-1])})"
        moment = f"CASE WHEN {edge} THEN event_ts END" if self.lookup.ttl_seconds else "NULL"
        return (
            f"SELECT value, CASE WHEN {edge} THEN entity_key END, {moment} FROM {self._table} "  # noqa: S608
            f"WHERE entity_key IN ({holes}) AND +feature_name IN {self._wanted} "
            "ORDER BY entity_key, feature_name"
        )

    def _moment(self, stored: Any) -> float | None:
        """Feast stores naive UTC as if it were local time; this reads it back the way Feast does."""
        if stored is None:
            return None
        try:
            return float(calendar.timegm(time.localtime(int(stored))))
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise ValueError(f"event_ts {stored!r} is no time") from error


def quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _literal(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a feature's name holds a null character")
    return "'" + text.replace("'", "''") + "'"

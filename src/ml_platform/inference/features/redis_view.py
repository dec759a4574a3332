"""Feature views in Feast's Redis layout: the commands, and the decoding of what they give.

Feast keeps one hash for each entity, over all views with these join keys:

    key                 the entity key (serialisation version 3), then the project
    MurmurHash3 of "view:feature", 4 bytes, little endian -> the value as a `Value` message, empty for null
    "_ts:view"                                            -> the moment of the values as a `Timestamp` message
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

from ml_platform.contracts.features import FeatureViewLookup
from ml_platform.inference.features.errors import FeatureStoreUnavailable
from ml_platform.inference.features.redis_link import RedisLink
from ml_platform.inference.features.values import Memo, decode_column, timestamp
from ml_platform.inference.features.view import ABSENT, Row
from ml_platform.kit.murmur import murmur3_32
from ml_platform.kit.redis.protocol import argument

_MEMO_LIMIT = 8192
_ENTITIES_AN_EXCHANGE = 2_000
"""Far beyond a usual request; it bounds what stands in memory on both sides."""


class RedisView:
    """The part of one view that is asked for."""

    def __init__(self, project: str, lookup: FeatureViewLookup) -> None:
        if not lookup.features:
            raise ValueError(f"no features are asked for from {lookup.name!r}")
        self._lookup = lookup
        self._project = project.encode()
        self._timed = lookup.ttl_seconds is not None
        fields = [field_of(lookup.name, feature.name) for feature in lookup.features]
        fields += [time_field(lookup.name)] if self._timed else []
        self._head = b"*%d\r\n" % (2 + len(fields)) + argument(b"HMGET")
        self._tail = b"".join(map(argument, fields))
        self._memos = [Memo(_MEMO_LIMIT) for _ in lookup.features]

    def decode_by(self, memo: Callable[[], Memo]) -> None:
        """Decodes each feature's values by a memo of another kind."""
        self._memos = [memo() for _ in self._memos]

    def commands(self, keys: Sequence[bytes]) -> Iterator[bytes]:
        head, project, tail = self._head, self._project, self._tail
        for key in keys:
            yield b"%b$%d\r\n%b%b\r\n%b" % (head, len(key) + len(project), key, project, tail)

    def rows(self, replies: Sequence[Sequence[bytes | None]]) -> list[Row | None]:
        """One row for each reply; raises ValueError for bytes that are no value."""
        columns: list[tuple[Any, ...]] = list(zip(*replies, strict=True))
        times = columns.pop() if self._timed else ()
        moments = [_moment(raw) for raw in times] if self._timed else repeat(None, len(replies))
        if not any(None in column for column in columns):
            decoded = [decode_column(column, memo) for column, memo in zip(columns, self._memos, strict=True)]
            return list(zip(moments, zip(*decoded, strict=True), repeat(True, len(replies)), strict=True))
        ragged = [
            [ABSENT if raw is None else memo[raw] for raw in column]
            for column, memo in zip(columns, self._memos, strict=True)
        ]
        return [
            self._row(moment, values)
            for moment, values in zip(moments, zip(*ragged, strict=True), strict=True)
        ]

    def damaged(self, error: ValueError) -> FeatureStoreUnavailable:
        return FeatureStoreUnavailable(
            f"the online store holds a damaged value in {self._lookup.name!r}: {error}"
        )

    def _row(self, moment: float | None, values: tuple[Any, ...]) -> Row | None:
        absent = values.count(ABSENT)
        return None if absent == len(values) else (moment, values, not absent)


def read_views(
    link: RedisLink, views: Sequence[RedisView], keys: Sequence[Sequence[bytes]], until: float
) -> list[list[Row | None]]:
    """For each view the rows of its entity keys, all in one round trip."""
    wanted = [list(dict.fromkeys(some)) for some in keys]
    asked = [(place, key) for place, some in enumerate(wanted) for key in some]
    if len(asked) <= _ENTITIES_AN_EXCHANGE:
        data = b"".join(chain.from_iterable(map(RedisView.commands, views, wanted)))
        replies = link.exchange(data, len(asked), until)
    else:
        replies = []
        for start in range(0, len(asked), _ENTITIES_AN_EXCHANGE):
            part = asked[start : start + _ENTITIES_AN_EXCHANGE]
            data = b"".join(chain.from_iterable(views[place].commands((key,)) for place, key in part))
            replies += link.exchange(data, len(part), until)
    result: list[list[Row | None]] = []
    start = 0
    for view, some, unique in zip(views, keys, wanted, strict=True):
        try:
            rows = view.rows(replies[start : start + len(unique)])
        except ValueError as error:
            raise view.damaged(error) from error
        start += len(unique)
        if len(unique) < len(some):
            by_key = dict(zip(unique, rows, strict=True))
            rows = [by_key[key] for key in some]
        result.append(rows)
    return result


def field_of(view: str, feature: str) -> bytes:
    """The field of a hash that holds a feature of a view."""
    return murmur3_32(f"{view}:{feature}".encode()).to_bytes(4, "little")


def time_field(view: str) -> bytes:
    return f"_ts:{view}".encode()


def _moment(raw: bytes | None) -> float | None:
    return timestamp(raw) if raw is not None else None

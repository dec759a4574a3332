"""Writes features into Feast's own Redis layout, many entities at a time, and removes a view's.

One hash for each entity holds all views of its join keys: the entity key and the project name it, the
MurmurHash3 of `view:feature` names a value, `_ts:view` the moment of the view's values. The bytes are those
of Feast's `RedisOnlineStore`, so its client reads them. Columns are encoded at once, values that repeat are
framed once, and thousands of commands go out before their replies are read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import polars as pl

from ml_platform.integrations.feast.encoding import encode_keys, is_key_of, key_prefix, timestamps
from ml_platform.integrations.feast.online import Convert, Progress, encode_column
from ml_platform.integrations.feast.specs import FeatureViewSpec
from ml_platform.kit.errors import UnavailableError
from ml_platform.kit.murmur import murmur3_32
from ml_platform.kit.redis import RedisAddress, RedisConnection, RedisError, command
from ml_platform.kit.redis.protocol import argument

ENTITIES_A_BATCH: Final = 20_000
_ENTITIES_AN_EXCHANGE: Final = 1_000
_KEYS_A_SCAN: Final = b"1000"
_SECONDS: Final = 30.0
_SPECIAL: Final = b"*?[]^\\"


def write_online_redis(
    address: RedisAddress,
    project: str,
    view: FeatureViewSpec,
    latest: pl.DataFrame,
    *,
    convert: Convert,
    progress: Progress | None = None,
) -> int:
    """Upserts the newest row of each entity; returns how many entities.

    One command writes an entity, so a reader sees it whole; a repetition after a crash writes the same again.
    """
    done = 0
    with _connected(address) as exchange:
        for start in range(0, latest.height, ENTITIES_A_BATCH):
            frame = latest.slice(start, ENTITIES_A_BATCH)
            commands = _commands(project, view, frame, convert)
            for first in range(0, len(commands), _ENTITIES_AN_EXCHANGE):
                some = commands[first : first + _ENTITIES_AN_EXCHANGE]
                exchange(b"".join(some), len(some))
            done += frame.height
            if progress is not None:
                progress(done, latest.height)
    return done


def delete_online_redis(address: RedisAddress, project: str, view: FeatureViewSpec) -> int:
    """Removes the view's values from every entity, and entities of which nothing else is left.

    The keys of the whole database are looked through, a thousand at a time.
    """
    prefix, ending = key_prefix(view.entities), project.encode()
    pattern = _escaped(prefix) + b"*" + _escaped(ending)
    cursor, deleted = b"0", 0
    with _connected(address) as exchange:
        while True:
            scan = command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _KEYS_A_SCAN)
            ((cursor, found),) = exchange(scan, 1)
            keys = [
                key for key in found if is_key_of(key, prefix, ending)
            ]  # a project may end as another does
            deleted += _delete(exchange, keys, view)
            if cursor == b"0":
                return deleted


Exchange = Callable[[bytes, int], list[Any]]


def _delete(exchange: Exchange, keys: Sequence[bytes], view: FeatureViewSpec) -> int:
    if not keys:
        return 0
    own = _time_field(view)
    fields = [own, *(_field(view, field.name) for field in view.fields)]
    held = exchange(b"".join(command(b"HKEYS", key) for key in keys), len(keys))
    commands = []
    for key, names in zip(keys, held, strict=True):
        views = {name for name in names if name.startswith(b"_ts:")}
        if own in views:
            commands.append(command(b"DEL", key) if len(views) == 1 else command(b"HDEL", key, *fields))
    exchange(b"".join(commands), len(commands))
    return len(commands)


def _commands(project: str, view: FeatureViewSpec, frame: pl.DataFrame, convert: Convert) -> list[bytes]:
    """One HSET for each row."""
    moments = timestamps(frame[view.source.timestamp_field])
    columns = [_framed(_time_field(view), moments)]
    columns += [
        _framed(_field(view, field.name), encode_column(field, frame[field.name], convert).values)
        for field in view.fields
    ]
    ending = project.encode()
    head = b"*%d\r\n" % (2 + 2 * len(columns)) + argument(b"HSET")
    keys = [head + argument(key + ending) for key in encode_keys(view.entities, frame)]
    return list(map(b"".join, zip(keys, *columns, strict=True)))


def _framed(field: bytes, values: Sequence[bytes]) -> list[bytes]:
    """The field and each value as arguments; values that repeat are framed once."""
    name = argument(field)
    known = {value: name + argument(value) for value in set(values)}
    return list(map(known.__getitem__, values))


def _field(view: FeatureViewSpec, feature: str) -> bytes:
    return murmur3_32(f"{view.name}:{feature}".encode()).to_bytes(4, "little")


def _time_field(view: FeatureViewSpec) -> bytes:
    return f"_ts:{view.name}".encode()


def _escaped(raw: bytes) -> bytes:
    return b"".join(b"\\%c" % byte if byte in _SPECIAL else b"%c" % byte for byte in raw)


@contextmanager
def _connected(address: RedisAddress) -> Iterator[Exchange]:
    connection: RedisConnection | None = None

    def exchange(data: bytes, count: int) -> list[Any]:
        assert connection is not None
        replies = connection.exchange(data, count, time.monotonic() + _SECONDS)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    try:
        connection = RedisConnection(address, time.monotonic() + _SECONDS)
        yield exchange
    except RedisError as error:
        raise UnavailableError(f"the online store ({address}) cannot be used: {error}") from error
    finally:
        if connection is not None:
            connection.close()

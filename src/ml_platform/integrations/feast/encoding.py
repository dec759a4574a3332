"""Columns as the bytes that Feast's online store keeps: entity keys and `Value` messages, a column at a time.

Feast builds one protobuf object for every value. A column, though, has one type, so its tag is known and
what is left is a fixed layout (floats) or a small dictionary (everything that repeats).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from ml_platform.contracts.features import FeatureType, KeyType
from ml_platform.integrations.feast.errors import FeatureSourceError
from ml_platform.integrations.feast.specs import EntitySpec

_KEY_NUMBERS: Final[dict[KeyType, int]] = {
    "BYTES": 1, "STRING": 2, "INT32": 3, "INT64": 4, "UNIX_TIMESTAMP": 8,
}  # fmt: skip
_NARROW: Final = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16)
_WIDE: Final = (*_NARROW, pl.Int64, pl.UInt32)
_ACCEPTED: Final[dict[str, tuple[Any, ...]]] = {
    "DOUBLE": (pl.Float64, pl.Float32), "FLOAT": (pl.Float32, pl.Float64), "INT64": _WIDE, "INT32": _NARROW,
    "STRING": (pl.String, pl.Categorical, pl.Enum), "BYTES": (pl.Binary,), "BOOL": (pl.Boolean,),
}  # fmt: skip


class Encoded(NamedTuple):
    """A column's messages, and the text that Feast keeps beside a scalar."""

    values: list[bytes]
    texts: list[str | None]


def can_encode(kind: FeatureType, dtype: pl.DataType) -> bool:
    """Whether `encode_values` takes this column; what it does not take, Feast itself converts."""
    return isinstance(dtype, _ACCEPTED.get(kind, ()))


def encode_values(kind: FeatureType, column: pl.Series) -> Encoded:
    """Each value as a serialised `Value`; null and NaN are the empty message, as with Feast."""
    if kind in {"DOUBLE", "FLOAT"}:
        return _encode_floats(kind, column)
    if kind == "STRING":
        return _by_dictionary(column.cast(pl.String).to_list(), _encode_text, str)
    if kind == "BYTES":
        return _by_dictionary(column.to_list(), _encode_bytes, _no_text)
    if kind == "BOOL":
        return _by_dictionary(column.to_list(), _encode_bool, str)
    encode = _encode_int64 if kind == "INT64" else _encode_int32
    return _by_dictionary(column.cast(pl.Int64).to_list(), encode, str)


def encode_keys(entities: Sequence[EntitySpec], frame: pl.DataFrame) -> list[bytes]:
    """The entity key (serialisation version 3) of each row; raises `FeatureSourceError` for a null one."""
    ordered = sorted(entities, key=lambda entity: entity.name)
    prefix = key_prefix(entities)
    columns = [_key_parts(entity, frame[entity.name]) for entity in ordered]
    if len(columns) == 1:
        return [prefix + part for part in columns[0]]
    return [prefix + b"".join(row) for row in zip(*columns, strict=True)]


def key_prefix(entities: Sequence[EntitySpec]) -> bytes:
    """What all entity keys of these join keys begin with."""
    ordered = sorted(entities, key=lambda entity: entity.name)
    parts = [struct.pack("<I", len(ordered))]
    for entity in ordered:
        name = entity.name.encode()
        parts += [struct.pack("<II", _KEY_NUMBERS["STRING"], len(name)), name]
    return b"".join(parts)


def is_key_of(raw: bytes, prefix: bytes, ending: bytes) -> bool:
    """Whether these bytes are a whole entity key with this prefix, and then the ending alone."""
    if not raw.startswith(prefix):
        return False
    (count,) = struct.unpack_from("<I", prefix)
    position = len(prefix)
    for _ in range(count):
        if position + 8 > len(raw):
            return False
        position += 8 + struct.unpack_from("<II", raw, position)[1]
    return raw[position:] == ending


def timestamps(column: pl.Series) -> list[bytes]:
    """Each moment as a `google.protobuf.Timestamp` message."""
    known = {micros: _timestamp(micros) for micros in set(column.dt.epoch("us").to_list())}
    return list(map(known.__getitem__, column.dt.epoch("us").to_list()))


def _timestamp(micros: int) -> bytes:
    seconds, rest = divmod(micros, 1_000_000)
    parts = (b"\x08" + _varint(seconds) if seconds else b"", b"\x10" + _varint(rest * 1000) if rest else b"")
    return b"".join(parts)


def _key_parts(entity: EntitySpec, column: pl.Series) -> list[bytes]:
    if column.null_count():
        raise FeatureSourceError.of(
            entity.name,
            f"{column.null_count()} rows have no join key",
            hint="fill or drop them in the dataset",
        )
    number, dtype = _KEY_NUMBERS[entity.type], column.dtype
    if entity.type == "STRING" and isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        raws = [text.encode() for text in column.cast(pl.String).to_list()]
    elif entity.type == "BYTES" and dtype == pl.Binary:
        raws = column.to_list()
    elif entity.type == "UNIX_TIMESTAMP" and isinstance(dtype, pl.Datetime):
        seconds = column.dt.epoch("us").to_list()
        return [struct.pack("<IIq", number, 8, int(micros / 1_000_000)) for micros in seconds]
    elif entity.type in {"INT32", "INT64"} and isinstance(dtype, _WIDE):
        layout, size = ("<IIi", 4) if entity.type == "INT32" else ("<IIq", 8)
        try:
            return [struct.pack(layout, number, size, value) for value in column.to_list()]
        except struct.error:
            raise FeatureSourceError.of(entity.name, "holds integers of more than 32 bits") from None
    else:
        raise FeatureSourceError.of(
            entity.name, f"the join key is declared {entity.type}, the column is {dtype}"
        )
    return [struct.pack("<II", number, len(raw)) + raw for raw in raws]


def _encode_floats(kind: FeatureType, column: pl.Series) -> Encoded:
    wide = kind == "DOUBLE"
    plain = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    with np.errstate(over="ignore"):
        stored = plain if wide else plain.astype("<f4")
    size, tag = (9, 0x29) if wide else (5, 0x35)
    cells = np.empty(len(stored), dtype=[("tag", "u1"), ("value", "<f8" if wide else "<f4")])
    cells["tag"], cells["value"] = tag, stored
    buffer = cells.tobytes()
    values = [buffer[start : start + size] for start in range(0, len(buffer), size)]
    texts: list[str | None] = list(map(str, stored.astype("<f8").tolist()))
    for index in np.flatnonzero(np.isnan(plain)).tolist():
        values[index], texts[index] = b"", None
    return Encoded(values, texts)


def _by_dictionary(
    items: list[Any], encode: Callable[[Any], bytes], text: Callable[[Any], str | None]
) -> Encoded:
    distinct = set(items)
    distinct.discard(None)
    values: dict[Any, bytes] = {item: encode(item) for item in distinct}
    texts: dict[Any, str | None] = {item: text(item) for item in distinct}
    values[None], texts[None] = b"", None
    return Encoded(list(map(values.__getitem__, items)), list(map(texts.__getitem__, items)))


def _varint(number: int) -> bytes:
    out = bytearray()
    number &= 0xFFFFFFFFFFFFFFFF
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _encode_text(text: str) -> bytes:
    raw = text.encode()
    return b"\x12" + _varint(len(raw)) + raw


def _encode_bytes(raw: bytes) -> bytes:
    return b"\x0a" + _varint(len(raw)) + raw


def _encode_bool(value: bool) -> bytes:
    return b"\x38\x01" if value else b"\x38\x00"


def _encode_int32(value: int) -> bytes:
    return b"\x18" + _varint(value)


def _encode_int64(value: int) -> bytes:
    return b"\x20" + _varint(value)


def _no_text(_: object) -> None:
    return None

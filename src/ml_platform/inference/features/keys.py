"""Entity keys as Feast's online stores write them (entity key serialisation, version 3).

    <I number of keys, then for each key in the order of their names: <I STRING, <I length, name;
    then for each value in the same order: <I value type, <I length, value

Feast sorts by name, and Python's order of `str` (code points) is the order of their UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_platform.contracts.features import JoinKey, KeyType
from ml_platform.inference.features.errors import FeatureKeyError

_TYPE_NUMBERS: dict[KeyType, int] = {"BYTES": 1, "STRING": 2, "INT32": 3, "INT64": 4, "UNIX_TIMESTAMP": 8}
_HEADER = struct.Struct("<II")
_INT32 = struct.Struct("<IIi")
_INT64 = struct.Struct("<IIq")
MAX_KEY_BYTES = 4096


class KeyEncoder:
    """Turns join keys into the bytes under which an online store keeps an entity."""

    def __init__(self, join_keys: Sequence[JoinKey]) -> None:
        if not join_keys:
            raise ValueError("a feature view that is looked up needs a join key")
        ordered = sorted(join_keys, key=lambda key: key.name)
        if len({key.name for key in ordered}) != len(ordered):
            raise ValueError("join keys must have different names")
        parts = [struct.pack("<I", len(ordered))]
        for key in ordered:
            name = key.name.encode()
            parts += [_HEADER.pack(_TYPE_NUMBERS["STRING"], len(name)), name]
        self._prefix = b"".join(parts)
        self._values = [(key.name, _encoder_of(key)) for key in ordered]

    def encode(self, key: Mapping[str, Any]) -> bytes:
        """The entity key; raises `FeatureKeyError` that names the column and what was expected."""
        encoded = self._prefix
        for name, encode in self._values:
            if name not in key:
                raise FeatureKeyError(name, "the join key is missing")
            encoded += encode(key[name])
        return encoded


def _encoder_of(key: JoinKey) -> Callable[[Any], bytes]:
    name, number = key.name, _TYPE_NUMBERS[key.type]

    def text(value: Any) -> bytes:
        if type(value) is not str:
            raise FeatureKeyError(name, f"expected a string, got {_kind(value)}")
        try:
            raw = value.encode()
        except UnicodeEncodeError:
            raise FeatureKeyError(name, "expected valid Unicode") from None
        return blob(raw)

    def blob(value: Any) -> bytes:
        if type(value) is not bytes:
            raise FeatureKeyError(name, f"expected bytes, got {_kind(value)}")
        if len(value) > MAX_KEY_BYTES:
            raise FeatureKeyError(name, f"expected at most {MAX_KEY_BYTES} bytes, got {len(value)}")
        return _HEADER.pack(number, len(value)) + value

    def integer(value: Any) -> bytes:
        if type(value) is not int:
            raise FeatureKeyError(name, f"expected an integer, got {_kind(value)}")
        try:
            return layout.pack(number, size, value)
        except struct.error:
            raise FeatureKeyError(name, f"expected an integer of {size * 8} bits") from None

    layout, size = (_INT32, 4) if key.type == "INT32" else (_INT64, 8)
    return {"STRING": text, "BYTES": blob}.get(key.type, integer)


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def join_keys_of(entity_key: bytes) -> tuple[JoinKey, ...]:
    """The names and types of the join keys in a stored entity key; raises `ValueError` when it is none."""
    types = {number: name for name, number in _TYPE_NUMBERS.items()}
    try:
        (count,) = struct.unpack_from("<I", entity_key, 0)
        position, names, kinds = 4, [], []
        for _ in range(min(count, 64)):
            _, length = _HEADER.unpack_from(entity_key, position)
            position += _HEADER.size
            names.append(entity_key[position : position + length].decode())
            position += length
        for _ in names:
            number, length = _HEADER.unpack_from(entity_key, position)
            position += _HEADER.size + length
            kinds.append(types[number])
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise ValueError("the entity key is not of serialisation version 3") from error
    if not names or position != len(entity_key):
        raise ValueError("the entity key is not of serialisation version 3")
    return tuple(JoinKey(name=name, type=kind) for name, kind in zip(names, kinds, strict=True))

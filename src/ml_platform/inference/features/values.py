"""Reads `feast.types.Value` messages without the feature store's library.

The message is a protobuf `oneof`; an empty one is null. The Python value of each kind is the one that
Feast's own client gives (`feast_value_type_to_python_type`): lists as `list`, sets as `set`, instants as
aware `datetime` in UTC, JSON parsed, UUIDs and decimals as such. Bytes that are no such message raise
`ValueError`, whatever is wrong with them.
"""

from __future__ import annotations

import decimal
import json
import re
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

Raw = bytes | int
"""A field's payload: a varint as `int`, everything else as bytes."""

_NULL_TIMESTAMP = -(1 << 63)
_MAX_DEPTH = 64
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{2}):?(\d{2})")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def decode(raw: bytes) -> Any:
    """The Python value of one serialised `Value`."""
    if not raw:
        return None
    tag = raw[0]
    if tag == 0x29 and len(raw) == 9:
        return _DOUBLE.unpack_from(raw, 1)[0]
    if tag == 0x12 and len(raw) > 1 and raw[1] == len(raw) - 2 < 128:
        return raw[2:].decode()
    if tag in {0x18, 0x20} and len(raw) == 2 and raw[1] < 128:
        return raw[1]
    try:
        return _value(raw, 0)
    except (
        OverflowError,
        OSError,
        decimal.InvalidOperation,
        TypeError,
        RecursionError,
        struct.error,
    ) as error:
        raise ValueError(f"the stored value cannot be read: {error}") from error


def timestamp(raw: bytes) -> float:
    """A `google.protobuf.Timestamp` message as seconds since the epoch; raises ValueError."""
    seconds = nanos = 0
    for number, payload, _ in _fields(raw):
        if number == 1:
            seconds = _int64(payload)
        elif number == 2:
            nanos = _int32(payload)
    return seconds + nanos / 1_000_000_000


class Memo(dict[bytes, Any]):
    """Decoded values by their bytes; most columns hold few different values.

    Only immutable values are kept, so that no caller can change another's answer. `shared` turns false
    when a value of another kind was met.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self.shared = True

    def __missing__(self, raw: bytes) -> Any:
        value = decode(raw)
        if isinstance(value, (list, set, dict)):
            self.shared = False
        elif len(self) < self._limit:
            self[raw] = value
        return value


def decode_column(raws: Sequence[bytes], memo: Memo) -> list[Any]:
    """Many values of one feature; doubles, which seldom repeat, are unpacked in one call."""
    if raws and raws[0][:1] == b"\x29" and set(map(len, raws)) == {9}:
        joined = b"".join(raws)
        if joined[::9] == b"\x29" * len(raws):
            return list(struct.unpack("<" + "xd" * len(raws), joined))
    return list(map(memo.__getitem__, raws))


def _fields(raw: bytes) -> Iterator[tuple[int, Raw, int]]:
    """Field number, payload and wire type of each field of a message."""
    position, end = 0, len(raw)
    while position < end:
        tag, position = _varint(raw, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field number of 0")
        payload: Raw
        if wire == _VARINT:
            payload, position = _varint(raw, position)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(wire)
            if size is None:
                if wire != _BYTES:
                    raise ValueError(f"wire type {wire}")
                size, position = _varint(raw, position)
            if position + size > end:
                raise ValueError("the message is cut short")
            payload = raw[position : position + size]
            position += size
        yield number, payload, wire


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while shift < 70:
        if position >= len(raw):
            raise ValueError("the message is cut short")
        byte = raw[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
    raise ValueError("a varint of more than ten bytes")


def _number(payload: Any) -> int:
    if type(payload) is not int:
        raise ValueError("bytes where a number was expected")
    return payload


def _int64(payload: Any) -> int:
    number = _number(payload)
    return number - (1 << 64) if number >= 1 << 63 else number


def _int32(payload: Any) -> int:
    number = _number(payload) & 0xFFFFFFFF
    return number - (1 << 32) if number >= 1 << 31 else number


def _bool(payload: Any) -> bool:
    return bool(_number(payload))


def _float(payload: Any) -> float:
    return float(_FLOAT.unpack(_bytes(payload))[0])


def _double(payload: Any) -> float:
    return float(_DOUBLE.unpack(_bytes(payload))[0])


def _bytes(payload: Any) -> bytes:
    if type(payload) is not bytes:
        raise ValueError("a number where bytes were expected")
    return payload


def _text(payload: Any) -> str:
    return _bytes(payload).decode()


def _instant(payload: Any) -> datetime | None:
    seconds = _int64(payload)
    return None if seconds == _NULL_TIMESTAMP else datetime.fromtimestamp(seconds, tz=UTC)


def _uuid(payload: Any) -> uuid.UUID:
    return uuid.UUID(_text(payload))


def _decimal(payload: Any) -> decimal.Decimal:
    return decimal.Decimal(_text(payload))


def _json(payload: Any) -> Any:
    text = _text(payload)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


_Scalar = Callable[[Any], Any]
_WIRE_OF: dict[_Scalar, int] = {
    _int64: _VARINT, _int32: _VARINT, _bool: _VARINT, _instant: _VARINT, _float: _FIXED32, _double: _FIXED64,
    _bytes: _BYTES, _text: _BYTES, _uuid: _BYTES, _decimal: _BYTES, _json: _BYTES,
}  # fmt: skip
_SCALARS: dict[int, _Scalar] = {
    1: _bytes, 2: _text, 3: _int32, 4: _int64, 5: _double, 6: _float, 7: _bool, 8: _instant, 19: _int32,
    32: _json, 36: _uuid, 37: _uuid, 44: _decimal,
}  # fmt: skip
_LISTS: dict[int, _Scalar] = {
    11: _bytes, 12: _text, 13: _int32, 14: _int64, 15: _double, 16: _float, 17: _bool, 18: _instant,
    33: _json, 38: _uuid, 39: _uuid, 45: _decimal,
}  # fmt: skip
_SETS: dict[int, _Scalar] = {
    22: _bytes, 23: _text, 24: _int32, 25: _int64, 26: _double, 27: _float, 28: _bool, 29: _instant,
    40: _uuid, 41: _uuid, 46: _decimal,
}  # fmt: skip
_MAP_KEYS: dict[int, _Scalar] = {
    1: _int32, 2: _int64, 3: _float, 4: _double, 5: _bool, 6: _instant, 7: _bytes, 8: _uuid,
    9: _uuid, 10: _decimal,
}  # fmt: skip


def _value(raw: bytes, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("values nested too deeply")
    result: Any = None
    for number, payload, wire in _fields(raw):
        if (scalar := _SCALARS.get(number)) is not None:
            _expect(wire, _WIRE_OF[scalar])
            result = scalar(payload)
        elif number in _LISTS or number in _SETS or number in _MESSAGES:
            _expect(wire, _BYTES)
            result = _composite(number, _bytes(payload), depth)
    return result


def _composite(number: int, body: bytes, depth: int) -> Any:
    if number in _LISTS:
        return _repeated(body, _LISTS[number])
    if number in _SETS:
        return set(_repeated(body, _SETS[number]))
    return _MESSAGES[number](body, depth + 1)


def _expect(wire: int, expected: int) -> None:
    if wire != expected:
        raise ValueError(f"wire type {wire} where {expected} was expected")


def _repeated(body: bytes, scalar: _Scalar) -> list[Any]:
    """A `repeated` field, packed or not: a reader of protobuf takes both."""
    expected, items = _WIRE_OF[scalar], []
    for number, payload, wire in _fields(body):
        if number != 1:
            continue
        if wire == expected:
            items.append(scalar(payload))
            continue
        _expect(wire, _BYTES)
        packed = _bytes(payload)
        if expected == _VARINT:
            position = 0
            while position < len(packed):
                one, position = _varint(packed, position)
                items.append(scalar(one))
        else:
            size = 8 if expected == _FIXED64 else 4
            items += [scalar(packed[start : start + size]) for start in range(0, len(packed), size)]
    return items


def _messages(body: bytes) -> Iterator[bytes]:
    for number, payload, wire in _fields(body):
        if number == 1:
            _expect(wire, _BYTES)
            yield _bytes(payload)


def _map(body: bytes, depth: int) -> dict[str, Any]:
    return _read_map(body, depth, _value)


def _read_map(body: bytes, depth: int, read: Callable[[bytes, int], Any]) -> dict[str, Any]:
    """A map whose values are read as `read` does; an entry without a value holds null."""
    result: dict[str, Any] = {}
    for entry in _messages(body):
        key, value = "", None
        for number, payload, _ in _fields(entry):
            if number == 1:
                key = _text(payload)
            elif number == 2:
                value = read(_bytes(payload), depth)
        result[key] = value
    return result


def _scalar_map(body: bytes, depth: int) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for entry in _messages(body):
        key, value = None, None
        for number, payload, _ in _fields(entry):
            if number == 1:
                for kind, inner, _wire in _fields(_bytes(payload)):
                    key = _MAP_KEYS[kind](inner) if kind in _MAP_KEYS else key
            elif number == 2:
                value = _value(_bytes(payload), depth)
        result[key] = value
    return result


def _map_list(body: bytes, depth: int) -> list[dict[str, Any]]:
    return [_map(entry, depth) for entry in _messages(body)]


def _nested(body: bytes, depth: int) -> list[Any]:
    return [_value(entry, depth) for entry in _messages(body)]


def _zoned(body: bytes, _depth: int) -> datetime | None:
    seconds, zone = 0, ""
    for number, payload, _ in _fields(body):
        if number == 1:
            seconds = _int64(payload)
        elif number == 2:
            zone = _text(payload)
    return None if seconds == _NULL_TIMESTAMP else datetime.fromtimestamp(seconds, tz=_zone(zone))


def _zone(name: str) -> timezone | ZoneInfo:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    offset = _OFFSET.fullmatch(name.strip())
    if offset is None:
        return UTC
    delta = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return timezone(-delta if offset[1] == "-" else delta)


_MESSAGES: dict[int, Callable[[bytes, int], Any]] = {
    20: _map, 21: _map_list, 34: _map, 35: _map_list, 42: _nested, 43: _nested, 47: _scalar_map, 48: _zoned,
}  # fmt: skip

"""Stored `feast.types.Value` messages as the JSON values that Feast's own feature server answers.

Not the Python values that predictions are made of (`features.values`): there a moment is a `datetime` and a
set is a set; here a moment is its seconds, bytes are base64, sets keep their order, JSON stays the text that
it is, and what is not finite is a word, as protobuf's JSON mapping has it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any, Final

from ml_platform.inference.features.values import _SCALARS as _PLAIN
from ml_platform.inference.features.values import (
    Memo,
    Raw,
    _bytes,
    _fields,
    _int64,
    _messages,
    _read_map,
    _repeated,
    _text,
)
from ml_platform.inference.features.values import _zoned as _moment

_MAX_DEPTH: Final = 64


def native(raw: bytes) -> Any:
    """The JSON value of a serialised `Value`; raises ValueError for bytes that are none."""
    try:
        return _value(raw, 0)
    except (OverflowError, OSError, TypeError, RecursionError) as error:
        raise ValueError(f"the stored value cannot be read: {error}") from error


def finite(number: float) -> float | str:
    """The number, or the word for one that JSON does not have."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


class NativeMemo(Memo):
    """JSON values by the bytes of their messages; lists and objects are made anew each time."""

    def __missing__(self, raw: bytes) -> Any:
        value = native(raw)
        if isinstance(value, (list, dict)):
            self.shared = False
        elif len(self) < self._limit:
            self[raw] = value
        return value


def _value(raw: bytes, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("values nested too deeply")
    result: Any = None
    for number, payload, _ in _fields(raw):
        if (scalar := _SCALARS.get(number)) is not None:
            result = _shown(scalar(payload))
        elif (item := _REPEATED.get(number)) is not None:
            result = [_shown(one) for one in _repeated(_bytes(payload), item)]
        elif (composite := _COMPOSITES.get(number)) is not None:
            result = composite(_bytes(payload), depth + 1)
    return result


def _shown(value: Any) -> Any:
    if type(value) is float:
        return finite(value)
    return base64.b64encode(value).decode("ascii") if type(value) is bytes else value


def _map(body: bytes, depth: int) -> dict[str, Any]:
    return _read_map(body, depth, _value)


def _maps(body: bytes, depth: int) -> list[dict[str, Any]]:
    return [_map(entry, depth) for entry in _messages(body)]


def _nested(body: bytes, depth: int) -> list[Any]:
    return [_value(entry, depth) for entry in _messages(body)]


def _zoned(body: bytes, depth: int) -> str | None:
    moment = _moment(body, depth)
    return None if moment is None else moment.isoformat()


_Scalar = Callable[[Raw], Any]
_TEXTS: Final = dict.fromkeys((32, 36, 37, 44), _text)
_SCALARS: Final[dict[int, _Scalar]] = {**_PLAIN, 8: _int64, **_TEXTS, 19: lambda _: None}
_REPEATED: Final[dict[int, _Scalar]] = {
    **{base + offset: _PLAIN[offset] for base in (10, 21) for offset in range(1, 8)},
    **dict.fromkeys((18, 29), _int64),
    **dict.fromkeys((33, 38, 39, 40, 41, 45, 46), _text),
}
"""Lists are numbered from 11, sets from 22, in the order of the scalars."""

_COMPOSITES: Final[dict[int, Callable[[bytes, int], Any]]] = {
    20: _map, 21: _maps, 34: _map, 35: _maps, 42: _nested, 43: _nested, 48: _zoned,
    47: lambda _body, _depth: None,  # as Feast's server answers maps with keys of any kind
}  # fmt: skip

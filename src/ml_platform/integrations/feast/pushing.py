"""Rows that came as JSON, checked against a feature view, as the table that a materialisation would write.

Nothing is guessed: a number is no text, a text is no number, and what does not fit is named by its column
and row. Times are those of Feast's clients: ISO 8601, without a zone UTC.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import polars as pl

from ml_platform.integrations.feast.encoding import can_encode
from ml_platform.integrations.feast.errors import FeatureSourceError
from ml_platform.integrations.feast.online import Convert, encode_column, latest_rows
from ml_platform.integrations.feast.sources import UTC_MICROS
from ml_platform.integrations.feast.specs import FeatureViewSpec
from ml_platform.kit.errors import TooLargeError

MOST_ROWS: Final = 10_000
"""Fewer than the store's writer takes at once, so that SQLite has all of them or none."""

_TIME, _CREATED = (
    "event_timestamp",
    "created",
)  # what Feast's remote client calls them, whatever the view does
_FIRST, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_LARGEST_FLOAT: Final = 3.4028234663852886e38


class _WrongError(ValueError):
    """A value that does not fit, with what was expected."""


class _Kind(NamedTuple):
    dtype: pl.DataType
    take: Callable[[Any], Any]


def rows_of(view: FeatureViewSpec, columns: Mapping[str, Sequence[Any]], convert: Convert) -> pl.DataFrame:
    """The newest row of each entity; raises `FeatureSourceError` for what does not fit, `TooLargeError`."""
    moment = view.source.timestamp_field
    kinds: dict[str, str] = {entity.name: entity.type for entity in view.entities}
    kinds |= {field.name: field.type for field in view.fields}
    given = dict(columns)
    if moment not in given and _TIME in given and _TIME not in kinds:
        given[moment] = given.pop(_TIME)
    names = [*kinds, moment]
    _check_shape(names, given)
    required = {moment, *view.join_keys}
    frame = pl.DataFrame(
        [_column(name, kinds.get(name, "UNIX_TIMESTAMP"), given[name], name in required) for name in names]
    )
    for field in view.fields:  # what only Feast can convert is tried before anything is written
        if not can_encode(field.type, frame[field.name].dtype):
            encode_column(field, frame[field.name], convert)
    return latest_rows(frame.lazy(), view, _FIRST, _END)


def _check_shape(names: Sequence[str], given: Mapping[str, Sequence[Any]]) -> None:
    for name in names:
        if name not in given:
            raise FeatureSourceError.of(
                name, "the column is missing", hint=f"needed: {', '.join(names[:50])}"
            )
    for name in given:
        if name not in names and name != _CREATED:
            raise FeatureSourceError.of(
                name[:200], "the feature view has no such column", hint=f"it has: {', '.join(names[:50])}"
            )
    rows = len(given[names[0]])
    for name, values in given.items():
        if len(values) != rows:
            raise FeatureSourceError.of(
                name[:200],
                f"holds {len(values)} values, {names[0]!r} holds {rows}: columns must be equally long",
            )
    if rows == 0:
        raise FeatureSourceError.of(names[0], "there are no rows")
    if rows > MOST_ROWS:
        raise TooLargeError(
            f"at most {MOST_ROWS} rows at once, got {rows}", hint="push them in several parts"
        )


def _column(name: str, kind: str, values: Sequence[Any], required: bool) -> pl.Series:
    known = _KINDS.get(kind)
    if known is None:
        raise FeatureSourceError.of(
            name, f"features of type {kind} cannot be pushed", hint="materialise them from a dataset"
        )
    taken = []
    for place, value in enumerate(values):
        if value is None and required:
            raise FeatureSourceError.of(name, f"row {place}: must not be null")
        try:
            taken.append(None if value is None else known.take(value))
        except _WrongError as error:
            raise FeatureSourceError.of(name, f"row {place}: expected {error}") from None
    return pl.Series(name, taken, dtype=known.dtype)


def _integer(bits: int) -> Callable[[Any], int]:
    limit = 2 ** (bits - 1)

    def take(value: Any) -> int:
        if type(value) is not int or not -limit <= value < limit:
            raise _WrongError(f"a whole number of at most {bits} bits")
        return value

    return take


def _double(value: Any) -> float:
    if type(value) not in (int, float):
        raise _WrongError("a number")
    try:
        number = float(value)
    except OverflowError:
        raise _WrongError("a number that fits 64 bits") from None
    if not math.isfinite(number):
        raise _WrongError("a number that is neither NaN nor infinite (null for none)")
    return number


def _float(value: Any) -> float:
    number = _double(value)
    if abs(number) > _LARGEST_FLOAT:
        raise _WrongError("a number that fits 32 bits")
    return number


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _WrongError("text")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _WrongError("true or false")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise _WrongError("bytes in base64") from None


def _moment(value: Any) -> datetime:
    """ISO 8601, or seconds, as Feast's remote client sends features that are moments."""
    try:
        if type(value) is int:
            found = datetime.fromtimestamp(value, tz=UTC)
        else:
            read = datetime.fromisoformat(value)
            found = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise _WrongError("a time in ISO 8601, such as 2026-03-01T12:30:15Z") from None
    if not _FIRST <= found < _END:
        raise _WrongError("a time from 1970 to 2199")
    return found


def _list_of(take: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def taken(value: Any) -> list[Any]:
        if type(value) is not list:
            raise _WrongError("a list")
        return [take(item) for item in value]

    return taken


_SCALARS: Final[dict[str, _Kind]] = {
    "BOOL": _Kind(pl.Boolean(), _bool),
    "DOUBLE": _Kind(pl.Float64(), _double),
    "FLOAT": _Kind(pl.Float32(), _float),
    "INT32": _Kind(pl.Int32(), _integer(32)),
    "INT64": _Kind(pl.Int64(), _integer(64)),
    "STRING": _Kind(pl.String(), _text),
}
_KINDS: Final[dict[str, _Kind]] = {
    **_SCALARS,
    "BYTES": _Kind(pl.Binary(), _bytes),
    "UNIX_TIMESTAMP": _Kind(UTC_MICROS, _moment),
    **{f"{name}_LIST": _Kind(pl.List(kind.dtype), _list_of(kind.take)) for name, kind in _SCALARS.items()},
}

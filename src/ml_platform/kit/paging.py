"""Cursor paging by a sortable key: flat in depth, stable under inserts."""

import base64
import binascii
import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Query

from ml_platform.kit.errors import BadInputError

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items a page")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before")]


def encode_cursor(key: Any) -> str:
    """An opaque cursor that stands behind the row with this key."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> Any:
    """The key in a cursor; anything that we did not make is a 422 that names the field."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key = json.loads(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise BadInputError.of("cursor", "is not a cursor that this API gave") from None
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise BadInputError.of("cursor", "is not a cursor that this API gave")
    return key


def text_cursor(cursor: str) -> str:
    """A cursor over a text key."""
    key = decode_cursor(cursor)
    if not isinstance(key, str) or not _storable(key):
        raise BadInputError.of("cursor", "is not a cursor that this API gave")
    return key


def _storable(text: str) -> bool:
    """Whether a database can be asked for it: neither NUL nor lone surrogates."""
    return not any(char == "\x00" or "\ud800" <= char <= "\udfff" for char in text)


def number_cursor(cursor: str) -> int:
    """A cursor over an integer key."""
    key = decode_cursor(cursor)
    if not isinstance(key, int) or not -(2**62) < key < 2**62:
        raise BadInputError.of("cursor", "is not a cursor that this API gave")
    return key


Row = TypeVar("Row")


def cut(rows: list[Row], limit: int, key: Callable[[Row], str | int]) -> tuple[list[Row], str | None]:
    """Cuts `limit + 1` fetched rows to a page and the cursor of the next (None on the last)."""
    if len(rows) <= limit:
        return rows, None
    kept = rows[:limit]
    return kept, encode_cursor(key(kept[-1]))

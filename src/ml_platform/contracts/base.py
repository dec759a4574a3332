"""The two kinds of wire model, and the page in which every list arrives."""

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

T = TypeVar("T")

SLUG_PATTERN = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"
Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN, min_length=1, max_length=63)]
"""A name that is also part of URLs, paths and Kubernetes objects."""


def _printable(text: str) -> str:
    if any(ord(c) < 32 and c not in "\t\n" for c in text) or "\x7f" in text:
        msg = "must not hold control characters"
        raise ValueError(msg)
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        msg = "must be valid Unicode"
        raise ValueError(msg)
    return text


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True),
    AfterValidator(_printable),
]
Moment = Annotated[
    AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))
]
"""A time with its zone, within what every clock and database can hold."""
Text = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_printable)]


def _plain_json(value: Any, path: str = "", depth: int = 0) -> Any:
    """Bounds what is free in form; a message names the place within it."""
    fault = "must not nest deeper than 20 levels" if depth > 20 else _unplain(value)
    if fault is not None:
        raise ValueError(f"{path[:200]} {fault}".strip())
    if isinstance(value, dict):
        for key, item in value.items():
            _printable(str(key))
            _plain_json(item, f"{path}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _plain_json(item, f"{path}[{number}]", depth + 1)
    return value


def _unplain(value: Any) -> str | None:
    """Why one value cannot be taken, whatever it holds; None when it can."""
    if isinstance(value, str):
        _printable(value)
    elif isinstance(value, float) and not math.isfinite(value):
        return "must not be NaN or Infinity"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "must not be an integer beyond 64 bits"
    elif isinstance(value, dict) and len(value) > 1_000:
        return "must not hold more than 1,000 keys in one object"
    elif isinstance(value, list) and len(value) > 100_000:
        return "must not hold more than 100,000 items in one list"
    return None


JsonList = Annotated[list[Any], AfterValidator(_plain_json)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_plain_json)]
"""A free-form JSON object, bounded in depth and size, without NaN, Infinity or control characters."""


class RequestModel(BaseModel):
    """What callers send: unknown fields are refused, numbers are finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=100_000)


class ResponseModel(BaseModel):
    """What callers receive; an older client ignores fields that it does not know."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=(), from_attributes=True)


class Page(ResponseModel, Generic[T]):
    """One page of a list; `next_cursor` is null on the last."""

    items: list[T]
    next_cursor: str | None = None


class Timestamped(ResponseModel):
    created_at: datetime = Field(description="UTC")

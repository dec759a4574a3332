"""The two kinds of wire model, and the page in which every list arrives."""

import math
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

T = TypeVar("T")

Slug = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$", min_length=1, max_length=63)
]
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
Text = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_printable)]


def _plain_json(value: Any, depth: int = 0) -> Any:
    if depth > 20:
        msg = "must not nest deeper than 20 levels"
        raise ValueError(msg)
    if isinstance(value, dict):
        _bounded(len(value), 1_000, "keys in one object")
        for key, item in value.items():
            _printable(str(key))
            _plain_json(item, depth + 1)
    elif isinstance(value, list):
        _bounded(len(value), 100_000, "items in one list")
        for item in value:
            _plain_json(item, depth + 1)
    else:
        _plain_scalar(value)
    return value


def _plain_scalar(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        msg = "must not hold NaN or Infinity"
        raise ValueError(msg)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        msg = "must not hold integers beyond 64 bits"
        raise ValueError(msg)
    if isinstance(value, str):
        _printable(value)


def _bounded(size: int, most: int, what: str) -> None:
    if size > most:
        msg = f"must not hold more than {most:,} {what}"
        raise ValueError(msg)


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

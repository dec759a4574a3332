"""JSON without NaN or Infinity, and a canonical form for digests."""

import hashlib
import json
import math
from typing import Any


def dumps(value: Any) -> str:
    """Compact strict JSON; raises ValueError on NaN and Infinity."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False, default=str)


def canonical(value: Any) -> bytes:
    """The one byte form of a value: sorted keys, no spaces, UTF-8 (the subset of RFC 8785 that we need)."""
    return json.dumps(
        value, allow_nan=False, separators=(",", ":"), ensure_ascii=False, sort_keys=True, default=str
    ).encode()


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()


def finite(value: Any) -> Any:
    """The same value with every NaN or Infinity replaced by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value

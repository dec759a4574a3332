"""What a deployment does while its online feature store is slow or down: declared, never guessed.

The control plane checks a policy against the model's signature before it deploys, and the inference server
checks it again before it serves; both with `check_policy`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from ml_platform.contracts.bundles import Column, FeatureRequest

OnStoreFailure = Literal["fail", "default", "last_known"]
"""Refuse with 503; take the declared defaults; take the entity's values as they were last read."""

DEFAULT_DEADLINE_MS: Final = 50.0
MAX_DEADLINE_MS: Final = 10_000.0
DEFAULT_MAX_AGE_SECONDS: Final = 3600.0
MAX_TEXT: Final = 1000

Value = bool | int | float | str | None

_INTEGERS: Final = {"integer": 31, "long": 63}
_FLOAT32_MAX: Final = 3.4028234663852886e38


class FeaturePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`deadline_ms` is how long a request waits for its features, whatever else waits.

    `defaults` holds a value for every column that is looked up, and is for "default" alone; null only where
    the signature lets the column be missing. "last_known" takes no values older than
    `last_known_max_age_seconds`, and fails for entities whose values were never read.
    """

    on_store_failure: OnStoreFailure = "fail"
    deadline_ms: float = DEFAULT_DEADLINE_MS
    defaults: dict[str, Value] = {}
    last_known_max_age_seconds: float = DEFAULT_MAX_AGE_SECONDS


def check_policy(policy: FeaturePolicy, inputs: tuple[Column, ...], features: FeatureRequest | None) -> None:
    """Whether a policy fits a model.

    Raises:
        ValueError: naming the field and what was expected.
    """
    if features is None:
        raise ValueError("features: the model declares no features, so there is nothing to look up")
    if not 1 <= policy.deadline_ms <= MAX_DEADLINE_MS:
        raise ValueError(f"features.deadline_ms: between 1 and {MAX_DEADLINE_MS:g}")
    if not 0 < policy.last_known_max_age_seconds < math.inf:
        raise ValueError("features.last_known_max_age_seconds: must be positive")
    if policy.on_store_failure != "default":
        if policy.defaults:
            raise ValueError("features.defaults: only for on_store_failure 'default'")
        return
    columns = {column.name: column for column in inputs if column.name in features.columns}
    unknown = sorted(set(policy.defaults) - set(columns))
    if unknown:
        raise ValueError(f"features.defaults.{unknown[0]}: no column of that name is looked up")
    missing = [name for name in columns if name not in policy.defaults]
    if missing:
        raise ValueError(f"features.defaults.{missing[0]}: missing; every looked-up column needs a default")
    for name, value in policy.defaults.items():
        typed_default(columns[name], value)


def typed_defaults(policy: FeaturePolicy, inputs: tuple[Column, ...]) -> Mapping[str, Any]:
    """The defaults as a row holds them; raises ValueError as `check_policy` does."""
    columns = {column.name: column for column in inputs}
    return {name: typed_default(columns[name], value) for name, value in policy.defaults.items()}


def typed_default(column: Column, value: Value) -> Any:
    """A default as a value of its column; raises ValueError when it is none."""
    where, kind = f"features.defaults.{column.name}", column.type
    if value is None:
        if column.required:
            raise ValueError(f"{where}: null, and the signature requires the column")
        return None
    if kind == "boolean" and isinstance(value, bool):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in _INTEGERS and number and isinstance(value, int):
        if -(1 << _INTEGERS[kind]) <= value < 1 << _INTEGERS[kind]:
            return value
        raise ValueError(f"{where}: {value} does not fit the type {kind}")
    if kind in ("float", "double") and number:
        return _finite(where, kind, value)
    if kind == "string" and isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    if kind == "datetime" and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{where}: expected a time as ISO 8601 writes it") from None
    raise ValueError(f"{where}: expected {kind}, got {type(value).__name__}")


def _finite(where: str, kind: str, value: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or (kind == "float" and abs(number) > _FLOAT32_MAX):
        raise ValueError(f"{where}: the number does not fit the type {kind}")
    return number

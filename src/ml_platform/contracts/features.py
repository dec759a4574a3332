"""What the inference plane needs to look features up online, as plain data that travels in a snapshot.

The control plane writes a `FeatureLookupSpec` when a revision is built; the inference server reads it
and never asks the registry of the feature store. Types are Feast's own value type names.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

KeyType = Literal["STRING", "BYTES", "INT32", "INT64", "UNIX_TIMESTAMP"]
"""The value types that may be a join key in an online store."""

FeatureType = Literal[
    "BOOL", "BYTES", "DECIMAL", "DOUBLE", "FLOAT", "INT32", "INT64", "JSON", "MAP", "SCALAR_MAP", "STRING",
    "STRUCT", "TIME_UUID", "UNIX_TIMESTAMP", "UUID", "VALUE_LIST", "VALUE_SET", "ZONED_TIMESTAMP",
    "BOOL_LIST", "BYTES_LIST", "DECIMAL_LIST", "DOUBLE_LIST", "FLOAT_LIST", "INT32_LIST", "INT64_LIST",
    "JSON_LIST", "MAP_LIST", "STRING_LIST", "STRUCT_LIST", "TIME_UUID_LIST",
    "UNIX_TIMESTAMP_LIST", "UUID_LIST",
    "BOOL_SET", "BYTES_SET", "DECIMAL_SET", "DOUBLE_SET", "FLOAT_SET", "INT32_SET", "INT64_SET", "STRING_SET",
    "TIME_UUID_SET", "UNIX_TIMESTAMP_SET", "UUID_SET",
]  # fmt: skip

OnMissing = Literal["fail", "default", "null"]


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the wire types: immutable, by name only, and strict about unknown fields."""


class JoinKey(_Wire, frozen=True, kw_only=True):
    """One column of the key by which a feature view is looked up."""

    name: str
    type: KeyType


class OnlineFeature(_Wire, frozen=True, kw_only=True):
    """A feature of a view, as declared."""

    name: str
    type: FeatureType


class OnlineView(_Wire, frozen=True, kw_only=True):
    """A whole feature view as an online store keeps it; without `ttl_seconds` values never expire."""

    name: str
    join_keys: tuple[JoinKey, ...]
    features: tuple[OnlineFeature, ...]
    ttl_seconds: float | None = None


class FeatureColumn(_Wire, frozen=True, kw_only=True):
    """One feature to fetch; `column` is the name of the answer's column (default: the feature's own)."""

    name: str
    type: FeatureType
    column: str | None = None
    default: Any = None

    @property
    def output(self) -> str:
        return self.column or self.name


class FeatureViewLookup(_Wire, frozen=True, kw_only=True):
    """The part of one feature view that is asked for; without `ttl_seconds` values never expire."""

    name: str
    join_keys: tuple[JoinKey, ...]
    features: tuple[FeatureColumn, ...]
    ttl_seconds: float | None = None


class FeatureLookupSpec(_Wire, frozen=True, kw_only=True):
    """Where features are, which are asked for, and what stands for one that is missing or expired.

    `store_path` is the SQLite file, and empty for Redis, whose address the reader has from elsewhere.

    `on_missing`: "fail" refuses the whole look-up and names the keys, "default" takes each feature's
    default, "null" gives null. A null that is stored is a value and stays null under every policy.
    """

    store_path: str = ""
    project: str
    views: tuple[FeatureViewLookup, ...]
    on_missing: OnMissing = "null"
    deadline_ms: float = 50.0
    max_keys: int = 10_000
    cache_entities: int = 20_000


def encode_lookup(spec: FeatureLookupSpec) -> bytes:
    """The specification as JSON."""
    return msgspec.json.encode(spec)


def decode_lookup(data: bytes | str) -> FeatureLookupSpec:
    """The specification from JSON; raises `msgspec.ValidationError` on anything unknown or missing."""
    return msgspec.json.decode(data, type=FeatureLookupSpec)

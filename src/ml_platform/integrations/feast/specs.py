"""Feature views as plain data: what a team declares, and what a registry gives back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from ml_platform.contracts.features import FeatureType, KeyType
from ml_platform.integrations.feast.errors import FeatureDefinitionError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")
MAX_FIELDS = 2_000


@dataclass(frozen=True, slots=True)
class EntitySpec:
    """A join key; the entity has its name. One name has one type in all views of a team."""

    name: str
    type: KeyType = "STRING"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    name: str
    type: FeatureType


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where the history of the features stands: a Parquet file or folder, or a Delta table.

    Feast always reads the newest version of a Delta table. To train on a certain version, give the
    Parquet file that was exported from it.
    """

    path: str
    timestamp_field: str
    format: Literal["parquet", "delta"] = "parquet"
    created_timestamp_field: str | None = None


@dataclass(frozen=True, slots=True)
class FeatureViewSpec:
    """One feature view. Without `ttl` a value never grows too old."""

    name: str
    entities: tuple[EntitySpec, ...]
    source: SourceSpec
    fields: tuple[FieldSpec, ...]
    ttl: timedelta | None = None
    online: bool = True
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.entities:
            raise FeatureDefinitionError.of("entities", "a feature view needs at least one entity")
        if not 0 < len(self.fields) <= MAX_FIELDS:
            raise FeatureDefinitionError.of(
                "fields", f"expected 1 to {MAX_FIELDS} fields, got {len(self.fields)}"
            )
        if self.ttl is not None and self.ttl <= timedelta(0):
            raise FeatureDefinitionError.of(
                "ttl", "must be positive; leave it out for values that never expire"
            )
        if self.ttl is not None and self.ttl > timedelta(days=36_500):
            raise FeatureDefinitionError.of("ttl", "must be at most 100 years")
        _check_name("name", self.name)
        special = [self.source.timestamp_field, self.source.created_timestamp_field]
        taken: set[str] = {name for name in special if name}
        for kind, names in (
            ("entities", [e.name for e in self.entities]),
            ("fields", [f.name for f in self.fields]),
        ):
            for name in names:
                _check_name(kind, name)
                if name in taken:
                    raise FeatureDefinitionError.of(kind, f"the name {name!r} is used twice")
                taken.add(name)

    @property
    def join_keys(self) -> tuple[str, ...]:
        return tuple(entity.name for entity in self.entities)


def _check_name(field_name: str, name: str) -> None:
    if not _NAME.match(name) or "__" in name:
        raise FeatureDefinitionError.of(
            field_name,
            f"{name[:80]!r} is no name: a letter, then letters, digits and single underscores, at most 63",
        )


def parse_references(references: list[str]) -> dict[str, list[str]]:
    """`view:feature` references by view, in order; refuses doubled ones."""
    by_view: dict[str, list[str]] = {}
    for reference in references:
        view, colon, feature = reference.partition(":")
        if not (view and colon and feature):
            raise FeatureDefinitionError.of("features", f"{reference[:100]!r} is not written view:feature")
        features = by_view.setdefault(view, [])
        if feature in features:
            raise FeatureDefinitionError.of("features", f"{reference!r} is asked for twice")
        features.append(feature)
    if not by_view:
        raise FeatureDefinitionError.of("features", "expected at least one, written view:feature")
    return by_view

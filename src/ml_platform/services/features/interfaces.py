"""What features need of a feature store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ViewDefinition:
    """A feature view as plain data. `features` maps names to Feast's value types, None: the column's own."""

    name: str
    entities: dict[str, str]
    source: Path
    timestamp_field: str
    features: dict[str, str | None]
    ttl_seconds: int | None
    description: str


@dataclass(frozen=True, slots=True)
class PushedView:
    """What a row that is pushed must hold: names with Feast's value types."""

    name: str
    entities: dict[str, str]
    timestamp_field: str
    features: dict[str, str]


@dataclass(frozen=True, slots=True)
class OnlineStore:
    """Where an inference server finds a team's online values; `path` is empty unless it is a file."""

    kind: Literal["sqlite", "redis"]
    project: str
    path: str = ""


class FeatureEngine(Protocol):
    """A feature store with one project a team. Wrong definitions are BadInputErrors that name the field."""

    def store(self, team_id: str) -> OnlineStore:
        """Where the team's online values are written to."""

    def apply(self, team_id: str, view: ViewDefinition) -> dict[str, str]:
        """Registers or changes a view; answers its features with their types."""

    def delete(self, team_id: str, view: str) -> None: ...

    def materialize(
        self, team_id: str, view: str, start: datetime | None = None, end: datetime | None = None
    ) -> int:
        """Writes the newest value of every entity online; answers how many entities. May be repeated.

        With `start` or `end`, the newest of those within them.
        """

    def push(self, team_id: str, view: PushedView, columns: Mapping[str, Sequence[Any]]) -> int:
        """Writes rows online, the newest of each entity; answers how many entities.

        Raises BadInputError, which names the column, before anything is written.
        """

    def training_set(
        self, team_id: str, entities: Path, features: list[str], *, timestamp_field: str, target: Path
    ) -> tuple[int, list[str]]:
        """Joins features to the rows of `entities` as they were known at each row's time.

        Writes Parquet to `target`; answers its number of rows and its columns.
        """

    def online(self, team_id: str, keys: list[dict[str, Any]], features: list[str]) -> dict[str, list[Any]]:
        """The newest values of some entities, by column."""

    def lookup(self, team_id: str, columns: dict[str, str]) -> dict[str, Any]:
        """What an inference server needs to fill `columns` (column -> view:feature), JSON-able."""

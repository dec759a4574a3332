"""What datasets need of a table store."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ml_platform.contracts.personaldata import FoundBy, PersonalDataKind


@dataclass(frozen=True, slots=True)
class ColumnSample:
    """Some values of a column, none of them null, texts cut to a bounded length; `type` is the schema's."""

    name: str
    type: str | None
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class FoundPersonalData:
    """A kind of personal data in a column; see `PersonalDataFinding`."""

    column: str
    kind: PersonalDataKind
    found_by: FoundBy
    share: float | None
    confidence: float
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found. Not `complete`: there was no time to look at the values of every column."""

    sampled_rows: int
    complete: bool
    findings: tuple[FoundPersonalData, ...] = ()


class PersonalDataFinder(Protocol):
    """Looks for personal data in names and values of columns, in bounded time; remembers no value."""

    def examine(self, columns: Iterable[ColumnSample]) -> Examination: ...

    def named(self, column: str) -> Sequence[FoundPersonalData]:
        """What a name alone says."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of an upload. With violations nothing was written and `version` is None."""

    version: int | None
    rows: int
    columns: int
    schema: dict[str, Any]
    profile: dict[str, Any]
    personal_data: Examination | None = None
    violations: list[dict[str, Any]] = field(default_factory=list)


class DatasetStore(Protocol):
    """Tables with versions. A wrong file is a BadInputError that says where."""

    def ingest(
        self,
        team_id: str,
        dataset_id: str,
        path: Path,
        form: str,
        *,
        schema: dict[str, Any] | None,
        token: str,
        dry_run: bool = False,
    ) -> Ingested:
        """Reads a file, checks it against `schema` (None: infers one), and writes it as a new version.

        The same token writes one version, however often it is given.
        """

    def check_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A schema as it will be kept; raises BadInputError for one that is none."""

    def rows(
        self, team_id: str, dataset_id: str, version: int, columns: list[str] | None, limit: int
    ) -> tuple[list[str], list[list[Any]]]:
        """The first rows of a version, JSON-able; unknown columns are a BadInputError that names them."""

    def export(self, team_id: str, dataset_id: str, version: int, target: Path) -> None:
        """Writes a version as one Parquet file, whole or not at all."""

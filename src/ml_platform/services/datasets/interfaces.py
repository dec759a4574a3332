"""What datasets need of a table store."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of an upload. With violations nothing was written and `version` is None."""

    version: int | None
    rows: int
    columns: int
    schema: dict[str, Any]
    profile: dict[str, Any]
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

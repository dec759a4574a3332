"""What one can do with datasets."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ml_platform.contracts.datasets import (
    Dataset,
    DatasetCreate,
    DatasetVersion,
    Rows,
    UploadFormat,
    ValidationReport,
    Violation,
)
from ml_platform.contracts.personaldata import PersonalDataFinding
from ml_platform.contracts.problems import ErrorCode, FieldProblem
from ml_platform.kit.errors import BadInputError, ConflictError, NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Work
from ml_platform.services.datasets.interfaces import DatasetStore, Ingested
from ml_platform.services.datasets.personal_data import findings_of, shown_profile
from ml_platform.services.datasets.repository import DatasetRepository
from ml_platform.services.datasets.tables import DatasetRow, DatasetVersionRow


class DatasetService:
    """Datasets of the actor's team."""

    def __init__(self, work: Work, store: DatasetStore) -> None:
        self._work = work
        self._store = store

    def create(self, body: DatasetCreate) -> Dataset:
        if self._repository.dataset(body.name) is not None:
            raise ConflictError(f"dataset {body.name!r} exists already")
        row = DatasetRow(
            id=new_id("ds"),
            team_id=self._work.team_id,
            name=body.name,
            description=body.description,
            rules=None,
            latest_version=0,
            created_at=self._work.clock(),
            created_by=self._work.actor.name,
        )
        self._work.session.add(row)
        self._work.record("dataset.create", "dataset", row.id, after={"name": row.name})
        return _dataset(row)

    def get(self, name: str) -> Dataset:
        return _dataset(self._row(name))

    def list_datasets(self, after: str | None, limit: int) -> list[Dataset]:
        return [_dataset(row) for row in self._repository.datasets(after=after, limit=limit)]

    def upload(
        self, name: str, path: Path, form: UploadFormat, *, digest: str, token: str | None
    ) -> DatasetVersion:
        """Makes a file the next version, if it keeps the dataset's schema.

        The table is written before the transaction: killed in between, the version has no row, so it
        does not exist, and the same token finishes it.
        """
        with self._work.database.read() as session:
            found = DatasetRepository(session, self._work.team_id).dataset(name)
        if found is None:
            raise NotFoundError.of("dataset", name)
        ingested = self._store.ingest(
            self._work.team_id, found.id, path, form.value, schema=found.rules, token=token or new_id("up")
        )
        if ingested.violations or ingested.version is None:
            raise _refusal(ingested)
        row = self._repository.dataset(found.id, lock=True)
        assert row is not None
        known = self._repository.version(row.id, ingested.version)
        if known is not None:
            return self._shown(row, [known])[0]
        if row.rules is None:
            row.rules = ingested.schema
        row.latest_version = max(row.latest_version, ingested.version)
        version = DatasetVersionRow(
            id=new_id("dsv"),
            team_id=row.team_id,
            dataset_id=row.id,
            version=ingested.version,
            rows=ingested.rows,
            columns=ingested.columns,
            columns_schema=row.rules,
            profile=ingested.profile,
            personal_data=asdict(ingested.personal_data) if ingested.personal_data is not None else None,
            digest=digest,
            created_at=self._work.clock(),
            created_by=self._work.actor.name,
        )
        self._work.session.add(version)
        self._work.record(
            "dataset.version.create",
            "dataset",
            row.id,
            after={"version": version.version, "rows": version.rows, "digest": digest},
        )
        return self._shown(row, [version])[0]

    def validate(
        self, name: str, path: Path, form: UploadFormat, schema: dict[str, Any] | None
    ) -> ValidationReport:
        """Checks a file against the dataset's schema, or another, and keeps nothing."""
        row = self._row(name)
        rules = self._store.check_schema(schema) if schema is not None else row.rules
        ingested = self._store.ingest(
            row.team_id, row.id, path, form.value, schema=rules, token="", dry_run=True
        )
        violations = [Violation.model_validate(item) for item in ingested.violations]
        return ValidationReport(valid=not violations, rows=ingested.rows, violations=violations)

    def set_schema(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        """Replaces the schema that the next version must keep."""
        rules = self._store.check_schema(schema)
        row = self._row(name)
        self._work.record("dataset.schema.set", "dataset", row.id, before=row.rules, after=rules)
        row.rules = rules
        return rules

    def schema(self, name: str) -> dict[str, Any]:
        """The schema that the next version must keep; empty before the first."""
        return self._row(name).rules or {}

    def versions(self, name: str, before: int | None, limit: int) -> list[DatasetVersion]:
        row = self._row(name)
        found = self._repository.versions(row.id, before=before, limit=limit)
        return self._shown(row, found)

    def version(self, name: str, number: int | None) -> DatasetVersion:
        """A version, or the newest."""
        row, version = self.find(name, number)
        return self._shown(row, [version])[0]

    def rows(self, name: str, number: int | None, columns: list[str] | None, limit: int) -> Rows:
        row, version = self.find(name, number)
        names, values = self._store.rows(row.team_id, row.id, version.version, columns, limit)
        return Rows(columns=names, rows=values)

    def export(self, name: str, number: int | None, target: Path) -> DatasetVersion:
        """Writes a version as Parquet to `target`."""
        row, version = self.find(name, number)
        self._store.export(row.team_id, row.id, version.version, target)
        return self._shown(row, [version])[0]

    def find(self, name: str, number: int | None) -> tuple[DatasetRow, DatasetVersionRow]:
        """The rows of a dataset and of one of its versions."""
        row = self._row(name)
        version = self._repository.version(row.id, number or row.latest_version)
        if version is None:
            raise NotFoundError(
                f"dataset {name!r} has no version {number or 'yet'}", hint=f"mlops datasets versions {name}"
            )
        return row, version

    def _shown(self, row: DatasetRow, versions: Sequence[DatasetVersionRow]) -> list[DatasetVersion]:
        findings = findings_of(self._work.session, versions)
        return [_version(row, version, findings[version.id]) for version in versions]

    @property
    def _repository(self) -> DatasetRepository:
        return DatasetRepository(self._work.session, self._work.team_id)

    def _row(self, name: str) -> DatasetRow:
        row = self._repository.dataset(name)
        if row is None:
            raise NotFoundError.of("dataset", name)
        return row


def parse_reference(reference: str) -> tuple[str, int | None]:
    """`name` or `name@version`."""
    name, at, version = reference.partition("@")
    if at and not version.isdigit():
        raise BadInputError.of("dataset", f"{reference!r} is not name or name@version")
    return name, int(version) if at else None


def _refusal(ingested: Ingested) -> BadInputError:
    fields = [
        FieldProblem(
            field=item["column"],
            message=f"{item['count']} rows break {item['check']}, e.g. {', '.join(map(str, item['examples'][:3]))}",
        )
        for item in ingested.violations[:20]
    ]
    return BadInputError(
        "the file does not keep the dataset's schema; nothing was stored",
        code=ErrorCode.INVALID_DATA,
        fields=fields,
        hint="mend the file, or change the schema: mlops datasets set-schema",
    )


def _dataset(row: DatasetRow) -> Dataset:
    return Dataset(
        dataset_id=row.id,
        name=row.name,
        description=row.description,
        latest_version=row.latest_version,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def _version(
    row: DatasetRow, version: DatasetVersionRow, findings: list[PersonalDataFinding]
) -> DatasetVersion:
    return DatasetVersion(
        dataset_id=row.id,
        dataset=row.name,
        version=version.version,
        rows=version.rows,
        columns=version.columns,
        schema=version.columns_schema,
        profile=shown_profile(version.profile, findings),
        personal_data=findings,
        digest=version.digest,
        created_at=version.created_at,
        created_by=version.created_by,
    )

"""Delta tables behind the datasets service."""

from pathlib import Path
from typing import Any, cast

import msgspec

from ml_platform.integrations.delta.profile import profile
from ml_platform.integrations.delta.samples import samples
from ml_platform.integrations.delta.schema import ColumnSchema, TableSchema, conform, infer_schema
from ml_platform.integrations.delta.store import DeltaDatasetStore
from ml_platform.integrations.delta.uploads import UploadFormat
from ml_platform.kit.strictjson import finite
from ml_platform.services.datasets import Ingested, PersonalDataFinder


class DeltaDatasets:
    """Implements `DatasetStore`; what becomes a version is examined for personal data."""

    def __init__(self, store: DeltaDatasetStore, finder: PersonalDataFinder) -> None:
        self._store = store
        self._finder = finder

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
        inspection = self._store.inspect_upload(path, cast("UploadFormat", form))
        frame = inspection.require()
        rules = _table_schema(schema) if schema is not None else _lasting(infer_schema(frame))
        frame = conform(frame, rules)
        violations = [msgspec.to_builtins(v) for v in self._store.validate(frame, rules)]
        version = None
        if not violations and not dry_run:
            version = self._store.write_version(
                team_id,
                dataset_id,
                frame,
                self._store.latest_version(team_id, dataset_id),
                idempotency_token=token,
            )
        return Ingested(
            version=version,
            rows=frame.height,
            columns=frame.width,
            schema=msgspec.to_builtins(rules),
            profile=finite(profile(frame)),
            personal_data=self._finder.examine(samples(frame)) if version is not None else None,
            violations=[finite(item) for item in violations],
        )

    def check_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        value: dict[str, Any] = msgspec.to_builtins(_table_schema(schema))
        return value

    def rows(
        self, team_id: str, dataset_id: str, version: int, columns: list[str] | None, limit: int
    ) -> tuple[list[str], list[list[Any]]]:
        frame = self._store.read(team_id, dataset_id, version, columns, limit)
        return frame.columns, [[_plain(value) for value in row] for row in frame.iter_rows()]

    def export(self, team_id: str, dataset_id: str, version: int, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._store.to_parquet(team_id, dataset_id, version, target)


def _table_schema(value: dict[str, Any]) -> TableSchema:
    return TableSchema.from_json(msgspec.json.encode(value))


def _lasting(schema: TableSchema) -> TableSchema:
    """What is kept of an inferred schema: tomorrow's largest charge may be larger than today's.

    Types, nullability and few-valued columns last; of a range, only that it is not negative does.
    """
    return msgspec.structs.replace(schema, columns=tuple(map(_lasting_column, schema.columns)))


def _lasting_column(column: ColumnSchema) -> ColumnSchema:
    low = column.minimum
    kept = 0 if isinstance(low, int | float) and not isinstance(low, bool) and low >= 0 else None
    return msgspec.structs.replace(column, minimum=kept, maximum=None)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, dict, str, int, bool)) or value is None:
        return finite(value)
    if isinstance(value, float):
        return finite(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

"""Routes of datasets."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import Header, Query
from fastapi import Path as PathParam
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from ml_platform.contracts.base import Page, Slug
from ml_platform.contracts.datasets import (
    ColumnName,
    Dataset,
    DatasetCreate,
    DatasetVersion,
    PersonalDataMark,
    Rows,
    SchemaUpdate,
    UploadFormat,
    ValidationReport,
)
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.personaldata import PersonalDataReport
from ml_platform.kit.errors import BadInputError
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, number_cursor, text_cursor
from ml_platform.kit.uploads import UploadedFile
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.datasets.interfaces import DatasetStore
from ml_platform.services.datasets.personal_data import PersonalDataService
from ml_platform.services.datasets.service import DatasetService

router = ApiRouter(prefix="/datasets", tags=["datasets"])

Store = Annotated[DatasetStore, provided(DatasetStore)]
Read = Annotated[Work, requires(Permission.READ)]
ReadData = Annotated[Work, requires(Permission.READ_DATA)]
WriteData = Annotated[Work, requires(Permission.WRITE_DATA)]
Number = Annotated[int, PathParam(ge=1, le=10**9)]
IdempotencyKey = Annotated[str | None, Header(max_length=200, pattern=r"^[\x21-\x7e]*$")]
_BINARY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", status_code=201)
def create_dataset(body: DatasetCreate, work: WriteData, store: Store) -> Dataset:
    return DatasetService(work, store).create(body)


@router.get("")
def list_datasets(
    work: Read, store: Store, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Dataset]:
    after = text_cursor(cursor) if cursor else None
    items, following = cut(
        DatasetService(work, store).list_datasets(after, limit + 1), limit, lambda d: d.dataset_id
    )
    return Page(items=items, next_cursor=following)


@router.get("/{name}")
def get_dataset(name: Slug, work: Read, store: Store) -> Dataset:
    return DatasetService(work, store).get(name)


@router.get("/{name}/schema")
def get_schema(name: Slug, work: Read, store: Store) -> dict[str, Any]:
    """The schema that the next version must keep; empty before the first version."""
    return DatasetService(work, store).schema(name)


@router.put("/{name}/schema")
def set_schema(name: Slug, body: SchemaUpdate, work: WriteData, store: Store) -> dict[str, Any]:
    return DatasetService(work, store).set_schema(name, body.schema_)


@router.get("/{name}/personal-data")
def get_personal_data(
    name: Slug, work: Read, version: Annotated[int | None, Query(ge=1, le=10**9)] = None
) -> PersonalDataReport:
    """What a version, by default the newest, holds of personal data, and what people say of it."""
    return PersonalDataService(work).report(name, version)


@router.put("/{name}/personal-data")
def mark_personal_data(name: Slug, body: PersonalDataMark, work: WriteData) -> PersonalDataReport:
    """Says that a finding is wrong, or that a column holds personal data.

    It holds for later versions too, until more of their values look like it.
    """
    return PersonalDataService(work).mark(name, body)


@router.post("/{name}/versions", status_code=201, openapi_extra=_BINARY)
def upload_version(
    name: Slug,
    work: WriteData,
    store: Store,
    upload: UploadedFile,
    format: UploadFormat = UploadFormat.CSV,  # noqa: A002 - the query's name
    idempotency_key: IdempotencyKey = None,
) -> DatasetVersion:
    """Makes the file in the body the next version. One that breaks the schema is refused whole."""
    service = DatasetService(work, store)
    return service.upload(name, upload.path, format, digest=upload.sha256, token=idempotency_key)


@router.post("/{name}/validate", openapi_extra=_BINARY)
def validate_file(
    name: Slug,
    work: ReadData,
    store: Store,
    upload: UploadedFile,
    format: UploadFormat = UploadFormat.CSV,  # noqa: A002 - the query's name
    schema: Annotated[
        str | None, Query(max_length=100_000, description="JSON; default: the dataset's")
    ] = None,
) -> ValidationReport:
    """Checks the file in the body against a schema and keeps nothing."""
    return DatasetService(work, store).validate(name, upload.path, format, _json_object(schema))


@router.get("/{name}/versions")
def list_versions(
    name: Slug, work: Read, store: Store, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[DatasetVersion]:
    """Newest first."""
    before = number_cursor(cursor) if cursor else None
    found = DatasetService(work, store).versions(name, before, limit + 1)
    items, following = cut(found, limit, lambda version: version.version)
    return Page(items=items, next_cursor=following)


@router.get("/{name}/versions/{version}")
def get_version(name: Slug, version: Number, work: Read, store: Store) -> DatasetVersion:
    return DatasetService(work, store).version(name, version)


@router.get("/{name}/versions/{version}/rows")
def get_rows(
    name: Slug,
    version: Number,
    work: ReadData,
    store: Store,
    columns: Annotated[list[ColumnName] | None, Query(max_length=2_000)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 20,
) -> Rows:
    """The first rows."""
    return DatasetService(work, store).rows(name, version, columns, limit)


@router.get("/{name}/versions/{version}/download", response_class=FileResponse)
def download_version(name: Slug, version: Number, work: ReadData, store: Store) -> FileResponse:
    """The version as one Parquet file."""
    folder = tempfile.TemporaryDirectory(prefix="mlops-download-")
    path = Path(folder.name) / f"{name}-v{version}.parquet"
    try:
        DatasetService(work, store).export(name, version, path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path,
        media_type="application/vnd.apache.parquet",
        filename=path.name,
        background=BackgroundTask(folder.cleanup),
    )


def _json_object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadInputError.of("schema", "is not JSON") from None
    if not isinstance(value, dict):
        raise BadInputError.of("schema", "must be a JSON object")
    return value

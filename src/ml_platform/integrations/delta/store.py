"""Datasets as Delta tables: every version is one commit, and none is ever changed.

    <root>/<team>/<dataset id>/_delta_log/00000000000000000000.json   the empty table
                                          00000000000000000001.json   version 1, and so on

A table is created empty, so a dataset's version is the number of its Delta version for any client. Old
versions are kept for ever: the table's own settings say so, else a checkpoint would drop their log.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from ml_platform.integrations.delta.errors import (
    DatasetNameError,
    UnknownColumnsError,
    VersionConflictError,
)
from ml_platform.integrations.delta.schema import TableSchema, Violation, validate
from ml_platform.integrations.delta.uploads import Inspection, UploadFormat, UploadLimits, inspect_upload
from ml_platform.kit.errors import NotFoundError, UnavailableError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}\Z")
_TOKEN: Final = "mlPlatformIdempotencyToken"  # noqa: S105 - the name of a field
_ROWS: Final = "mlPlatformRows"
_VERSION: Final = "mlPlatformVersion"
_FOR_EVER: Final = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version of a dataset."""

    version: int
    created_at: datetime
    rows: int
    idempotency_token: str


class DeltaDatasetStore:
    """Stores, reads and lists versions. Teams have folders below `root_uri`, a path or a URI.

    `storage_options` are the object store's (credentials, region, endpoint), as `deltalake` names them.
    """

    def __init__(
        self,
        root_uri: str | Path,
        *,
        storage_options: Mapping[str, str] | None = None,
        limits: UploadLimits | None = None,
    ) -> None:
        self._root = str(root_uri).rstrip("/")
        self._options = dict(storage_options or {})
        self._limits = limits or UploadLimits()

    def inspect_upload(self, path: Path | str, kind: UploadFormat) -> Inspection:
        """Schema, profile and table of an uploaded file, or what is wrong with it."""
        return inspect_upload(Path(path), kind, self._limits)

    def validate(self, frame: pl.DataFrame, schema: TableSchema) -> list[Violation]:
        """What in `frame` breaks `schema`."""
        return validate(frame, schema)

    def uri(self, team: str, dataset_id: str) -> str:
        """Where the table stands; raises `DatasetNameError` for what cannot be a folder's name."""
        for field, name in (("team", team), ("dataset_id", dataset_id)):
            if not _NAME.match(name):
                raise DatasetNameError.of(field, "expected letters, digits, - and _, at most 128")
        return f"{self._root}/{team}/{dataset_id}"

    def write_version(
        self,
        team: str,
        dataset_id: str,
        frame: pl.DataFrame,
        expected_version: int,
        *,
        idempotency_token: str,
    ) -> int:
        """Makes `frame` the next version and returns its number, `expected_version` + 1.

        `expected_version` is the newest one as the caller knows it, 0 for none. A token that was used
        before returns the version that it wrote and writes nothing. Raises `VersionConflictError`.
        """
        table = self._open_or_create(self.uri(team, dataset_id), frame)
        for info in self._history(table):
            if info.idempotency_token == idempotency_token:
                return info.version
        if table.version() != expected_version:
            raise VersionConflictError(expected_version, table.version())
        properties = CommitProperties(
            custom_metadata={
                _TOKEN: idempotency_token,
                _ROWS: str(frame.height),
                _VERSION: str(expected_version + 1),
            },
            max_commit_retries=0,  # so that the commit is that version or none
        )
        try:
            write_deltalake(
                table,
                frame.rechunk().to_arrow(),  # in one piece: pieces are written in no certain order
                mode="overwrite",
                schema_mode="overwrite",
                commit_properties=properties,
            )
        except CommitFailedError as error:
            current = self._open(team, dataset_id)
            for info in self._history(current):
                if info.idempotency_token == idempotency_token:  # the same request, twice at once
                    return info.version
            raise VersionConflictError(expected_version, current.version()) from error
        except (DeltaError, OSError) as error:
            raise UnavailableError(f"the version could not be stored: {error}") from error
        return expected_version + 1

    def read(
        self,
        team: str,
        dataset_id: str,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """A version (default: the newest), or some of its columns and its first rows."""
        frame = self.scan(team, dataset_id, version, columns)
        return (frame if limit is None else frame.head(max(limit, 0))).collect()

    def scan(
        self, team: str, dataset_id: str, version: int | None = None, columns: Sequence[str] | None = None
    ) -> pl.LazyFrame:
        """The same without reading it yet."""
        table = self._open(team, dataset_id, version)
        if table.version() == 0:
            raise NotFoundError.of("dataset", dataset_id)
        frame = pl.scan_delta(table)
        if columns is None:
            return frame
        known = frame.collect_schema().names()
        unknown = [name for name in columns if name not in set(known)]
        if unknown:
            raise UnknownColumnsError(unknown, known)
        return frame.select(list(dict.fromkeys(columns)))

    def to_parquet(
        self,
        team: str,
        dataset_id: str,
        version: int | None,
        path: Path | str,
        columns: Sequence[str] | None = None,
    ) -> Path:
        """Streams a version into one Parquet file, which appears whole or not at all."""
        target = Path(path)
        draft = target.with_name(f".{target.name}.part")
        try:
            self.scan(team, dataset_id, version, columns).sink_parquet(draft)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        return target

    def history(self, team: str, dataset_id: str) -> list[VersionInfo]:
        """All versions, the newest first."""
        return self._history(self._open(team, dataset_id))

    def latest_version(self, team: str, dataset_id: str) -> int:
        """The newest version's number; 0 when there is none."""
        try:
            return int(self._open(team, dataset_id).version())
        except NotFoundError:
            return 0

    def delete(self, team: str, dataset_id: str) -> None:
        """Removes the dataset with all its versions; repeating it does nothing."""
        uri = self.uri(team, dataset_id)
        if "://" not in uri:
            if Path(uri).exists():
                shutil.rmtree(uri)
            return
        from pyarrow import fs

        filesystem, path = fs.FileSystem.from_uri(uri)
        filesystem.delete_dir_contents(path, missing_dir_ok=True)

    def _open(self, team: str, dataset_id: str, version: int | None = None) -> DeltaTable:
        uri = self.uri(team, dataset_id)
        try:
            table = DeltaTable(uri, storage_options=self._options or None)
        except TableNotFoundError as error:
            raise NotFoundError.of("dataset", dataset_id) from error
        except (DeltaError, OSError) as error:
            raise UnavailableError(f"the dataset cannot be opened: {error}") from error
        if version is None:
            return table
        if not 1 <= version <= table.version():
            raise NotFoundError.of("dataset", f"{dataset_id}@{version}")
        table.load_as_version(version)
        return table

    def _open_or_create(self, uri: str, frame: pl.DataFrame) -> DeltaTable:
        options = self._options or None
        try:
            return DeltaTable(uri, storage_options=options)
        except TableNotFoundError:
            pass
        try:
            return DeltaTable.create(
                uri,
                schema=frame.head(0).to_arrow().schema,
                mode="ignore",
                configuration=_FOR_EVER,
                storage_options=options,
            )
        except CommitFailedError:  # created by another writer meanwhile
            return DeltaTable(uri, storage_options=options)
        except (DeltaError, OSError) as error:
            raise UnavailableError(f"the dataset could not be created: {error}") from error

    def _history(self, table: DeltaTable) -> list[VersionInfo]:
        """What the commits say of themselves.

        `deltalake` counts versions back from the table that it holds, which is wrong by one when another
        writer commits meanwhile.
        """
        found = [
            VersionInfo(
                version=int(entry[_VERSION]),
                created_at=datetime.fromtimestamp(entry["timestamp"] / 1000, tz=UTC),
                rows=int(entry[_ROWS]),
                idempotency_token=entry[_TOKEN],
            )
            for entry in table.history()
            if _VERSION in entry  # the empty table at the beginning has none
        ]
        return sorted(found, key=lambda info: info.version, reverse=True)

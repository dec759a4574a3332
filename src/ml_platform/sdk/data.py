"""Datasets."""

import builtins
import importlib
import io
import json
from pathlib import Path
from typing import Any

from ml_platform.contracts.datasets import Dataset as DatasetData
from ml_platform.contracts.datasets import DatasetVersion, Rows, UploadFormat, ValidationReport
from ml_platform.contracts.personaldata import PersonalDataFinding, PersonalDataReport
from ml_platform.sdk.errors import InvalidInputError, NotFoundError
from ml_platform.sdk.objects import PlatformObject
from ml_platform.sdk.transport import Transport, at

_FORMATS = {
    ".csv": UploadFormat.CSV,
    ".parquet": UploadFormat.PARQUET,
    ".jsonl": UploadFormat.JSONL,
    ".ndjson": UploadFormat.JSONL,
}


class Dataset(PlatformObject[DatasetVersion]):
    """One version of a dataset."""

    _shown = ("dataset", "version", "rows", "columns", "digest", "created_at")

    @property
    def name(self) -> str:
        return self._data.dataset

    @property
    def version(self) -> int:
        return self._data.version

    @property
    def reference(self) -> str:
        """`name@version`: how feature views, training sets and jobs name it."""
        return f"{self.name}@{self.version}"

    @property
    def profile(self) -> dict[str, Any]:
        return self._data.profile

    @property
    def schema(self) -> dict[str, Any]:
        return self._data.schema_

    @property
    def personal_data(self) -> list[PersonalDataFinding]:
        """Which columns hold personal data, and how sure that is; never any of the values."""
        return self._data.personal_data

    def head(self, limit: int = 20, columns: list[str] | None = None) -> list[dict[str, Any]]:
        """The first rows."""
        path = at("datasets", self.name, "versions", self.version, "rows")
        rows = self._transport.get(path, Rows, {"limit": limit, "columns": columns})
        return [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]

    def download(self, path: str | Path) -> Path:
        """Writes the version as one Parquet file."""
        url = at("datasets", self.name, "versions", self.version, "download")
        return self._transport.download(url, Path(path).expanduser())

    def to_pandas(self) -> Any:
        """The version as a pandas DataFrame; needs pandas and pyarrow in your own environment."""
        # The caller's own library: the SDK does not depend on it.
        pandas = importlib.import_module("pandas")
        url = at("datasets", self.name, "versions", self.version, "download")
        return pandas.read_parquet(io.BytesIO(self._transport.request("GET", url, timeout=600).content))


class Data:
    """`platform.data`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, description: str | None = None) -> DatasetData:
        """An empty dataset."""
        return self._transport.post("/datasets", DatasetData, {"name": name, "description": description})

    def upload(
        self,
        name: str,
        file: str | Path | bytes,
        *,
        format: str | None = None,  # noqa: A002
        create: bool = True,
    ) -> Dataset:
        """Makes a file the dataset's next version; the dataset is made when it is not there.

        Args:
            name: the dataset.
            file: a CSV, Parquet or JSON Lines file, or its bytes.
            format: `csv`, `parquet` or `jsonl`; default: by the file's ending.
            create: whether to make a dataset that is not there.

        Raises:
            InvalidInputError: the file cannot be read, or breaks the dataset's schema.
        """
        form, content = _content(file, format)
        if create:
            try:
                self._transport.get(at("datasets", name), DatasetData)
            except NotFoundError:
                self.create(name)
        answer = self._transport.request(
            "POST",
            at("datasets", name, "versions"),
            params={"format": form},
            content=content,
            headers={"content-type": "application/octet-stream"},
            timeout=600,
        )
        return Dataset(self._transport, DatasetVersion.model_validate(answer.json()))

    def load(self, dataset_id: str) -> Dataset:
        """A dataset's version, by `name` (the newest) or `name@version`."""
        name, _, version = dataset_id.partition("@")
        if not version:
            latest = self._transport.get(at("datasets", name), DatasetData).latest_version
            if latest == 0:
                raise NotFoundError(
                    f"dataset {name!r} has no version yet", hint=f"mlops datasets upload {name} FILE"
                )
            version = str(latest)
        path = at("datasets", name, "versions", version)
        return Dataset(self._transport, self._transport.get(path, DatasetVersion))

    def get(self, name: str) -> DatasetData:
        """The dataset itself, without a version."""
        return self._transport.get(at("datasets", name), DatasetData)

    def list(self) -> list[DatasetData]:
        return list(self._transport.pages("/datasets", DatasetData))

    def versions(self, name: str) -> builtins.list[Dataset]:
        """Newest first."""
        found = self._transport.pages(at("datasets", name, "versions"), DatasetVersion)
        return [Dataset(self._transport, item) for item in found]

    def validate(
        self,
        dataset: "Dataset | str",
        schema: dict[str, Any] | None = None,
        *,
        file: str | Path | bytes | None = None,
        format: str | None = None,  # noqa: A002
    ) -> ValidationReport:
        """Checks a file, or the dataset's own version, against a schema; keeps nothing.

        Args:
            dataset: whose schema to use when none is given; also what is checked when no file is.
            schema: another schema.
            file: what to check.
            format: of the file.
        """
        loaded = dataset if isinstance(dataset, Dataset) else None
        name = loaded.name if loaded is not None else str(dataset).partition("@")[0]
        if file is None:
            loaded = loaded or self.load(str(dataset))
            url = at("datasets", loaded.name, "versions", loaded.version, "download")
            form, content = UploadFormat.PARQUET, self._transport.request("GET", url, timeout=600).content
        else:
            form, content = _content(file, format)
        answer = self._transport.request(
            "POST",
            at("datasets", name, "validate"),
            params={"format": form, "schema": json.dumps(schema) if schema is not None else None},
            content=content,
            timeout=600,
        )
        return ValidationReport.model_validate(answer.json())

    def personal_data(self, dataset: str) -> PersonalDataReport:
        """What a version holds of personal data, by `name` (the newest) or `name@version`."""
        name, _, version = dataset.partition("@")
        query = {"version": version or None}
        return self._transport.get(at("datasets", name, "personal-data"), PersonalDataReport, query)

    def mark_personal_data(
        self, dataset: str, column: str, kind: str, verdict: str, reason: str
    ) -> PersonalDataReport:
        """Says that a finding is wrong, or that a column holds personal data; kept in the audit log.

        Args:
            dataset: `name` (its newest version) or `name@version`; it holds for later versions, too.
            column: of that version.
            kind: such as `email`, `phone` or `national_id`.
            verdict: `wrong`, `personal`, or `as_found` to take back what was said.
            reason: why.
        """
        name, _, version = dataset.partition("@")
        body = {
            "column": column,
            "kind": kind,
            "verdict": verdict,
            "reason": reason,
            "version": int(version) if version.isdigit() else None,
        }
        return self._transport.put(at("datasets", name, "personal-data"), PersonalDataReport, body)

    def schema(self, name: str) -> dict[str, Any]:
        """The schema that the next version must keep; empty before the first version."""
        value: dict[str, Any] = self._transport.request("GET", at("datasets", name, "schema")).json()
        return value

    def set_schema(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        """Replaces the schema that the next version must keep."""
        value: dict[str, Any] = self._transport.request(
            "PUT", at("datasets", name, "schema"), json={"schema": schema}
        ).json()
        return value


def _content(file: str | Path | bytes, form: str | None) -> tuple[UploadFormat, bytes]:
    if isinstance(file, bytes):
        return UploadFormat(form or "csv"), file
    path = Path(file).expanduser()
    return format_of(path, form), path.read_bytes()


def format_of(path: Path, form: str | None) -> UploadFormat:
    """The format of a file that is there: as stated, or by its ending."""
    if not path.is_file():
        raise InvalidInputError(f"{path} is not a file")
    if form is None and path.suffix.lower() not in _FORMATS:
        raise InvalidInputError(
            f"the format of {path.name} is not known by its ending", hint="say format= csv, parquet or jsonl"
        )
    return UploadFormat(form) if form else _FORMATS[path.suffix.lower()]

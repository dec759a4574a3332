"""Artifacts for in-process use: read directly from the artifact store, inside one workspace's prefix."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from ml_platform.integrations.mlflow.artifact_paths import check_artifact_path
from ml_platform.integrations.mlflow.conversions import artifact_record
from ml_platform.integrations.mlflow.errors import (
    RequestRefusedError,
    TrackingInvalidError,
    TrackingNotFoundError,
    translated,
)
from ml_platform.integrations.mlflow.records import ArtifactRecord
from ml_platform.integrations.mlflow.stores import ARTIFACT_SCHEME


class ArtifactReader:
    """Lists and downloads below URIs that MLflow gave its runs and logged models."""

    def __init__(self, artifacts_root: str) -> None:
        self._root = artifacts_root
        self._opened: Any = None

    def list(self, workspace: str, uri: str, path: str = "") -> list[ArtifactRecord]:
        base = self._place(workspace, uri, "")
        with translated():
            found = self._repository().list_artifacts(self._place(workspace, uri, path))
        records = [artifact_record(item) for item in found]
        return [
            ArtifactRecord(str(PurePosixPath(one.path).relative_to(base)), one.is_directory, one.size)
            for one in records
        ]

    def download(self, workspace: str, uri: str, path: str, destination: Path) -> Path:
        """Copy a file or a folder into `destination`; return where it lies there.

        Links are never followed, and nothing is left of a download that fails.
        """
        place = self._place(workspace, uri, path)
        destination.mkdir(parents=True, exist_ok=True)
        target = destination / PurePosixPath(place).name
        with tempfile.TemporaryDirectory(dir=destination, prefix=".download-") as scratch:
            with translated():
                fetched = Path(self._repository().download_artifacts(place, scratch))
            if not fetched.exists() or (fetched.is_dir() and not any(fetched.iterdir())):
                raise TrackingNotFoundError(f"No such artifact: '{path}'", "RESOURCE_DOES_NOT_EXIST")
            if target.is_dir():
                shutil.rmtree(target)
            fetched.replace(target)
        return target

    def _place(self, workspace: str, uri: str, path: str) -> str:
        inside = uri.removeprefix(ARTIFACT_SCHEME).lstrip("/")
        place = "/".join(part for part in (inside, path.strip("/")) if part)
        if not uri.startswith(ARTIFACT_SCHEME) or not place.startswith(f"workspaces/{workspace}/"):
            raise TrackingInvalidError("The artifact lies outside its workspace", "INVALID_PARAMETER_VALUE")
        try:
            check_artifact_path(place, workspace)
        except RequestRefusedError as error:
            raise TrackingInvalidError(error.message, error.code) from error
        return place

    def _repository(self) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if self._opened is None:
            self._opened = get_artifact_repository(self._root)
        return self._opened

"""Where bundles are fetched from: directories of this machine; `bucketsource` has the prefixes of buckets.

A source gives bytes; whoever takes them checks every file against its digest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ml_platform.contracts.bundles import MANIFEST_NAME, MAX_MANIFEST_BYTES, BundleError

_CHUNK = 1024 * 1024


class BundleSource(Protocol):
    """One bundle; all methods raise BundleError with the reason."""

    def manifest(self) -> bytes:
        """The manifest as it stands there."""
        ...

    def copy(self, name: str, target: Path) -> None:
        """Copies a file to a path that does not exist, in directories that may not."""
        ...


class LocalSource:
    """A directory below one of the roots."""

    def __init__(self, uri: str, roots: Iterable[Path]) -> None:
        parts = urlsplit(uri)
        if parts.scheme not in {"", "file"} or parts.netloc not in {"", "localhost"}:
            raise BundleError(f"bundle_uri: {uri!r} is not a file:// URI or a path")
        path = Path(unquote(parts.path) if parts.scheme else uri)
        if not path.is_absolute():
            raise BundleError(f"bundle_uri: {uri!r} is not absolute")
        self._directory = path.resolve()
        if not any(self._directory.is_relative_to(root) for root in roots):
            raise BundleError(f"bundle_uri: {uri!r} is not below a storage root of this server")

    def manifest(self) -> bytes:
        return read_manifest(self._directory)

    def copy(self, name: str, target: Path) -> None:
        origin = self._directory / name
        if not origin.resolve().is_relative_to(self._directory):
            raise BundleError(f"{name}: leads out of the bundle")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with origin.open("rb") as reader, target.open("xb") as writer:
                shutil.copyfileobj(reader, writer, _CHUNK)
                writer.flush()
                os.fsync(writer.fileno())
        except OSError as error:
            raise BundleError(f"the bundle cannot be copied: {error}") from error


def read_manifest(directory: Path) -> bytes:
    try:
        with (directory / MANIFEST_NAME).open("rb") as file:
            return file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{MANIFEST_NAME}: cannot be read: {error.strerror}") from error

"""Bundles on this server's own disk: fetched once, checked before every load, never trusted by name.

A bundle is copied from the storage roots into `<cache>/<digest>`, so that a restart needs neither storage
nor control plane. Every file is checked against the manifest and the manifest against the digest, on the
way in and again at each load; a cached copy that no longer fits is thrown away and fetched anew.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from ml_platform.contracts.bundles import (
    MANIFEST_NAME,
    BundleError,
    BundleManifest,
    decode_manifest,
    digest_of,
)
from ml_platform.inference.bundlesources import BundleSource, LocalSource, read_manifest
from ml_platform.kit.s3 import SCHEME, S3Connection

_CHUNK = 1024 * 1024
_UNUSED_SECONDS = 3600


class BundleStore:
    """Gives directories that hold exactly what a digest says. Slow: call it away from the event loop.

    Args:
        cache: this server's own copies.
        roots: directories that bundles may be fetched from.
        buckets: `s3://bucket/prefix` of the same kind.
        connection: how those buckets are reached.
    """

    def __init__(
        self,
        cache: Path,
        roots: Iterable[Path],
        buckets: Iterable[str] = (),
        connection: S3Connection | None = None,
    ) -> None:
        self._cache = cache
        self._roots = tuple(root.resolve() for root in roots)
        self._buckets = tuple(buckets)
        self._connection = connection or S3Connection()

    def fetch(self, uri: str, digest: str) -> tuple[Path, BundleManifest]:
        """As `load`, but of a copy that is already here only the manifest is checked.

        That is enough to read about a model that is loaded later, if at all.

        Raises:
            BundleError: as `load`.
        """
        local = self._cache / digest
        try:
            manifest = decode_manifest(_read_manifest(local, digest))
        except BundleError:
            return self.load(uri, digest)
        if all((local / name).is_file() for name in manifest.files):
            return local, manifest
        return self.load(uri, digest)

    def load(self, uri: str, digest: str) -> tuple[Path, BundleManifest]:
        """The local directory of a bundle and its manifest.

        Raises:
            BundleError: when it is not there, not allowed, or not what the digest says.
        """
        local = self._cache / digest
        if local.is_dir():
            try:
                return local, verify(local, digest)
            except BundleError:
                self._discard(local)
        return local, self._fetch(uri, digest, local)

    def sweep(self, used: set[str]) -> None:
        """Removes what no snapshot has named for an hour, and what a crash left half fetched."""
        if not self._cache.is_dir():
            return
        oldest = time.time() - _UNUSED_SECONDS
        for entry in self._cache.iterdir():
            if entry.name not in used and entry.stat().st_mtime < oldest:
                self._discard(entry)

    def _fetch(self, uri: str, digest: str, local: Path) -> BundleManifest:
        source = self._source(uri)
        data = source.manifest()
        manifest = decode_manifest(_checked(data, digest))
        self._cache.mkdir(parents=True, exist_ok=True)
        draft = self._cache / f".{digest}-{uuid.uuid4().hex}"
        try:
            draft.mkdir()
            (draft / MANIFEST_NAME).write_bytes(data)
            for name in manifest.files:
                source.copy(name, draft / name)
            verify(draft, digest)
            try:
                draft.rename(local)
            except OSError:
                if not local.is_dir():  # else another worker was faster, with the same content
                    raise
        except OSError as error:
            raise BundleError(f"the bundle cannot be copied: {error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return verify(local, digest)

    def _source(self, uri: str) -> BundleSource:
        if uri.startswith(f"{SCHEME}://"):
            from ml_platform.inference.bucketsource import S3Source  # only then: it is no small library

            return S3Source(uri, self._buckets, self._connection)
        return LocalSource(uri, self._roots)

    def _discard(self, path: Path) -> None:
        grave = path.with_name(f".gone-{uuid.uuid4().hex}")
        try:
            path.rename(grave)
        except FileNotFoundError:
            return
        if grave.is_dir():
            shutil.rmtree(grave, ignore_errors=True)
        else:
            grave.unlink(missing_ok=True)


def verify(directory: Path, digest: str) -> BundleManifest:
    """Checks every file of a bundle; raises BundleError naming the one that is wrong."""
    manifest = decode_manifest(_read_manifest(directory, digest))
    for name, expected in manifest.files.items():
        path = directory / name
        try:
            actual = _hash(path)
        except OSError as error:
            raise BundleError(f"{name}: cannot be read: {error.strerror}") from error
        if actual != expected:
            raise BundleError(f"{name}: digest mismatch, the file was changed after the bundle was built")
    return manifest


def _read_manifest(directory: Path, digest: str) -> bytes:
    return _checked(read_manifest(directory), digest)


def _checked(data: bytes, digest: str) -> bytes:
    if digest_of(data) != digest:
        raise BundleError(f"{MANIFEST_NAME}: digest mismatch, this is not the bundle that was deployed")
    return data


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

"""Bundles in S3. Imported by servers that fetch one alone: the library for it costs a worker 15 MB."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ml_platform.contracts.bundles import MANIFEST_NAME, MAX_MANIFEST_BYTES, BundleError
from ml_platform.kit.errors import UnavailableError
from ml_platform.kit.s3 import S3Address, S3AddressError, S3Connection
from ml_platform.kit.s3.client import ObjectInfo, S3Client
from ml_platform.kit.s3.folders import MAX_INDEX_BYTES, FolderIndex, FolderIndexError, index_key


class S3Source:
    """A folder of the object storage, or objects that somebody put below a prefix."""

    def __init__(self, uri: str, roots: Iterable[str], connection: S3Connection) -> None:
        try:
            address = S3Address.parse(uri)
            allowed = any(address.below(S3Address.parse(root)) is not None for root in roots)
        except S3AddressError as error:
            raise BundleError(f"bundle_uri: {error}") from error
        if not allowed:
            raise BundleError(f"bundle_uri: {uri!r} is not below a storage root of this server")
        bucket = S3Address(address.bucket, "")
        self._client = S3Client(bucket, connection)
        self._folder = address.prefix
        self._index: FolderIndex | None = None

    def manifest(self) -> bytes:
        try:
            data = self._client.read(index_key(self._folder), MAX_INDEX_BYTES)
            self._index = None if data is None else FolderIndex.decode(data)
            content = self._client.read(self._object(MANIFEST_NAME).key, MAX_MANIFEST_BYTES)
        except (UnavailableError, FolderIndexError, ValueError) as error:
            raise BundleError(f"{MANIFEST_NAME}: cannot be read: {error}") from error
        if content is None:
            raise BundleError(f"{MANIFEST_NAME}: cannot be read: it is not in the object storage")
        return content

    def copy(self, name: str, target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            found = self._client.download(self._object(name), target)
        except (UnavailableError, OSError) as error:
            raise BundleError(f"the bundle cannot be copied: {error}") from error
        if found is None:
            raise BundleError(f"{name}: is not in the object storage any more")

    def _object(self, name: str) -> ObjectInfo:
        if self._index is not None:
            file = self._index.files.get(name)
            if file is None:
                raise BundleError(f"{name}: is not in the object storage")
            return ObjectInfo(f"{self._folder}/{file.object}", file.size, "")
        stored = self._client.head(f"{self._folder}/{name}")
        if stored is None:
            raise BundleError(f"{name}: is not in the object storage")
        return stored.info

"""`ObjectStorage` in a bucket: files as objects, folders as `kit.s3.folders` keeps them, read through a cache.

Nothing is overwritten: what makes a file or folder visible is one request that the store refuses where something
stands. A store that does not honour that condition is found out before the first write, and not written to.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.errors import ConflictError, NotFoundError, UnavailableError
from ml_platform.kit.s3 import S3Address, S3AddressError
from ml_platform.kit.s3.cache import FileCache
from ml_platform.kit.s3.client import ObjectInfo, S3Client, StoredObject
from ml_platform.kit.s3.folders import (
    MAX_INDEX_BYTES,
    FolderIndex,
    FolderIndexError,
    IndexedFile,
    folder_of,
    index_key,
)
from ml_platform.kit.storage import ASIDE, StorageKeyError, checked_key, listing, sha256_of

_AT_ONCE = 8
_TRIES = 3


class S3Storage:
    """URIs are `s3://bucket/prefix/key`.

    Args:
        client: of the prefix.
        cache: holds what `path` answers; the paths stay good for as long as its entries do.
    """

    def __init__(self, client: S3Client, cache: FileCache) -> None:
        self._client = client
        self._cache = cache
        self._proving = threading.Lock()
        self._proven = False

    def put_file(self, key: str, source: Path) -> str:
        checked_key(key)
        self._prove()
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)  # as on a disk: a link is not followed
        os.close(handle)
        digest = sha256_of(source)
        if self._client.head(index_key(key)) is not None:
            raise _taken(key)
        for _ in range(_TRIES):
            found = self._client.head(key)
            if found is not None and self._digest(found) != digest:
                raise _taken(key)
            if found is not None or self._client.put_new(key, source, sha256=digest):
                return self.uri(key)
        raise UnavailableError(f"{key} is being written and deleted by others", retry_after=1)

    def put_dir(self, key: str, source: Path) -> str:
        checked_key(key)
        self._prove()
        sizes = {path: (sha, (source / path).stat().st_size) for path, sha in listing(source).items()}
        index = folder_of(sizes).encode()
        stands = self._index(key)
        if stands is None:
            if self._client.head(key) is not None:
                raise _taken(key)
            files = FolderIndex.decode(index).files
            with ThreadPoolExecutor(min(_AT_ONCE, max(len(files), 1))) as pool:
                list(pool.map(lambda item: self._put_part(key, source / item[0], item[1]), files.items()))
            if self._client.put_new(index_key(key), index):
                return self.uri(key)
            stands = self._index(key)
        if stands != index:
            raise _taken(key)
        return self.uri(key)

    def uri(self, key: str) -> str:
        return f"{self._client.root}/{checked_key(key)}"

    def exists(self, key: str) -> bool:
        checked_key(key)
        return self._client.head(key) is not None or self._client.head(index_key(key)) is not None

    def path(self, uri: str) -> Path:
        key = self._key(uri)
        found = self._client.head(key)
        if found is not None:
            return self._file(found)
        index = self._index(key)
        if index is None:
            raise _gone(key)
        return self._folder(key, index)

    def plain(self, uri: str) -> str:
        """A folder's generation; files whose names a store might misread have other ones there."""
        key = self._key(uri)
        index = self._index(key)
        if index is None:
            raise _gone(key)
        generations = {file.object.partition("/")[0] for file in self._files(key, index).values()}
        return f"{uri}/{generations.pop()}" if generations else uri

    def sha256(self, uri: str) -> str:
        return sha256_of(self.path(uri))

    def delete(self, key: str) -> None:
        """The index goes first: what is no folder any more is seen by nobody while its files go."""
        checked_key(key)
        self._client.delete([index_key(key)])
        self._client.delete([key])
        self._client.delete([info.key for info in self._client.objects(key)])

    def set_aside(self, key: str) -> str:
        """Copies within the store, what makes it a folder last, then deletes."""
        parent, _, name = checked_key(key).rpartition("/")
        aside = "/".join(filter(None, (parent, ASIDE, f"{name}-{secrets.token_hex(6)}")))
        index = index_key(key)
        found = [info.key for info in self._client.objects(key) if info.key != index]
        for moved in [*found, *(single for single in (index, key) if self._client.head(single) is not None)]:
            self._client.copy(moved, aside + moved.removeprefix(key))
        self.delete(key)
        return f"{self._client.root}/{aside}"

    def _key(self, uri: str) -> str:
        try:
            key = S3Address.parse(uri).below(self._client.root)
        except S3AddressError:
            key = None
        if not key or uri != f"{self._client.root}/{key}":
            raise StorageKeyError(f"{uri[:200]!r} is not in this storage")
        return checked_key(key)

    def _put_part(self, key: str, source: Path, file: IndexedFile) -> None:
        """Under a name that follows from the content, so that whoever else writes it writes the same."""
        self._client.put(f"{key}/{file.object}", source, sha256=file.sha256)

    def _index(self, key: str) -> bytes | None:
        try:
            return self._client.read(index_key(key), MAX_INDEX_BYTES)
        except ValueError as error:
            raise _damaged(key) from error

    def _files(self, key: str, index: bytes) -> Mapping[str, IndexedFile]:
        try:
            return FolderIndex.decode(index).files
        except FolderIndexError as error:
            raise _damaged(key) from error

    def _file(self, found: StoredObject) -> Path:
        info = found.info

        def fill(target: Path) -> Mapping[str, str]:
            return {".": self._download(info, target, found.sha256)}

        return self._cache.get(f"{info.key}\0{info.etag}\0{info.size}", info.key.rpartition("/")[2], fill)

    def _folder(self, key: str, index: bytes) -> Path:
        files = self._files(key, index)

        def fill(target: Path) -> Mapping[str, str]:
            target.mkdir()
            with ThreadPoolExecutor(min(_AT_ONCE, max(len(files), 1))) as pool:
                return dict(pool.map(lambda item: (item[0], part(target / item[0], item[1])), files.items()))

        def part(target: Path, file: IndexedFile) -> str:
            target.parent.mkdir(parents=True, exist_ok=True)
            info = ObjectInfo(f"{key}/{file.object}", file.size, "")
            return self._download(info, target, file.sha256)

        identity = f"{key}\0{index.decode('utf-8', 'replace')}"
        return self._cache.get(identity, key.rpartition("/")[2], fill)

    def _download(self, info: ObjectInfo, target: Path, expected: str | None) -> str:
        """The digest of what was written; another try tells a bad transfer from bad content."""
        for _ in range(_TRIES):
            target.unlink(missing_ok=True)
            actual = self._client.download(info, target)
            if actual is None:
                raise _gone(info.key)
            if expected is None or actual == expected:
                target.chmod(0o444)
                return actual
        raise _damaged(info.key)

    def _digest(self, found: StoredObject) -> str:
        return found.sha256 or sha256_of(self._file(found))

    def _prove(self) -> None:
        """Once a process: that the store refuses to write where something stands."""
        with self._proving:
            if self._proven:
                return
            probe = f".probe/{secrets.token_hex(8)}"
            first, second = self._client.put_new(probe, b"1"), self._client.put_new(probe, b"2")
            self._client.delete([probe])
            if not first or second:
                raise UnavailableError(
                    f"the object store {self._client.root} overwrites what must not be overwritten",
                    hint="use a store that honours the header If-None-Match of PUT, as S3 does",
                )
            self._proven = True


def _taken(key: str) -> ConflictError:
    return ConflictError(f"{key} is stored already, with other content")


def _gone(key: str) -> NotFoundError:
    return NotFoundError(
        f"the stored object {key} is gone", hint="restore it from an older version of the bucket"
    )


def _damaged(key: str) -> ConflictError:
    return ConflictError(
        f"the stored object {key} is not what was stored",
        code=ErrorCode.ARTIFACT_CHANGED,
        hint="restore it from an older version of the bucket",
    )

"""Objects below one prefix of a bucket. Credentials come from the environment or the machine, never from a setting.

The chain is that of the library: `AWS_ACCESS_KEY_ID` and its companions, a web identity (IRSA), a container's, an
instance's. What a store answers is never repeated in an error or a log: it can hold the id of a key.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from ml_platform.kit.errors import UnavailableError
from ml_platform.kit.s3.address import S3Address, S3Connection

DIGEST_ATTRIBUTE = "sha256"
"""Metadata of an object: SHA-256 (hex) of its content as its writer knew it."""

_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_PIECE = 8 * 1024 * 1024
_PARTS = 4
_LEAST_RATE = 512 * 1024
"""Bytes a second below which a transfer counts as one that hangs."""

_ABSENT = {"", " (NoSuchKey)"}
"""What a 404 says when it is the object that is not there, and not its bucket."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as a listing has it; `etag` names its content as long as the store keeps it."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it says of itself; `sha256` is what its writer said, if anything."""

    info: ObjectInfo
    sha256: str | None


class S3Client:
    """What a store can do, with its errors translated; safe to use from many threads.

    Every call ends: a store that is down or hangs is an UnavailableError within some tens of seconds.
    """

    def __init__(self, root: S3Address, connection: S3Connection | None = None) -> None:
        self.root = root
        self._connection = connection or S3Connection()
        self._store = self._open(self._connection.silence_seconds)
        self._bulk = self._open(self._connection.silence_seconds + _PIECE / _LEAST_RATE)

    def put(self, key: str, source: Path | bytes, *, sha256: str | None = None) -> None:
        """Writes an object in one step, over whatever stands there; a large file in parts."""
        attributes: Any = {DIGEST_ATTRIBUTE: sha256} if sha256 else None
        try:
            self._told(
                lambda: obstore.put(self._bulk, key, source, attributes=attributes, max_concurrency=_PARTS)
            )
        except UnavailableError:
            # The last request of an upload in parts, tried again, finds that it was done already.
            found = self.head(key) if sha256 else None
            if found is None or found.sha256 != sha256:
                raise

    def put_new(self, key: str, source: Path | bytes, *, sha256: str | None = None) -> bool:
        """Writes an object unless one stands there: False then. A file must be plain."""
        if isinstance(source, bytes):
            return self._create(key, source, len(source), sha256)
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _PIECE:
                return self._create(key, file.read(), size, sha256)
            # The store takes a condition on a single request only: its body is the file's own pages.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
                return self._create(key, pages, size, sha256)

    def head(self, key: str) -> StoredObject | None:
        """What stands there; None when nothing does."""
        answer = self._sought(lambda: obstore.get(self._store, key, options={"head": True}))
        return None if answer is None else _stored(key, answer)

    def read(self, key: str, most: int) -> bytes | None:
        """A small object's content; None when nothing stands there. ValueError beyond `most` bytes."""
        found = self._sought(lambda: obstore.get(self._store, key))
        if found is None:
            return None
        if found.meta["size"] > most:
            raise ValueError(f"{key} has {found.meta['size']} bytes, {most} are allowed")
        return bytes(self._told(found.bytes))

    def download(self, info: ObjectInfo, target: Path) -> str | None:
        """Writes exactly this content to `target`; its SHA-256, or None when it is there no more.

        Piece by piece, so that neither memory nor the time until a hang is found grow with the size.
        """
        digest = hashlib.sha256()
        with target.open("xb") as file:
            for start in range(0, info.size, _PIECE):
                piece = self._piece(info, start, min(start + _PIECE, info.size))
                if piece is None:
                    return None
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()

    def objects(self, folder: str) -> Iterator[ObjectInfo]:
        """Every object below a folder, at any depth."""
        stream = self._told(lambda: iter(obstore.list(self._store, folder + "/")))
        while (page := self._told(lambda: next(stream, None))) is not None:
            for meta in page:
                yield ObjectInfo(meta["path"], meta["size"], (meta["e_tag"] or "").strip('"'))

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder."""
        found = self._told(lambda: obstore.list_with_delimiter(self._store, folder + "/" if folder else None))
        return [path.rpartition("/")[2] for path in found["common_prefixes"]]

    def copy(self, key: str, target: str) -> None:
        """Copies an object within the store, over whatever stands at `target`."""
        self._told(lambda: obstore.copy(self._bulk, key, target))

    def delete(self, keys: list[str]) -> None:
        """Deletes objects; what is not there is no error."""
        if keys:
            self._sought(lambda: obstore.delete(self._store, keys))

    def _piece(self, info: ObjectInfo, start: int, end: int) -> bytes | None:
        options: Any = {"range": (start, end)}
        if info.etag:
            options["if_match"] = f'"{info.etag}"'
        try:
            found = self._sought(lambda: obstore.get(self._bulk, info.key, options=options))
            return None if found is None else bytes(self._told(found.bytes))
        except _ChangedError:
            return None

    def _create(self, key: str, body: Any, size: int, sha256: str | None) -> bool:
        attributes: Any = {DIGEST_ATTRIBUTE: sha256} if sha256 else None
        store = self._store
        if size > _PIECE:
            store = self._open(self._connection.silence_seconds + size / _LEAST_RATE)
        try:
            self._told(
                lambda: obstore.put(
                    store, key, body, mode="create", attributes=attributes, use_multipart=False
                )
            )
        except _ChangedError:
            return False
        return True

    def _open(self, timeout: float) -> S3Store:
        given = self._connection
        options: dict[str, Any] = {}
        if given.endpoint:
            options["endpoint"] = given.endpoint
        if given.region:
            options["region"] = given.region
        endpoint = (
            given.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        )
        return S3Store(
            self.root.bucket,
            prefix=self.root.prefix or None,
            client_options={
                "connect_timeout": timedelta(seconds=given.connect_seconds),
                "timeout": timedelta(seconds=timeout),
                # Nobody names an address without TLS by accident.
                "allow_http": (endpoint or "").startswith("http://"),
            },
            retry_config={
                "max_retries": given.retries,
                "retry_timeout": timedelta(seconds=given.retry_seconds),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
            **options,
        )

    def _sought(self, ask: Callable[[], _T]) -> _T | None:
        try:
            return self._told(ask)
        except FileNotFoundError:
            return None

    def _told(self, ask: Callable[[], _T]) -> _T:
        """Raises FileNotFoundError, _ChangedError, or UnavailableError without the store's own words."""
        try:
            return ask()
        except (AlreadyExistsError, obstore.exceptions.PreconditionError):
            raise _ChangedError from None
        except FileNotFoundError as error:
            if _code(error) not in _ABSENT:
                raise self._unavailable(f"does not answer as it should{_code(error)}", None) from None
            raise FileNotFoundError from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            reason, hint = "refuses what it is asked", "check the credentials and rights of this process"
            raise self._unavailable(f"{reason}{_code(error)}", hint) from None
        except (BaseError, OSError) as error:
            raise self._unavailable(f"does not answer as it should{_code(error)}", None) from None

    def _unavailable(self, reason: str, hint: str | None) -> UnavailableError:
        return UnavailableError(f"the object store {self.root} {reason}", hint=hint, retry_after=5)


class _ChangedError(Exception):
    """A condition of a request does not hold: something stands there, or stands there no more."""


def _stored(key: str, answer: Any) -> StoredObject:
    meta = answer.meta
    info = ObjectInfo(key, meta["size"], (meta["e_tag"] or "").strip('"'))
    return StoredObject(info, answer.attributes.get(DIGEST_ATTRIBUTE))


def _code(error: Exception) -> str:
    """The store's own code for what went wrong, and nothing else of its answer."""
    found = _CODE.search(str(error))
    return f" ({found.group(1)})" if found else ""

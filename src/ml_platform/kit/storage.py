"""Object storage: immutable objects and folders under keys, addressed by URI.

Keys are plain relative paths; an object is written once, whole or not at all. Writing the same content
again changes nothing, so that a step that is tried again after a crash ends where it would have ended.
"""

import hashlib
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from ml_platform.kit.errors import AppError, ConflictError, NotFoundError

_SEGMENT = re.compile(r"[A-Za-z0-9_=@+-][A-Za-z0-9._=@+-]{0,199}")
_MAX_KEY = 900
_CHUNK = 1024 * 1024

ASIDE = ".damaged"
"""Beside a key that was set aside: no segment of a key begins with a dot."""


class StorageKeyError(AppError, ValueError):
    """A key or URI that is not one of ours; a fault of the caller in this process, not of a user."""


def checked_key(key: str) -> str:
    """The key itself; StorageKeyError unless it is a plain relative path."""
    if len(key) > _MAX_KEY or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise StorageKeyError(f"{key[:200]!r} cannot be a storage key")
    return key


def listing(folder: Path) -> dict[str, str]:
    """SHA-256 by relative path of a folder's files; links and the like are refused."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StorageKeyError(f"{path.name!r} is no plain file")
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = sha256_of(path)
    return found


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ObjectStorage(Protocol):
    """Where the platform keeps files. All methods may take as long as copying the content takes."""

    def put_file(self, key: str, source: Path) -> str:
        """Copies a file to `key`; returns its URI. ConflictError when other content stands there."""
        ...

    def put_dir(self, key: str, source: Path) -> str:
        """Copies a folder of plain files to `key`; returns its URI. ConflictError as in `put_file`."""
        ...

    def uri(self, key: str) -> str:
        """The URI of a key, whether or not something stands there."""
        ...

    def exists(self, key: str) -> bool: ...

    def path(self, uri: str) -> Path:
        """A local path on which the content can be read; NotFoundError when it is not there."""
        ...

    def plain(self, uri: str) -> str:
        """Where other tools find the files of a folder, and nothing else; NotFoundError when it is not there."""
        ...

    def sha256(self, uri: str) -> str:
        """SHA-256 (hex) of a file as it is now."""
        ...

    def delete(self, key: str) -> None:
        """Deletes a file or a folder; nothing there is no error."""
        ...

    def set_aside(self, key: str) -> str:
        """Moves a file or folder to where no key leads, for a person to look at; returns that place's URI."""
        ...


class LocalStorage:
    """Object storage in a directory of this machine; URIs are `file:///...`.

    Args:
        root: the directory; made when it is missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._scratch = self._root / ".incoming"

    def put_file(self, key: str, source: Path) -> str:
        target = self._target(key)
        if target.is_file() and not target.is_symlink():
            if sha256_of(target) == sha256_of(source):
                return self.uri(key)
            raise ConflictError(f"{key} is stored already, with other content")
        incoming = self._incoming()
        try:
            _copy(source, incoming)
            self._move_in(incoming, target, key)
        finally:
            incoming.unlink(missing_ok=True)
        return self.uri(key)

    def put_dir(self, key: str, source: Path) -> str:
        target = self._target(key)
        if target.is_dir() and not target.is_symlink():
            if listing(target) == listing(source):
                return self.uri(key)
            raise ConflictError(f"{key} is stored already, with other content")
        incoming = self._incoming()
        try:
            incoming.mkdir()
            for name in listing(source):
                (incoming / name).parent.mkdir(parents=True, exist_ok=True)
                _copy(source / name, incoming / name)
            self._move_in(incoming, target, key)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return self.uri(key)

    def uri(self, key: str) -> str:
        return f"file://{quote(str(self._target(key)))}"

    def exists(self, key: str) -> bool:
        return self._target(key).exists()

    def path(self, uri: str) -> Path:
        parts = urlsplit(uri)
        path = Path(unquote(parts.path))
        plain = parts.scheme == "file" and not (parts.netloc or parts.query or parts.fragment)
        if not plain or not path.is_relative_to(self._root):
            raise StorageKeyError(f"{uri[:200]!r} is not in this storage")
        self._target(path.relative_to(self._root).as_posix())
        if not path.exists():
            raise NotFoundError(
                f"the stored object {path.relative_to(self._root)} is gone",
                hint="restore it from a backup of the storage directory",
            )
        return path

    def plain(self, uri: str) -> str:
        self.path(uri)
        return uri

    def sha256(self, uri: str) -> str:
        return sha256_of(self.path(uri))

    def delete(self, key: str) -> None:
        target = self._target(key)
        if target.is_dir() and not target.is_symlink():
            doomed = self._incoming()
            target.rename(doomed)  # whoever looks never sees half of it
            shutil.rmtree(doomed, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)

    def set_aside(self, key: str) -> str:
        target = self._target(key)
        aside = target.parent / ASIDE / f"{target.name}-{secrets.token_hex(6)}"
        aside.parent.mkdir(exist_ok=True)
        target.rename(aside)
        return f"file://{quote(str(aside))}"

    def _target(self, key: str) -> Path:
        return self._root.joinpath(*checked_key(key).split("/"))

    def _incoming(self) -> Path:
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._scratch / secrets.token_hex(12)

    def _move_in(self, incoming: Path, target: Path, key: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            if incoming.is_dir():
                incoming.rename(target)  # refused by the kernel when somebody was quicker
            else:
                os.link(incoming, target)
        except OSError:
            if not target.exists():
                raise
            same = listing(target) == listing(incoming) if target.is_dir() else None
            if same is False or (same is None and sha256_of(target) != sha256_of(incoming)):
                raise ConflictError(f"{key} is stored already, with other content") from None
        _sync_directory(target.parent)


def _copy(source: Path, target: Path) -> None:
    """Copies a plain file durably; what is stored is read-only."""
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, _CHUNK)
        writer.flush()
        os.fsync(writer.fileno())
    target.chmod(0o444)


def _sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

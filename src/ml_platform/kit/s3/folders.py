"""Folders in a store of objects: the content first, then one object that makes it a folder.

Below a folder's key stand its files, in a generation named after their digests, and `.folder`, the index that lists
them. The index is written last and only where none stands, so a folder is there whole or not at all, whoever was
killed half way, and two writers of different content never mix. A generation is a plain folder for other tools.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

INDEX_NAME = ".folder"
MAX_INDEX_BYTES = 16 * 1024 * 1024

_PLAIN = re.compile(r"[A-Za-z0-9._=@+-]{1,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class FolderIndexError(ValueError):
    """The index of a folder is not one that this platform wrote."""


class IndexedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a folder, and the object below the folder's key that holds it."""

    sha256: str
    size: int
    object: str


class FolderIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a folder by their paths in it."""

    format: int = 1
    files: dict[str, IndexedFile]

    def encode(self) -> bytes:
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def decode(cls, data: bytes) -> FolderIndex:
        """Raises FolderIndexError unless every path stays in the folder."""
        try:
            index = msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, RecursionError) as error:
            raise FolderIndexError(f"the index of the folder cannot be read: {error}") from error
        if index.format != 1:
            raise FolderIndexError(f"the index of the folder has the unknown format {index.format}")
        for path, file in index.files.items():
            if not _stays(path) or not _stays(file.object) or not _DIGEST.fullmatch(file.sha256):
                raise FolderIndexError(
                    f"the index of the folder lists {path[:100]!r}, which is no file of it"
                )
        return index


def folder_of(listing: Mapping[str, tuple[str, int]]) -> FolderIndex:
    """The index of a folder from the SHA-256 and size of each file."""
    names = "\n".join(f"{sha256} {path}" for path, (sha256, _) in sorted(listing.items()))
    generation = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    files = {
        path: IndexedFile(sha256=sha256, size=size, object=f"{generation}/{_name(path, sha256)}")
        for path, (sha256, size) in listing.items()
    }
    return FolderIndex(files=files)


def index_key(key: str) -> str:
    return f"{key}/{INDEX_NAME}"


def _name(path: str, sha256: str) -> str:
    """The path itself; where a store might take its characters for something else, a name by the content."""
    if all(_PLAIN.fullmatch(part) for part in path.split("/")):
        return path
    return f"~{sha256}"


def _stays(path: str) -> bool:
    parts = path.split("/")
    return len(path) <= 1000 and "\0" not in path and not any(part in {"", ".", ".."} for part in parts)

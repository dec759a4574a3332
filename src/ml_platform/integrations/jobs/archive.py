"""Unpacking a source archive that somebody sent: bounded, and files and folders only.

Nothing but regular files and directories is taken, each under a plain relative name, so that no member
can reach outside, whatever came before it. Sizes are bounded as bytes come out of the decompressor.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from pathlib import Path

from ml_platform.integrations.jobs.spec import JobRefusedError

MAX_BYTES = 512 * 1024**2
MAX_MEMBERS = 20_000
MAX_DEPTH = 32

_MAX_READ = 1024**2
_KINDS = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "directory"}


def check_digest(archive: Path, sha256: str) -> None:
    """Raises JobRefusedError unless the file hashes to `sha256` (hexadecimal)."""
    with archive.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256.lower():
        raise JobRefusedError("the source archive is not the one that was announced: its SHA-256 differs")


def extract(
    archive: Path, target: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS
) -> None:
    """Unpacks a tar.gz into `target`, which must be an empty directory.

    Raises:
        JobRefusedError: it cannot be read, is too large, or holds what it must not.
    """
    try:
        with gzip.open(archive) as unpacked:
            # Headers and their padding come on top of the content.
            stream = _Bounded(unpacked, max_bytes + max_members * 2048)
            with tarfile.open(fileobj=stream, mode="r:") as members:  # type: ignore[call-overload]
                _take(members, target, max_bytes, max_members)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise JobRefusedError(f"the source archive cannot be read as tar.gz: {error}") from error


def _take(members: tarfile.TarFile, target: Path, max_bytes: int, max_members: int) -> None:
    total = 0
    for count, member in enumerate(members, start=1):
        if count > max_members:
            raise JobRefusedError(f"the source archive holds more than {max_members} files")
        total += member.size
        if total > max_bytes:
            raise JobRefusedError(f"the source archive unpacks to more than {max_bytes} bytes")
        _take_one(members, member, target)


def _take_one(members: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    kind = _KINDS.get(member.type)
    if kind is None:
        raise JobRefusedError(f"the source archive holds {member.name[:200]!r}, which is no file or folder")
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    hostile = member.name.startswith("/") or "\\" in member.name or not member.name.isprintable()
    if hostile or ".." in parts or len(parts) > MAX_DEPTH:
        raise JobRefusedError(
            f"the source archive holds the path {member.name[:200]!r}, which is not allowed"
        )
    path = target.joinpath(*parts)
    if kind == "directory":
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = members.extractfile(member)
    assert content is not None
    handle = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600 | (member.mode & 0o100)
    )
    with os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(content, file)


class _Bounded:
    """A file that refuses to give more than it should; a header that claims gigabytes is never read."""

    def __init__(self, file: gzip.GzipFile, limit: int) -> None:
        self._file = file
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _MAX_READ:
            raise JobRefusedError("the source archive holds a header of more than 1 MiB")
        self._check(self._file.tell() + size)
        return self._file.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, position: int) -> None:
        # One block of grace: tar reads whole blocks.
        if position > self._limit + tarfile.RECORDSIZE:
            raise JobRefusedError(f"the source archive unpacks to more than {self._limit} bytes")

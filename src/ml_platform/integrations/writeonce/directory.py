"""Write-once as far as a directory can be: whole files, 0444, that nothing of ours writes over.

Whoever owns the directory can still delete them. Against that person it belongs on a machine or a file system that
refuses it, or in a bucket with Object Lock.
"""

import contextlib
import os
import secrets
import time
from datetime import datetime
from pathlib import Path

from ml_platform.contracts.auditarchive import MAX_FILE_BYTES
from ml_platform.kit.errors import UnavailableError

_DRAFT_SECONDS = 3600.0


class ArchiveDirectory:
    """Implements `WriteOnceStore`; several processes may share it."""

    mode = None

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def location(self) -> str:
        return str(self._root)

    def put(self, name: str, content: bytes, keep_until: datetime) -> bool:  # noqa: ARG002 - nothing here keeps time
        target = self._root / name
        try:
            self._folder(target.parent)
            draft = target.with_name(f".{secrets.token_hex(12)}")
            try:
                _write(draft, content)
                try:
                    os.link(draft, target)  # in one step, and only where nothing stands
                except FileExistsError:
                    return False
            finally:
                draft.unlink(missing_ok=True)
            _sync(target.parent)
        except OSError as error:
            raise self._unavailable(error) from None
        return True

    def read(self, name: str) -> bytes | None:
        try:
            with (self._root / name).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(error) from None
        return content

    def _folder(self, folder: Path) -> None:
        """Made when it is missing; drafts that a kill left behind go after a while."""
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _sync(folder.parent)
        for left in folder.glob(".*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _DRAFT_SECONDS:
                    left.unlink()

    def _unavailable(self, error: OSError) -> UnavailableError:
        reason = error.strerror or type(error).__name__
        return UnavailableError(f"the archive {self._root} does not take files: {reason}", retry_after=5)


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), 0o444)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

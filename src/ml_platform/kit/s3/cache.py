"""Copies of stored objects on this machine: written whole, checked by digest at each use, bounded in size.

An entry is a directory named after what identifies its content. What was used within the last hour stays even
beyond the bound: whoever was given its path may still be reading it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_LOOK_SECONDS = 30.0
_IN_USE_SECONDS = 3600.0
_LIST = ".sha256.json"


class FileCache:
    """Several processes may share a directory.

    Args:
        root: made when it is missing; nothing else may stand there.
        max_bytes: beyond it the entries that were not used for longest go.
        in_use_seconds: how long a path that was handed out is good for at least.
    """

    def __init__(self, root: Path, max_bytes: int, *, in_use_seconds: float = _IN_USE_SECONDS) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._in_use_seconds = in_use_seconds
        self._looked = 0.0
        self._lock = threading.Lock()
        self._turns = [threading.Lock() for _ in range(64)]

    def get(self, identity: str, name: str, fill: Callable[[Path], Mapping[str, str]]) -> Path:
        """The path `name` in the entry of this identity.

        Args:
            identity: whatever tells this content from all other.
            name: of the file or folder, as the caller wants to see it.
            fill: is given a path that does not exist, makes the file or folder there and answers the SHA-256 of
                each of its files by their relative paths, that of a single file by `.`.
        """
        key = hashlib.sha256(f"{identity}\0{name}".encode()).hexdigest()
        with self._turns[
            int(key[:2], 16) % len(self._turns)
        ]:  # other processes lose a race and use what is there
            entry = self._root / key[:2] / key
            if self._is_whole(entry, name):
                return entry / name
            self._remove(entry)
            self._fill(entry, name, fill)
        self._bound()
        return entry / name

    def digest(self, path: Path) -> str:
        """The SHA-256 under which a file that `get` answered is kept."""
        return _read_list(path.parent)["."]

    def _fill(self, entry: Path, name: str, fill: Callable[[Path], Mapping[str, str]]) -> None:
        entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = entry.with_name(f".{secrets.token_hex(12)}")
        draft.mkdir(mode=0o700)
        try:
            digests = fill(draft / name)
            (draft / _LIST).write_text(json.dumps(dict(digests)))
            try:
                draft.rename(entry)
            except OSError:
                if not self._is_whole(entry, name):
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _is_whole(self, entry: Path, name: str) -> bool:
        try:
            os.utime(entry)  # first, so that nobody takes it away meanwhile
            listed = _read_list(entry)
            return all(
                _sha256(entry / name if path == "." else entry / name / path) == digest
                for path, digest in listed.items()
            )
        except (OSError, ValueError, TypeError):
            return False

    def _bound(self) -> None:
        with self._lock:
            if time.monotonic() - self._looked < _LOOK_SECONDS and self._looked:
                return
            self._looked = time.monotonic()
        self.sweep()

    def sweep(self) -> int:
        """Removes what is too much, and what a crash left half written; how many bytes are left."""
        now = time.time()
        found: list[tuple[float, int, Path]] = []
        for entry in self._root.glob("*/*"):
            with contextlib.suppress(OSError):
                used = entry.stat().st_mtime
                if entry.name.startswith("."):
                    if now - used > self._in_use_seconds:
                        self._remove(entry)
                    continue
                found.append((used, _size(entry), entry))
        total = sum(size for _, size, _ in found)
        for used, size, entry in sorted(found):
            if total <= self._max_bytes or now - used < self._in_use_seconds:
                break
            self._remove(entry)
            total -= size
        return total

    def _remove(self, entry: Path) -> None:
        """Out of sight first: nobody finds half of it."""
        grave = entry.with_name(f".gone-{secrets.token_hex(8)}")
        try:
            entry.rename(grave)
        except FileNotFoundError:
            return
        shutil.rmtree(grave, ignore_errors=True)


def _read_list(entry: Path) -> dict[str, str]:
    found = json.loads((entry / _LIST).read_text())
    if not isinstance(found, dict):
        raise TypeError("no list of digests")
    return {str(path): str(digest) for path, digest in found.items()}


def _size(entry: Path) -> int:
    return sum(path.lstat().st_size for path in entry.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

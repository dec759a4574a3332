"""The last desired state on this server's own disk, from which it starts when nobody else is there."""

from __future__ import annotations

import os
from pathlib import Path

from ml_platform.contracts.serving import Snapshot, decode_snapshot


def read_snapshot(path: Path) -> Snapshot | None:
    """The stored snapshot, or None when there is none yet; raises SnapshotError when it is damaged."""
    try:
        return decode_snapshot(path.read_bytes())
    except FileNotFoundError:
        return None


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replaces a file so that after any crash there is the old content or the new, whole and on disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

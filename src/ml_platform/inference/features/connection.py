"""A read-only connection to an online store in SQLite, with a deadline for every call.

It notices two things cheaply: that another process committed (SQLite's `data_version`), so what is kept
in memory is dropped exactly when it may be out of date, and that the file was replaced.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_platform.inference.features.errors import FeatureStoreUnavailable

_OPCODES_BETWEEN_CHECKS = 10_000
_IDENTITY_CHECK_SECONDS = 0.5
_CACHE_KIB = 16 * 1024


class StoreConnection:
    """Not for two threads at once; every SQLite error becomes `FeatureStoreUnavailable`."""

    def __init__(
        self, path: str, deadline_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._limit = deadline_seconds
        self._monotonic = monotonic
        self._until = monotonic() + deadline_seconds
        self._identity = _identity(path)
        self._checked = monotonic()
        self._version = -1
        try:
            self._db = sqlite3.connect(
                Path(path).absolute().as_uri() + "?mode=ro",
                uri=True,
                isolation_level=None,
                timeout=deadline_seconds,
                cached_statements=256,
                check_same_thread=False,
            )
            self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._db.execute("PRAGMA query_only=1")
        except sqlite3.Error as error:
            raise _unavailable(error, path) from error
        self._db.set_progress_handler(self._is_late, _OPCODES_BETWEEN_CHECKS)

    def begin(self) -> bool:
        """Starts a call's deadline; true when the store may have changed since the call before."""
        self._until = self._monotonic() + self._limit
        try:
            version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise _unavailable(error, self._path) from error
        changed = version != self._version
        self._version = version
        return changed

    def is_current(self) -> bool:
        """Whether the path still names the file that is open; looked at twice a second at most."""
        now = self._monotonic()
        if now - self._checked < _IDENTITY_CHECK_SECONDS:
            return True
        self._checked = now
        try:
            return _identity(self._path) == self._identity
        except FeatureStoreUnavailable:
            return False  # opening it again says so

    def select(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _unavailable(error, self._path) from error

    def close(self) -> None:
        self._db.close()

    def _is_late(self) -> int:
        return int(self._monotonic() > self._until)


def _identity(path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise FeatureStoreUnavailable(
            "the online store does not exist: materialize the feature view first"
        ) from error
    return status.st_dev, status.st_ino


def _unavailable(error: sqlite3.Error, path: str) -> FeatureStoreUnavailable:
    name = getattr(error, "sqlite_errorname", "") or ""
    text = str(error)
    reason = f"cannot be read ({text})"
    if name.startswith("SQLITE_INTERRUPT"):
        reason = "did not answer within the deadline"
    elif name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        reason = "is locked by a writer: try again"
    elif name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        reason = f"is damaged ({text}): materialize the feature view anew"
    elif "no such table" in text or "no such column" in text:
        reason = f"holds no such feature view ({text}): apply and materialize it"
    return FeatureStoreUnavailable(f"the online store {Path(path).name} {reason}")

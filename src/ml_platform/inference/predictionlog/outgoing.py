"""Parquet files that wait on this machine to be sent to the bucket of the log, in its partitions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from ml_platform.inference.predictionlog.spool import begun_ns

_PATTERN = "team=*/environment=*/endpoint=*/date=*/[!.]*.parquet"
"""A draft that is being written begins with a dot."""


class Shipped(msgspec.Struct):
    """What arrived, how many days were deleted there, and why the rest did not arrive, if so."""

    files: int = 0
    bytes: int = 0
    days_deleted: int = 0
    error: str | None = None


def any_waits(outgoing: Path) -> bool:
    return next(outgoing.glob(_PATTERN), None) is not None


def waiting(outgoing: Path) -> list[Path]:
    """Oldest first."""
    return sorted(outgoing.glob(_PATTERN), key=lambda path: path.name)


def waiting_bytes(outgoing: Path) -> int:
    total = 0
    for path in outgoing.glob(_PATTERN):
        with suppress(FileNotFoundError):  # it has just arrived
            total += path.stat().st_size
    return total


def waits_from_before(outgoing: Path, moment_ns: int) -> bool:
    """Whether a file waits whose segment was begun before."""
    return any(begun_ns(path) < moment_ns for path in waiting(outgoing))

"""Deletes the oldest days of the prediction log: by age, and by the size of the whole.

A day is deleted for all endpoints at once, so that a busy endpoint's log ends where a quiet one's does not
begin to lie. Today stays whatever its size: what is being written is bounded by the disk's free space.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

_log = logging.getLogger(__name__)
_DAYS = "team=*/environment=*/endpoint=*/date=*"
_GONE = ".deleted-"


def prune(root: Path, *, days: float, most_bytes: int, now: datetime) -> list[date]:
    """Deletes what is too old or too much; the days that went. 0 sets no limit.

    Raises:
        OSError: something could not be deleted; it is tried again the next time.
    """
    for left in root.glob(_GONE + "*"):
        shutil.rmtree(left)
    partitions: dict[date, list[Path]] = {}
    for path in root.glob(_DAYS):
        if (day := _day(path)) is not None:
            partitions.setdefault(day, []).append(path)
    today = now.astimezone(UTC).date()
    oldest = (now.astimezone(UTC) - timedelta(days=days)).date() if days else date.min
    sizes = {day: sum(map(_size, paths)) for day, paths in partitions.items()} if most_bytes else {}
    total, gone = sum(sizes.values()), []
    for day in sorted(partitions):
        if day >= today or not (day < oldest or (most_bytes and total > most_bytes)):
            break
        for path in partitions[day]:
            _delete(path, root)
        total -= sizes.get(day, 0)
        gone.append(day)
        _log.info("the prediction log of %s was deleted", day)
    return gone


def _day(path: Path) -> date | None:
    try:
        return date.fromisoformat(path.name.partition("=")[2])
    except ValueError:
        return None


def _size(directory: Path) -> int:
    with os.scandir(directory) as entries:
        return sum(entry.stat().st_size for entry in entries)


def _delete(path: Path, root: Path) -> None:
    """First out of the readers' sight, so that none sees half of a day."""
    doomed = root / f"{_GONE}{secrets.token_hex(8)}"
    path.rename(doomed)
    shutil.rmtree(doomed)

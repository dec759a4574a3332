"""Requests per second, by key and by team, over all workers and without asking anybody.

Each worker counts in cells of its own, in memory that all workers map; the sum of a key's cells is what all
of them have let pass. The window slides: the second before counts for the part of it that is still within.
(The 'sliding window counter', as gateways use it: off by a few per cent for traffic that comes in bursts.)
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ml_platform.inference.errors import TooManyRequests
from ml_platform.inference.routing import Key, RoutingTable

_CELL: Final = struct.Struct("<QII")
_CELLS: Final = 65_536
_ROW: Final = _CELL.size * _CELLS


class Limits:
    """Lets requests pass, or refuses them.

    Args:
        path: the file behind the shared memory; the same for all workers.
        worker: this worker's number, counted from 0.
        workers: how many there are.
    """

    def __init__(self, path: Path, worker: int, workers: int, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < _ROW * workers:
                os.ftruncate(descriptor, _ROW * workers)  # sparse: only what is counted takes space
            self._memory = mmap.mmap(descriptor, _ROW * workers)
        finally:
            os.close(descriptor)
        self._rows = range(0, _ROW * workers, _ROW)
        self._own = _ROW * worker
        self._clock = clock
        self._version: int | None = None
        self._cells: dict[str, int] = {}

    def check(self, key: Key, table: RoutingTable) -> None:
        """Counts a request; raises TooManyRequests when its key, or its team, has had its share."""
        if key.rate is None and key.team_rate is None:
            return
        if table.version != self._version:
            self._version, self._cells = table.version, _cells(table.keys.values())
        now = self._clock()
        if key.rate is not None:
            self._count(_of_key(key), key.rate, now, "this API key")
        if key.team_rate is not None:
            self._count(_of_team(key), key.team_rate, now, f"team {key.team}")

    def _count(self, name: str, rate: float, now: float, who: str) -> None:
        cell = self._cells.get(name)
        if cell is None:  # more limits than cells: the snapshot is bounded far below that
            return
        second = int(now)
        passed = before = 0
        for row in self._rows:
            at, count, previous = _CELL.unpack_from(self._memory, row + cell)
            if at == second:
                passed += count
                before += previous
            elif at == second - 1:
                before += count
        if passed + before * (1 - (now - second)) + 1 > rate:
            raise TooManyRequests(f"{who} may send {rate:g} requests a second", retry_after=1)
        at, count, previous = _CELL.unpack_from(self._memory, self._own + cell)
        if at != second:
            count, previous = 0, count if at == second - 1 else 0
        _CELL.pack_into(self._memory, self._own + cell, second, count + 1, previous)


def _cells(keys: Iterable[Key]) -> dict[str, int]:
    """Where each limit is counted: in the order of the names, which is the same in all workers."""
    names = {_of_key(key) for key in keys if key.rate is not None}
    names |= {_of_team(key) for key in keys if key.team_rate is not None}
    return {name: index * _CELL.size for index, name in enumerate(sorted(names)[:_CELLS])}


def _of_key(key: Key) -> str:
    return f"key:{key.key_id}"


def _of_team(key: Key) -> str:
    return f"team:{key.team}"

"""How much memory there is, and how much of it models take."""

from __future__ import annotations

import ctypes
from pathlib import Path

import psutil

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_SHARE = 0.6
"""Of the memory that models may take by default: the rest is for requests, logs and other processes."""


def default_budget(workers: int) -> int:
    """Bytes for the models of one worker: its part of what the machine or the container has."""
    total = psutil.virtual_memory().total
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return int(total * _SHARE / workers)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(psutil.Process().memory_info().rss)


def resident_tree(pid: int) -> int:
    """Bytes in memory of a process and of those that it started; 0 when it is gone."""
    try:
        total = int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):  # not Linux, or gone
        return total
    return total + sum(resident_tree(child) for child in children)


def give_back() -> None:
    """Gives freed memory back to the system, where the C library has a way to do so (glibc)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return
    trim(0)

"""How much memory there is, and how much of it models take.

What a model takes in this process is what the C library has handed out meanwhile: the resident size also
knows pages that were freed and not given back, so that a model which moves into them seems to take nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from pathlib import Path

import psutil

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_FREE = re.compile(rb'<total type="(?:fast|rest)" count="\d+" size="(\d+)"')
_MAPPED = re.compile(rb'<total type="mmap" count="\d+" size="(\d+)"')
_SYSTEM = re.compile(rb'<system type="current" size="(\d+)"')
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


def model_budget(memory_bytes: int, workers: int) -> int:
    """The same as the settings have it; 0 is no limit."""
    return 0 if memory_bytes < 0 else memory_bytes or default_budget(workers)


def allocated() -> int:
    """Bytes that this process has allocated; without glibc those that are resident."""
    try:
        report = _malloc_info()
        totals = report[report.rindex(b"</heap>") :]
        free = sum(int(size) for size in _FREE.findall(totals))
        (mapped,) = _MAPPED.findall(totals)
        (system,) = _SYSTEM.findall(totals)
    except (AttributeError, OSError, ValueError):
        return int(psutil.Process().memory_info().rss)
    return int(system) - free + int(mapped)


def resident_tree(pid: int) -> int:
    """Bytes in memory of a process and of those that it started; 0 when it is gone."""
    try:
        total = int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
    for task in Path(f"/proc/{pid}/task").glob("*/children"):  # any of its threads may have started them
        with contextlib.suppress(OSError, ValueError):  # gone
            total += sum(resident_tree(int(child)) for child in task.read_text().split())
    return total


def give_back() -> None:
    """Gives freed memory back to the system, where the C library has a way to do so (glibc)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return
    trim(0)


def _malloc_info() -> bytes:
    """What glibc says of its heaps, as XML."""
    libc = ctypes.CDLL(None)
    libc.open_memstream.restype = ctypes.c_void_p
    libc.open_memstream.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    libc.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.fclose.argtypes = libc.free.argtypes = (ctypes.c_void_p,)
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
    if not stream:
        raise OSError("no memory for a stream")
    try:
        libc.malloc_info(0, stream)
        libc.fclose(stream)
        return ctypes.string_at(text.value or 0, size.value)
    finally:
        libc.free(text)

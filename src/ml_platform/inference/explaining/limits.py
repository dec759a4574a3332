"""Limits that the explaining program puts on itself before it does anything."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_NICENESS = 10


def restrict(memory_bytes: int, parent: int) -> None:
    """Bounds data memory, writes no core, gives way to the workers, and ends when `parent` does."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICENESS)  # an explanation may wait, a prediction may not
    if sys.platform == "linux":
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it died before we could ask to be told

"""What a worker has written to an HTTP/2 connection: how much, and the last of it.

Such a connection cannot be carried on by another worker: its header tables and streams stand in the lost
one's memory. It can be ended so that its callers lose nothing, if what was written ends with a whole frame.
A slot of the journal says how much was about to be written; the kernel knows how much was; the difference is
kept here, too.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct("<Qq")
_COPY_AT: Final = (64, 160)
_RING_AT: Final = 256
RING_BYTES: Final = 16 * 1024


class Written(NamedTuple):
    """`total` bytes were to be written, of which the kernel has not got `rest`."""

    total: int
    rest: bytes


def begin(slot: memoryview, written: int) -> None:
    """Sets a slot up for a connection to which the kernel says that so much was written."""
    _HEADER.pack_into(slot, _COPY_AT[0], 0, written)
    slot[0] = 0


def written(slot: memoryview, count: int) -> Written | None:
    """By the slot and the kernel's count; None when it cannot be known."""
    total, base = _HEADER.unpack_from(slot, _COPY_AT[slot[0] & 1])
    rest = total - (count - base)
    if not 0 <= rest <= min(total, RING_BYTES):
        return None
    start = (total - rest) % RING_BYTES
    ring = slot[_RING_AT : _RING_AT + RING_BYTES]
    return Written(
        total, bytes(ring[start : start + rest]) + bytes(ring[: max(start + rest - RING_BYTES, 0)])
    )


class Tail:
    """A slot in the hands of its worker."""

    __slots__ = ("_base", "_ring", "_slot", "_total")

    def __init__(self, slot: memoryview) -> None:
        self._slot = slot
        self._ring = slot[_RING_AT : _RING_AT + RING_BYTES]
        self._total, self._base = _HEADER.unpack_from(slot, _COPY_AT[slot[0] & 1])

    def note(self, data: bytes) -> None:
        """Takes note of bytes that are about to be written; they count from the last instruction on."""
        start = self._total % RING_BYTES
        self._total += len(data)
        end = start + len(data)
        if end <= RING_BYTES:
            self._ring[start:end] = data
        else:
            self._wrap(data)
        slot = self._slot
        other = 1 - (slot[0] & 1)
        _HEADER.pack_into(slot, _COPY_AT[other], self._total, self._base)
        slot[0] = other

    def _wrap(self, data: bytes) -> None:
        data = data[-RING_BYTES:]
        end = self._total % RING_BYTES
        split = max(len(data) - end, 0)
        if split:
            self._ring[RING_BYTES - split :] = data[:split]
        self._ring[end - (len(data) - split) : end] = data[split:]

"""What a worker has read and is about to write, connection by connection, in memory shared with its parent.

A slot holds the request that is being answered and the answer. Its header stands there twice and one byte
says which copy counts, so that a worker that is killed between two instructions leaves a header that is
whole. The kernel reads requests right into the slot: no byte is ever only in the worker's own memory.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import Final, NamedTuple

SLOT_BYTES: Final = 64 * 1024
SLOTS: Final = 2048
_REQUEST_AT: Final = 256
_RESPONSE_AT: Final = 48 * 1024
REQUEST_BYTES: Final = _RESPONSE_AT - _REQUEST_AT
RESPONSE_BYTES: Final = SLOT_BYTES - _RESPONSE_AT
_HEADER = struct.Struct("<QQqqIIHH")
_COPY_AT: Final = (64, 160)

UNANSWERED: Final = 0
ANSWERED: Final = 1
UNSAFE: Final = 2


class Entry(NamedTuple):
    """The header of a slot.

    `received` and `sent` count the connection's bytes; `sent` those of the answers before this one.
    `read_base` and `written_base` are the kernel's counts when both were 0. `tries` is how many workers
    were lost with this request in their hands.
    """

    received: int = 0
    sent: int = 0
    read_base: int = 0
    written_base: int = 0
    request: int = 0
    response: int = 0
    state: int = ANSWERED
    tries: int = 0


class Journal:
    """The slots of one worker; memory is taken only by those that are used."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SLOT_BYTES * SLOTS)
        self.view = memoryview(self._memory)

    @staticmethod
    def create() -> int:
        """A descriptor of fresh shared memory."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("mlops-journal", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, SLOT_BYTES * SLOTS)
        return descriptor

    def slot(self, number: int) -> memoryview:
        start = number * SLOT_BYTES
        return self.view[start : start + SLOT_BYTES]

    def close(self) -> None:
        self.view.release()
        self._memory.close()


def load(slot: memoryview) -> Entry:
    """The header that counts."""
    return Entry(*_HEADER.unpack_from(slot, _COPY_AT[slot[0] & 1]))


def store(slot: memoryview, entry: Entry) -> None:
    """Writes a header; it counts from the last instruction on."""
    other = 1 - (slot[0] & 1)
    _HEADER.pack_into(slot, _COPY_AT[other], *entry)
    slot[0] = other


def request_of(slot: memoryview, entry: Entry, beyond: int = 0) -> bytes:
    """The request; `beyond` are bytes that the kernel put behind what the header counts."""
    return bytes(slot[_REQUEST_AT : _REQUEST_AT + entry.request + beyond])


def response_of(slot: memoryview, entry: Entry) -> bytes:
    return bytes(slot[_RESPONSE_AT : _RESPONSE_AT + entry.response])


def begin(
    slot: memoryview, *, read: int, written: int, request: bytes = b"", response: bytes = b"", tries: int = 0
) -> None:
    """Sets a slot up for a connection: with a request that is to be answered, or an answer to be sent."""
    slot[_REQUEST_AT : _REQUEST_AT + len(request)] = request
    slot[_RESPONSE_AT : _RESPONSE_AT + len(response)] = response
    store(
        slot,
        Entry(
            received=len(request),
            read_base=read - len(request),
            written_base=written,
            request=len(request),
            response=len(response),
            state=UNANSWERED if request else ANSWERED,
            tries=tries,
        ),
    )


class Writer:
    """A slot in the hands of its worker. Cheap: a few copies within memory for each request.

    A request or an answer that does not fit is not kept, and neither are requests that overlap: such a
    connection ends with its worker, until the next request that fits.
    """

    __slots__ = (
        "_answered",
        "_before",
        "_entry",
        "_fits",
        "_kept",
        "_overlaps",
        "_received",
        "_request",
        "_response",
        "_slot",
        "_spare",
        "_total",
        "_tries",
    )

    def __init__(self, slot: memoryview, spare: memoryview) -> None:
        self._slot = slot
        self._spare = spare
        self._entry = entry = load(slot)
        self._received, self._request, self._response = entry.received, entry.request, entry.response
        self._before = entry.sent
        self._total = entry.sent + entry.response
        self._tries = entry.tries
        self._answered = entry.state == ANSWERED
        self._kept, self._overlaps, self._fits = True, False, True

    def pending(self) -> bytes:
        """The request that a worker before this one has left."""
        return b"" if self._answered else request_of(self._slot, self._entry)

    def unsent(self) -> bytes:
        """The answer that a worker before this one has made, and not sent."""
        return response_of(self._slot, self._entry) if self._answered else b""

    def room(self) -> memoryview:
        """Where the kernel is to put the next bytes."""
        start = 0 if self._answered else self._request
        self._fits = start < REQUEST_BYTES and (self._kept or self._answered)
        return self._slot[_REQUEST_AT + start : _RESPONSE_AT] if self._fits else self._spare

    def read(self, count: int) -> bytes:
        """Takes note of the bytes that the kernel has put there, and gives them."""
        if self._answered:
            self._request = self._response = self._tries = 0
            self._before = self._total
            self._answered, self._kept = False, not self._overlaps
        start = self._request
        self._received += count
        if self._fits:
            self._request = start + count
            data = bytes(self._slot[_REQUEST_AT + start : _REQUEST_AT + start + count])
        else:
            self._kept = False
            data = bytes(self._spare[:count])
        self._store()
        return data

    def answer(self, data: bytes) -> None:
        """Takes note of the last bytes of an answer, which are about to be sent; what follows is the next's."""
        self._answered = True
        self.write(data)

    def write(self, data: bytes) -> None:
        """Takes note of bytes that are about to be sent."""
        start, end = self._response, self._response + len(data)
        self._total += len(data)
        if end > RESPONSE_BYTES:
            self._kept = False
        elif self._before + end == self._total:
            self._slot[_RESPONSE_AT + start : _RESPONSE_AT + end] = data
            self._response = end
        self._store()

    def overlaps(self) -> None:
        """A request came before the one before it was answered."""
        self._overlaps, self._kept = True, False
        self._store()

    def _store(self) -> None:
        if self._answered:
            whole = self._before + self._response == self._total and not self._overlaps
            state = ANSWERED if whole else UNSAFE
        else:
            state = UNANSWERED if self._kept else UNSAFE
        slot, entry = self._slot, self._entry
        other = 1 - (slot[0] & 1)
        _HEADER.pack_into(
            slot,
            _COPY_AT[other],
            self._received,
            self._before,
            entry.read_base,
            entry.written_base,
            self._request,
            self._response,
            state,
            self._tries,
        )
        slot[0] = other

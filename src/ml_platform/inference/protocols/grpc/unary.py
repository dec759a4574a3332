"""What a call is to the one who answers it: headers and one message in, a status and one message out."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

PREFIX_BYTES: Final = 5
"""In front of each message: whether it is compressed, and its length in four bytes."""
_WINDOW_BITS: Final = {b"gzip": 31, b"deflate": 15}
ACCEPTED: Final = (b"grpc-accept-encoding", b"identity,deflate,gzip")


class Status(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Reply(NamedTuple):
    """`message` is sent when the status is OK, `details` when it is not."""

    status: Status
    message: bytes = b""
    details: str = ""
    trailing: tuple[tuple[bytes, bytes], ...] = ()


Method = Callable[[Mapping[bytes, bytes], bytes], Awaitable[Reply]]
Methods = Mapping[bytes, Method]
"""By their paths, `/package.Service/Method`."""


class RefusedError(Exception):
    """A call that no method gets to see."""

    def __init__(self, status: Status, details: str, trailing: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(details)
        self.reply = Reply(status, b"", details, trailing)


def message_of(body: bytes, encoding: bytes, most: int) -> bytes:
    """The one message of a request's body.

    Raises:
        RefusedError: there is none, or more than one, or it cannot be unpacked, or is longer than `most`.
    """
    size = len(body) - PREFIX_BYTES
    if size < 0:
        if body:
            raise RefusedError(Status.INVALID_ARGUMENT, "the message ends within its prefix")
        raise RefusedError(Status.UNIMPLEMENTED, "this method takes one message, there was none")
    length = int.from_bytes(body[1:PREFIX_BYTES], "big")
    if size != length:
        if size < length:
            raise RefusedError(Status.INVALID_ARGUMENT, f"the message has {size} of its {length} bytes")
        raise RefusedError(Status.UNIMPLEMENTED, "this method takes one message, there were more")
    if not body[0]:
        return body[PREFIX_BYTES:]
    if body[0] != 1:
        raise RefusedError(Status.INVALID_ARGUMENT, "the message's prefix is none")
    return _unpacked(body[PREFIX_BYTES:], encoding, most)


def too_large(most: int) -> RefusedError:
    return RefusedError(Status.RESOURCE_EXHAUSTED, f"the message is larger than {most} bytes")


def _unpacked(data: bytes, encoding: bytes, most: int) -> bytes:
    window = _WINDOW_BITS.get(encoding)
    if window is None:
        shown = encoding[:32].decode("latin-1")
        raise RefusedError(Status.UNIMPLEMENTED, f"messages of encoding '{shown}' are not read", (ACCEPTED,))
    unpacking = zlib.decompressobj(window)
    try:
        message = unpacking.decompress(data, most + 1)
    except zlib.error as error:
        raise RefusedError(Status.INVALID_ARGUMENT, f"the message cannot be unpacked: {error}") from None
    if len(message) > most:
        raise too_large(most)
    if not unpacking.eof:
        raise RefusedError(Status.INVALID_ARGUMENT, "the message cannot be unpacked: it is cut short")
    return message

"""The bytes of HTTP/2 (RFC 9113): kinds of frames, their flags, errors, settings, and how frames are made."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = struct.Struct(">HBBBI")
"""Length in two parts, kind, flags, stream (whose highest bit means nothing)."""
HEAD_BYTES: Final = HEAD.size

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
SETTING: Final = struct.Struct(">HI")

DEFAULT_WINDOW: Final = 65_535
MOST_WINDOW: Final = 2**31 - 1
DEFAULT_FRAME: Final = 16_384
MOST_FRAME: Final = 2**24 - 1
LAST_STREAM: Final = 2**31 - 1


class ErrorCode(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):  # noqa: N818 - the RFC's word is 'connection error', which Python has taken
    """The peer broke a rule that the whole connection depends on."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class StreamFault(Exception):  # noqa: N818
    """The peer broke a rule of one stream."""

    def __init__(self, stream: int, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.stream = stream
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*each) for each in values.items()))


def goaway(last: int, code: int, message: str = "") -> bytes:
    """`last` is the last stream that may have had an effect; clients repeat later ones elsewhere."""
    payload = last.to_bytes(4, "big") + code.to_bytes(4, "big") + message.encode()
    return frame(GOAWAY, 0, 0, payload)


def reset(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


SETTINGS_ACK: Final = frame(SETTINGS, ACK, 0)
FAREWELL: Final = goaway(0, ErrorCode.NO_ERROR, "the worker was lost")
"""Nothing was done: what is not answered may be repeated on another connection."""
EMPTY_SETTINGS: Final = settings({})

"""How many bytes a process has read from a TCP connection and written to it, by the kernel's own count."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import sys
import termios
from typing import NamedTuple

SUPPORTED = sys.platform == "linux"
_ESTABLISHED = 1
_COUNTS = struct.Struct("<QQ")
_COUNTS_AT = 120  # tcpi_bytes_acked and tcpi_bytes_received in struct tcp_info, linux/tcp.h
_INFO_SIZE = 192
_TRIES = 100


class Passed(NamedTuple):
    """Bytes since the connection began, up to a constant that stays the same for its life."""

    read: int
    written: int


def passed(connection: socket.socket) -> Passed | None:
    """What has passed, or None when the connection is over or its counts do not come to rest.

    Read is what arrived less what waits in the buffer; written is what was acknowledged plus what waits to
    be. The peer may be active meanwhile, so the counts are taken until two in a row agree.
    """
    if not SUPPORTED:
        return None
    try:
        before = _counts(connection)
        for _ in range(_TRIES):
            unread, unsent = _waiting(connection, termios.FIONREAD), _waiting(connection, termios.TIOCOUTQ)
            after = _counts(connection)
            if before == after:
                break
            before = after
        else:
            return None
    except OSError:
        return None
    if after is None:
        return None
    acknowledged, arrived = after
    return Passed(arrived - unread, acknowledged + unsent)


def _counts(connection: socket.socket) -> tuple[int, int] | None:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    if len(info) < _COUNTS_AT + _COUNTS.size or info[0] != _ESTABLISHED:
        return None
    acknowledged, arrived = _COUNTS.unpack_from(info, _COUNTS_AT)
    return acknowledged, arrived


def _waiting(connection: socket.socket, what: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(connection, what, count)
    return count[0]

"""What the parent and a worker say to each other about connections: small messages, some with a descriptor."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final, NamedTuple

_MESSAGE = struct.Struct("<BQi")
TAKE: Final = 1
"""Parent to worker, with the connection's descriptor: it is yours, its slot says where it stands."""
CLOSED: Final = 2
"""Worker to parent: this connection is over."""
READY: Final = 3
"""Worker to parent: give me connections."""
TAKE_GRPC: Final = 4
"""As TAKE, for a connection that speaks gRPC."""
NO_SLOT: Final = -1
_KIND: Final = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM


class Message(NamedTuple):
    kind: int
    connection: int = 0
    slot: int = NO_SLOT


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages whole and in order, and never block."""
    ends = socket.socketpair(socket.AF_UNIX, _KIND)
    for end in ends:
        end.setblocking(False)
    return ends


def send(end: socket.socket, message: Message, descriptor: int | None = None) -> None:
    """Sends a message; raises BlockingIOError when the other side does not keep up, OSError when it is gone."""
    data = _MESSAGE.pack(*message)
    if descriptor is None:
        end.send(data)
    else:
        socket.send_fds(end, [data], [descriptor])


def receive(end: socket.socket) -> tuple[Message, int | None] | None:
    """The next message and its descriptor; None when the other side is gone. Raises BlockingIOError when idle."""
    data, descriptors, _, _ = socket.recv_fds(end, _MESSAGE.size, 1)
    if len(data) != _MESSAGE.size:
        return None
    return Message(*_MESSAGE.unpack(data)), (descriptors[0] if descriptors else None)

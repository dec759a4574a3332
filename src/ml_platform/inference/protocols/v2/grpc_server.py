"""The port of gRPC: held by the parent, listened on by every worker at once.

Each worker has a listening socket of its own on the same port (SO_REUSEPORT), and the kernel deals out the
connections. The parent holds the port without listening, from before the first worker to after the last, so
that nobody else takes it meanwhile. gRPC is imported only where it is served: it costs memory.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

from ml_platform.inference.settings import GRPC_OFF, Settings

if TYPE_CHECKING:
    import grpc.aio

    from ml_platform.inference.dataplane import DataPlane

_BIND_SECONDS = 5.0


class GrpcPortError(ValueError):
    """The port cannot be had; the message says what to change."""


async def hold_port(settings: Settings) -> socket.socket | None:
    """A socket that is bound to the port and never listens, or None when gRPC is off.

    Workers that outlived another parent get a moment to let go of the port. Raises GrpcPortError.
    """
    if settings.grpc_port == GRPC_OFF:
        return None
    deadline = time.monotonic() + _BIND_SECONDS
    while True:
        try:
            return _bound(settings)
        except (OSError, OverflowError) as error:
            if time.monotonic() > deadline or isinstance(error, OverflowError):
                reason = error.strerror if isinstance(error, OSError) else "there is no such port"
                where = f"{settings.host}:{settings.grpc_port}"
                raise GrpcPortError(
                    f"cannot serve gRPC on {where}: {reason}; choose another --grpc-port"
                ) from error
            await asyncio.sleep(0.1)


def _bound(settings: Settings) -> socket.socket:
    """Two servers that both ask for SO_REUSEPORT share a port without a word: so first without it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((settings.host, settings.grpc_port))
        probe.listen()
        address = probe.getsockname()
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError:
        held.close()
        raise
    return held


async def start_grpc(settings: Settings, plane: DataPlane) -> grpc.aio.Server | None:
    """Serves on the port that the parent holds; None when gRPC is off."""
    if settings.grpc_port == GRPC_OFF:
        return None
    import grpc.aio

    from ml_platform.inference.protocols.v2.grpc_service import OpenInference

    options: list[tuple[str, Any]] = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", settings.max_connections),
    ]
    server = grpc.aio.server(
        handlers=(OpenInference(plane).handler(),),
        options=options,
        maximum_concurrent_rpcs=settings.max_connections,
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    server.add_insecure_port(f"{host}:{settings.grpc_port}")
    await server.start()
    return server


async def stop_grpc(server: grpc.aio.Server | None, seconds: float) -> None:
    """Accepts nothing more, and gives what is running so many seconds."""
    if server is not None:
        await server.stop(seconds)

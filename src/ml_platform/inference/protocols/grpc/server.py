"""The gRPC connections of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ml_platform.inference.protocols.grpc.connection import Bounds, Connection, Tail
from ml_platform.inference.protocols.grpc.unary import Methods
from ml_platform.inference.settings import Settings

_POLL_SECONDS: Final = 0.02


class GrpcServer:
    """Makes the protocol of each new connection, and ends them all in order."""

    def __init__(self, settings: Settings, methods: Methods) -> None:
        self._bounds = Bounds(
            methods, settings.max_body_bytes, settings.max_connections, settings.body_timeout
        )
        self._connections: set[Connection] = set()

    def protocol(self, tail: Tail | None, closed: Callable[[], None]) -> Connection:
        """For a new connection; `tail` takes note of what it writes, `closed` is told when it is over."""

        def over(connection: Connection) -> None:
            self._connections.discard(connection)
            closed()

        connection = Connection(self._bounds, tail, over)
        self._connections.add(connection)
        return connection

    async def stop(self, seconds: float) -> None:
        """Says goodbye, and gives what is running so many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        for connection in list(self._connections):
            connection.drain()
        while self._connections and loop.time() < until:  # noqa: ASYNC110 - connections end one by one
            await asyncio.sleep(_POLL_SECONDS)
        for connection in list(self._connections):
            connection.abort()

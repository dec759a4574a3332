"""The worker's side: a connection whose reads and writes are journaled around uvicorn's own protocol."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ml_platform.inference.handover import wire
from ml_platform.inference.handover.journal import RESPONSE_BYTES, SLOT_BYTES, Journal, Writer
from ml_platform.inference.handover.tail import Tail
from ml_platform.inference.protocols.grpc.server import GrpcServer

_log = logging.getLogger(__name__)
_AGAIN_SECONDS = 0.01
_CONTINUE = b"HTTP/1.1 100 "


class AnsweringProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which tells when an answer is whole."""

    answered: Callable[[], None] | None = None

    def on_response_complete(self) -> None:
        if self.answered is not None:
            self.answered()
        super().on_response_complete()


class JournaledConnection(asyncio.BufferedProtocol):
    """Lets the kernel read into the journal, and notes what is written before it is."""

    def __init__(self, inner: AnsweringProtocol, writer: Writer, closed: Callable[[], None]) -> None:
        self._inner = inner
        self._writer = writer
        self._closed = closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tcp = cast("asyncio.Transport", transport)
        journaling = _Journaling(tcp, self._writer)
        self._inner.answered = journaling.answered
        self._inner.connection_made(journaling)
        unsent, pending = self._writer.unsent(), self._writer.pending()
        if unsent:  # a worker before this one was stopped here
            tcp.write(unsent)
        if pending:
            self._inner.data_received(pending)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the slot has the room it has
        return self._writer.room()

    def buffer_updated(self, nbytes: int) -> None:
        cycle = self._inner.cycle  # None before the first request, whatever uvicorn's annotation says
        if cycle is not None and not cycle.response_complete and not cycle.more_body:  # type: ignore[redundant-expr]
            self._writer.overlaps()
        self._inner.data_received(self._writer.read(nbytes))

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._closed()


class _Journaling(asyncio.Transport):
    """The transport that uvicorn sees. An answer is sent in one piece: none of it, or all, has gone out."""

    def __init__(self, transport: asyncio.Transport, writer: Writer) -> None:
        super().__init__()
        self._transport = transport
        self._writer = writer
        self._held: list[bytes] = []
        self._size = 0
        for name in ("is_closing", "abort", "get_extra_info", "pause_reading", "resume_reading"):
            setattr(self, name, getattr(transport, name))

    def write(self, data: Any) -> None:
        self._held.append(data)
        self._size += len(data)
        if self._size > RESPONSE_BYTES or data.startswith(_CONTINUE):
            self._flush()

    def answered(self) -> None:
        """The answer is whole."""
        data = b"".join(self._held)
        self._held.clear()
        self._size = 0
        self._writer.answer(data)
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._size = 0
            self._writer.write(data)
            self._transport.write(data)


class Connections:
    """Takes the connections that the parent hands over.

    Args:
        end: this worker's end of the pair.
        protocol: makes uvicorn's protocol for a new connection.
        grpc: makes that of a connection of gRPC.
    """

    def __init__(
        self,
        end: socket.socket,
        journal: int,
        protocol: Callable[[], AnsweringProtocol],
        grpc: GrpcServer | None = None,
    ) -> None:
        self._end = end
        self._journal = Journal(journal)
        self._protocol = protocol
        self._grpc = grpc
        self._spare = memoryview(bytearray(SLOT_BYTES))
        self._loop = asyncio.get_running_loop()
        self._over: deque[int] = deque()
        self._taking: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Asks for connections from now on."""
        self._loop.add_reader(self._end, self._take_all)
        wire.send(self._end, wire.Message(wire.READY))

    def stop(self) -> None:
        """Takes no more; those that are open stay."""
        self._loop.remove_reader(self._end)

    def _take_all(self) -> None:
        while True:
            try:
                got = wire.receive(self._end)
            except BlockingIOError:
                return
            except OSError:
                got = None
            if got is None:  # the parent is gone, which the worker notices by itself
                self.stop()
                return
            message, descriptor = got
            if message.kind in {wire.TAKE, wire.TAKE_GRPC} and descriptor is not None:
                task = self._loop.create_task(self._take(message, socket.socket(fileno=descriptor)))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)

    async def _take(self, message: wire.Message, connection: socket.socket) -> None:
        def closed() -> None:
            self._over.append(message.connection)
            self._tell()

        slot = None if message.slot == wire.NO_SLOT else self._journal.slot(message.slot)
        protocol: asyncio.BaseProtocol
        if message.kind == wire.TAKE_GRPC:
            assert self._grpc is not None
            protocol = self._grpc.protocol(None if slot is None else Tail(slot), closed)
        elif slot is None:
            protocol = _Plain(self._protocol(), closed)
        else:
            protocol = JournaledConnection(self._protocol(), Writer(slot, self._spare), closed)
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError as error:
            _log.debug("a connection was lost before it was taken: %s", error)
            connection.close()
            closed()

    def _tell(self) -> None:
        """Says which connections are over; what the parent has no room for is said again shortly."""
        try:
            while self._over:
                wire.send(self._end, wire.Message(wire.CLOSED, self._over[0]))
                self._over.popleft()
        except BlockingIOError:
            self._loop.call_later(_AGAIN_SECONDS, self._tell)
        except OSError:
            self._over.clear()  # the parent is gone


class _Plain(asyncio.Protocol):
    """A connection without a slot: it ends with its worker."""

    def __init__(self, inner: AnsweringProtocol, closed: Callable[[], None]) -> None:
        self._inner = inner
        self._closed = closed
        self.connection_made = inner.connection_made  # type: ignore[method-assign,assignment] # nothing in between
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._closed()

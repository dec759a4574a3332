"""The parent's side: accepts connections, deals them out to workers, and saves those of a worker that is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import msgspec

from ml_platform.inference.handover import journal, kernel, tail, wire
from ml_platform.inference.handover.journal import Entry, Journal
from ml_platform.inference.protocols.grpc.frames import EMPTY_SETTINGS, FAREWELL

_log = logging.getLogger(__name__)
_ACCEPTS_A_TURN = 64
_MAX_WAITING = 4096
_HOLD_SECONDS = 10.0
_SWEEP_SECONDS = 0.05
_LINGER_SECONDS = 1.0
_FAREWELL_SECONDS = 10.0
_MAX_TRIES = 2
_SUSPECT_SECONDS = 0.25
_SUSPECT_POLL = 0.001


@dataclass(slots=True, eq=False)
class _Connection:
    """A connection, wherever it is; `rest` is what a lost worker has left of it."""

    number: int
    socket: socket.socket
    grpc: bool = False
    slot: int = wire.NO_SLOT
    rest: Rest | None = None
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left to do on a connection: a request to answer, or an answer to send, or neither."""

    request: bytes = b""
    response: bytes = b""
    tries: int = 0


@dataclass(slots=True, eq=False)
class Seat:
    """A worker as the keeper sees it."""

    end: socket.socket
    theirs: socket.socket
    memory: int
    journal: Journal
    ready: bool = False
    connections: dict[int, _Connection] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0, 0])
    free: list[int] = field(default_factory=lambda: list(range(journal.SLOTS))[::-1])

    def descriptors(self) -> tuple[int, int]:
        """What the worker inherits: its end of the pair, and its journal."""
        return self.theirs.fileno(), self.memory


class Keeper:
    """Deals accepted connections out to the workers that are ready, to the one with the fewest first.

    While no worker is ready, connections wait for one; who has waited too long is told 503 with
    Retry-After. Runs on the parent's event loop.

    Args:
        listener: of HTTP/1.
        grpc: the listener of gRPC, if that is served.
    """

    def __init__(self, listener: socket.socket, grpc: socket.socket | None = None) -> None:
        self._listeners = {False: listener} | ({True: grpc} if grpc is not None else {})
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._seats: list[Seat] = []
        self._waiting: deque[_Connection] = deque()
        self._suspects: deque[_Connection] = deque()
        self._clearing: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._lingering: set[socket.socket] = set()
        self.saved = 0
        self.dropped = 0

    def start(self) -> None:
        for grpc, listener in self._listeners.items():
            self._loop.add_reader(listener, self._accept, listener, grpc)

    def stop_accepting(self) -> None:
        """Lets new connections be refused by the system; those that are open go on."""
        for listener in self._listeners.values():
            self._loop.remove_reader(listener)
            listener.close()

    def close(self) -> None:
        """Lets go of everything, after the workers have ended."""
        if self._clearing is not None:
            self._clearing.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in (*self._waiting, *self._suspects):
            connection.socket.close()
        for lingering in self._lingering:
            lingering.close()
        self._waiting.clear()
        self._suspects.clear()

    # -- workers

    def seat(self) -> Seat:
        """A place for a worker that is about to start."""
        ours, theirs = wire.pair()
        memory = Journal.create()
        seat = Seat(ours, theirs, memory, Journal(memory))
        self._seats.append(seat)
        self._loop.add_reader(ours, self._hear, seat)
        return seat

    def started(self, seat: Seat) -> None:
        """The worker holds its own descriptors now."""
        seat.theirs.close()
        os.close(seat.memory)

    def retire(self, seat: Seat) -> None:
        """Deals no more connections out to a worker that is about to stop."""
        seat.ready = False

    def vacate(self, seat: Seat, *, save: bool) -> None:
        """The worker is gone: what it had in its hands goes to others, unless it is the end."""
        self._hear(seat)
        seat.ready = False
        self._loop.remove_reader(seat.end)
        seat.end.close()
        self._seats.remove(seat)
        for connection in seat.connections.values():
            if connection.grpc:
                self._part(seat, connection, save=save)
                continue
            rest = self._rest(seat, connection) if save else None
            connection.slot, connection.rest, connection.since = wire.NO_SLOT, rest, time.monotonic()
            if rest is None:
                self.dropped += 1
                connection.socket.close()
            elif rest.tries:
                self._suspects.append(connection)
            else:
                self._place(connection)
        if save and seat.connections:
            _log.warning(
                "a worker was lost with %d connections; since the start %d requests were saved and %d"
                " connections ended",
                len(seat.connections),
                self.saved,
                self.dropped,
            )
        seat.connections.clear()
        seat.journal.close()
        if self._suspects and self._clearing is None:
            self._clearing = self._loop.create_task(self._clear_suspects())

    # -- connections

    def _accept(self, listener: socket.socket, grpc: bool) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # the caller went away, or there are no descriptors left
                _log.warning("a connection could not be accepted: %s", error)
                return
            accepted.setblocking(False)
            self._place(_Connection(next(self._numbers), accepted, grpc))

    def _place(self, connection: _Connection) -> None:
        """Gives a connection to a worker, or lets it wait for one."""
        ready = [seat for seat in self._seats if seat.ready]
        if not ready or not self._give(connection, min(ready, key=lambda seat: seat.counts[connection.grpc])):
            self._waiting.append(connection)
            if len(self._waiting) > _MAX_WAITING:
                self._refuse(self._waiting.popleft())
            if self._sweeper is None:
                self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _give(self, connection: _Connection, seat: Seat) -> bool:
        passed = kernel.passed(connection.socket)
        rest = connection.rest
        if passed is None and rest is not None:  # the caller is gone, and nobody waits for the answer
            connection.socket.close()
            return True
        if seat.free and passed is not None:
            connection.slot = seat.free.pop()
            slot = seat.journal.slot(connection.slot)
            if connection.grpc:
                tail.begin(slot, passed.written)
            else:
                journal.begin(
                    slot,
                    read=passed.read,
                    written=passed.written,
                    request=rest.request if rest else b"",
                    response=rest.response if rest else b"",
                    tries=rest.tries if rest else 0,
                )
        try:
            kind = wire.TAKE_GRPC if connection.grpc else wire.TAKE
            message = wire.Message(kind, connection.number, connection.slot)
            wire.send(seat.end, message, connection.socket.fileno())
        except OSError:  # it does not keep up, or is just ending
            if connection.slot != wire.NO_SLOT:
                seat.free.append(connection.slot)
                connection.slot = wire.NO_SLOT
            return False
        connection.rest = None
        seat.connections[connection.number] = connection
        seat.counts[connection.grpc] += 1
        return True

    def _sweep(self) -> None:
        """Tries again for those who wait, and refuses who has waited too long."""
        self._sweeper = None
        waiting, self._waiting = self._waiting, deque()
        for connection in waiting:
            if self._is_late(connection) and not any(seat.ready for seat in self._seats):
                self._refuse(connection)
            else:
                self._place(connection)

    def _is_late(self, connection: _Connection) -> bool:
        return connection.since + _HOLD_SECONDS < time.monotonic()

    def _hear(self, seat: Seat) -> None:
        while True:
            try:
                got = wire.receive(seat.end)
            except OSError:  # nothing there, or the worker is gone
                return
            if got is None:
                self._loop.remove_reader(seat.end)
                return
            message, _ = got
            if message.kind == wire.READY:
                seat.ready = True
                self._sweep()
            elif (connection := seat.connections.pop(message.connection, None)) is not None:
                connection.socket.close()
                seat.counts[connection.grpc] -= 1
                if connection.slot != wire.NO_SLOT:
                    seat.free.append(connection.slot)

    def _rest(self, seat: Seat, connection: _Connection) -> Rest | None:
        """What a lost worker has left of a connection; None when that cannot be known, or is of no use."""
        if connection.slot == wire.NO_SLOT:
            return None
        passed = kernel.passed(connection.socket)
        if passed is None:
            return None
        slot = seat.journal.slot(connection.slot)
        entry = journal.load(slot)
        unnoted = passed.read - entry.read_base - entry.received
        out = passed.written - entry.written_base - entry.sent
        rest = rest_of(slot, entry, unnoted, out)
        if rest is not None:
            self.saved += bool(rest.request or rest.response)
        return rest

    def _part(self, seat: Seat, connection: _Connection, *, save: bool) -> None:
        """Ends a connection of gRPC in the lost worker's place.

        Clients begin anew, on another connection, what was not answered: the last frame says that nothing
        was done, which for predictions is as good as true.
        """
        over = connection.socket
        passed = kernel.passed(over) if save and connection.slot != wire.NO_SLOT else None
        written = tail.written(seat.journal.slot(connection.slot), passed.written) if passed else None
        if written is None:
            self.dropped += save
            over.close()
            return
        self.saved += 1
        self._close_after(
            over, (written.rest if written.total else EMPTY_SETTINGS) + FAREWELL, _FAREWELL_SECONDS
        )

    async def _clear_suspects(self) -> None:
        """Has requests that were in the hands of a lost worker answered one by one: one may have killed it."""
        try:
            while self._suspects:
                connection = self._suspects.popleft()
                assert connection.rest is not None
                if connection.rest.tries > _MAX_TRIES:
                    _log.error("a request was in the hands of %d workers that were lost", _MAX_TRIES + 1)
                    self._refuse(connection)
                    continue
                await self._until(lambda: any(seat.ready for seat in self._seats), _HOLD_SECONDS)
                self._place(connection)
                await self._until(partial(self._is_answered, connection), _SUSPECT_SECONDS)
        finally:
            self._clearing = None

    async def _until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Waits for what only shared memory or another process can tell."""
        until = time.monotonic() + seconds
        while not holds() and time.monotonic() < until:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(_SUSPECT_POLL)

    def _is_answered(self, connection: _Connection) -> bool:
        if connection in self._waiting:
            return False
        for seat in self._seats:
            if seat.connections.get(connection.number) is connection and connection.slot != wire.NO_SLOT:
                return journal.load(seat.journal.slot(connection.slot)).state != journal.UNANSWERED
        return True

    def _refuse(self, connection: _Connection) -> None:
        if connection.grpc:  # clients say UNAVAILABLE themselves, when nobody speaks to them
            connection.socket.close()
            return
        body = msgspec.json.encode({"error": "no worker is there to answer; try again shortly"})
        head = (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._close_after(connection.socket, head.encode() + body, _LINGER_SECONDS)

    def _close_after(self, over: socket.socket, data: bytes, seconds: float) -> None:
        """Sends the last bytes. Closed at once, bytes that nobody has read would take them with them."""
        with contextlib.suppress(OSError):
            over.send(data)
            over.shutdown(socket.SHUT_WR)
        self._lingering.add(over)
        self._loop.call_later(seconds, self._let_go, over)

    def _let_go(self, over: socket.socket) -> None:
        self._lingering.discard(over)
        over.close()


def rest_of(slot: memoryview, entry: Entry, unnoted: int, out: int) -> Rest | None:
    """What is left to do, by a slot and the kernel's counts; None when it cannot be known.

    `unnoted` are bytes that the kernel has put into the slot and the worker has not taken note of, `out`
    those of the answer that the kernel has taken over.
    """
    if entry.state == journal.UNSAFE or unnoted < 0 or out < 0:
        return None
    if entry.state == journal.UNANSWERED:
        if out or entry.request + unnoted > journal.REQUEST_BYTES:
            return None
        return Rest(request=journal.request_of(slot, entry, unnoted), tries=entry.tries + 1)
    if out > entry.response or unnoted > journal.REQUEST_BYTES:
        return None
    response = journal.response_of(slot, entry)[out:]
    if not unnoted:
        return Rest(response=response)
    if response:
        return None
    return Rest(request=journal.request_of(slot, entry._replace(request=0), unnoted), tries=1)

"""A connection of gRPC whose worker is lost: what the parent still sends, and when it sends nothing."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_platform.inference.handover import keeper as keeping
from ml_platform.inference.handover import kernel, tail, wire
from ml_platform.inference.handover.journal import SLOT_BYTES, Journal
from ml_platform.inference.handover.keeper import Keeper
from ml_platform.inference.handover.tail import RING_BYTES, Tail
from ml_platform.inference.protocols.grpc import frames

HELLO = frames.settings({3: 100})
ANSWER = frames.frame(frames.DATA, 0, 1, bytes(range(256)) * 20)


class TestTail:
    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.integers(0, 2**40),
        st.lists(st.integers(1, 3000) | st.integers(1, 3 * RING_BYTES), min_size=1, max_size=12),
        st.integers(0, RING_BYTES + 10),
    )
    def test_knows_the_end_of_what_was_noted(self, base, sizes, missing):
        slot = memoryview(bytearray(SLOT_BYTES))
        tail.begin(slot, base)
        noted, data = Tail(slot), b""
        for index, size in enumerate(sizes):
            piece = bytes((index + place) % 251 for place in range(size))
            data += piece
            noted.note(piece)
        found = tail.written(slot, base + len(data) - missing)
        if missing > min(len(data), RING_BYTES):
            assert found is None
        else:
            assert found == (len(data), data[len(data) - missing :])

    def test_does_not_believe_counts_that_cannot_be(self):
        slot = memoryview(bytearray(SLOT_BYTES))
        tail.begin(slot, 100)
        Tail(slot).note(b"12345")
        assert tail.written(slot, 106) is None
        assert tail.written(slot, 99) is None
        assert tail.written(slot, 100) == (5, b"12345")


async def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        await asyncio.sleep(0.002)


class Parent:
    """A keeper of both kinds of connection, a worker played by the test, and a client."""

    def __init__(self) -> None:
        self.http, self.grpc = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        for listener in (self.http, self.grpc):
            listener.setblocking(False)
        self.keeper = Keeper(self.http, self.grpc)
        self.keeper.start()
        self.client = self.connect()

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.grpc.getsockname())
        client.setblocking(False)
        return client

    async def worker(self) -> "Worker":
        worker = Worker(self.keeper)
        await worker.take()
        return worker

    async def received(self) -> bytes:
        data = b""
        async with asyncio.timeout(20):
            while more := await asyncio.get_running_loop().sock_recv(self.client, 65_536):
                data += more
        return data


class Worker:
    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.seat = keeper.seat()
        self.socket: socket.socket | None = None
        self._end = self.seat.theirs.dup()
        self._end.setblocking(False)
        self._journal = Journal(self.seat.memory)
        keeper.started(self.seat)
        wire.send(self._end, wire.Message(wire.READY))

    async def take(self) -> None:
        async with asyncio.timeout(20):
            while True:
                await asyncio.sleep(0.002)
                try:
                    got = wire.receive(self._end)
                except BlockingIOError:
                    continue
                assert got is not None
                message, descriptor = got
                assert message.kind == wire.TAKE_GRPC
                assert descriptor is not None
                self.socket = socket.socket(fileno=descriptor)
                self.tail = Tail(self._journal.slot(message.slot)) if message.slot >= 0 else None
                return

    def write(self, data: bytes, sent: int | None = None) -> None:
        assert self.tail is not None
        self.tail.note(data)
        self.socket.sendall(data[:sent])

    def lose(self, *, save: bool = True) -> None:
        """As after kill -9: whatever it held is closed by the kernel."""
        self._end.close()
        if self.socket is not None:
            self.socket.close()
        self._keeper.vacate(self.seat, save=save)


@asynccontextmanager
async def a_parent() -> AsyncIterator[Parent]:
    parent = Parent()
    try:
        yield parent
    finally:
        parent.client.close()
        parent.keeper.stop_accepting()
        parent.keeper.close()


class TestFarewell:
    @pytest.mark.parametrize(
        ("before", "unsent"),
        [
            (b"", 0),
            (HELLO, 0),
            (HELLO + ANSWER, 0),
            (HELLO + ANSWER, 1),
            (HELLO + ANSWER, len(ANSWER) - 4),
            (HELLO + ANSWER, len(ANSWER)),
            (HELLO + ANSWER, len(HELLO + ANSWER)),
        ],
        ids=["nothing", "greeted", "answered", "but a byte", "but most", "but the answer", "but all"],
    )
    def test_follows_on_whole_frames_and_says_that_nothing_was_done(self, before, unsent):
        async def scenario() -> None:
            async with a_parent() as parent:
                worker = await parent.worker()
                parent.client.send(frames.PREFACE + frames.EMPTY_SETTINGS)
                if before:
                    worker.write(before, len(before) - unsent)
                worker.lose()
                assert await parent.received() == (before or frames.EMPTY_SETTINGS) + frames.FAREWELL
                assert (parent.keeper.saved, parent.keeper.dropped) == (1, 0)

        assert frames.FAREWELL[frames.HEAD_BYTES :][:8] == bytes(8)  # last stream 0, no error
        asyncio.run(scenario())

    def test_is_not_sent_into_the_middle_of_a_frame(self):
        async def scenario() -> None:
            async with a_parent() as parent:
                worker = await parent.worker()
                worker.write(HELLO)
                worker.tail.note(b"x" * (RING_BYTES + 1))
                worker.socket.sendall(b"x" * 0)
                worker.lose()
                assert await parent.received() == HELLO
                assert (parent.keeper.saved, parent.keeper.dropped) == (0, 1)

        asyncio.run(scenario())

    def test_is_not_sent_without_the_kernels_counts(self, monkeypatch):
        monkeypatch.setattr(kernel, "SUPPORTED", False)

        async def scenario() -> None:
            async with a_parent() as parent:
                worker = await parent.worker()
                assert worker.tail is None
                worker.socket.sendall(HELLO)
                worker.lose()
                assert await parent.received() == HELLO

        asyncio.run(scenario())

    def test_is_the_workers_own_when_the_server_stops(self):
        async def scenario() -> None:
            async with a_parent() as parent:
                worker = await parent.worker()
                worker.write(HELLO)
                worker.lose(save=False)
                assert await parent.received() == HELLO
                assert (parent.keeper.saved, parent.keeper.dropped) == (0, 0)

        asyncio.run(scenario())


class TestWaiting:
    def test_for_a_worker_too_long_ends_the_connection(self, monkeypatch):
        monkeypatch.setattr(keeping, "_HOLD_SECONDS", 0.1)

        async def scenario() -> None:
            async with a_parent() as parent:
                assert await parent.received() == b""

        asyncio.run(scenario())

    def test_is_dealt_out_apart_from_http(self):
        """Few connections of gRPC may be more load than many of HTTP: each kind is spread by itself."""

        async def scenario() -> None:
            async with a_parent() as parent:
                first = await parent.worker()
                for _ in range(5):
                    first.seat.counts[False] += 1
                second = Worker(parent.keeper)
                await asyncio.sleep(0)
                await eventually(lambda: second.seat.ready)
                others = [parent.connect() for _ in range(3)]
                await eventually(lambda: first.seat.counts[True] + second.seat.counts[True] == 4)
                assert (first.seat.counts[True], second.seat.counts[True]) == (2, 2)
                for other in others:
                    other.close()
                first.lose(save=False)
                second.lose(save=False)

        asyncio.run(scenario())

"""Connections outlive their worker: every place at which it can be killed, and real kills under load."""

import asyncio
import http.client
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from ml_platform.inference.handover import keeper as keeping
from ml_platform.inference.handover import kernel, wire
from ml_platform.inference.handover.journal import REQUEST_BYTES, RESPONSE_BYTES, SLOT_BYTES, Journal, Writer
from ml_platform.inference.handover.keeper import Keeper, Seat

from .support.control import CALLER, endpoint, revision, snapshot
from .support.load import Load
from .support.server import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's counts are Linux's")

T = TypeVar("T")

REQUEST = b"POST /x HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class ScriptedWorker:
    """A worker that does one step at a time, and can be lost between any two."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.seat: Seat = keeper.seat()
        self.end = self.seat.theirs.dup()
        self.journal = Journal(os.dup(self.seat.memory))
        keeper.started(self.seat)
        self.connection: socket.socket | None = None
        self.lost = False
        keeper.workers.append(self)  # type: ignore[attr-defined] # closed with it
        wire.send(self.end, wire.Message(wire.READY))

    async def take(self) -> None:
        got = await eventually_async(self._receive)
        assert got.kind == wire.TAKE
        self.slot = got.slot
        self.writer = Writer(self.journal.slot(got.slot), memoryview(bytearray(SLOT_BYTES)))

    def _receive(self) -> wire.Message | None:
        try:
            got = wire.receive(self.end)
        except BlockingIOError:
            return None
        assert got is not None
        message, descriptor = got
        assert descriptor is not None
        self.connection = socket.socket(fileno=descriptor)
        return message

    async def kernel_reads(self) -> int:
        """The kernel has put bytes into the journal; nobody has noticed yet."""
        assert self.connection is not None
        room = self.writer.room()
        return await asyncio.get_running_loop().sock_recv_into(self.connection, room)

    def send(self, data: bytes) -> None:
        assert self.connection is not None
        self.connection.sendall(data)

    def lose(self) -> None:
        """As after kill -9: whatever it held is closed by the kernel."""
        self.lost = True
        self.end.close()
        if self.connection is not None:
            self.connection.close()
        self.keeper.vacate(self.seat, save=True)

    async def finish(self) -> bytes:
        """Does what a worker does with a connection that it takes over; gives the request it answered."""
        unsent, request = self.writer.unsent(), self.writer.pending()
        if unsent:
            self.send(unsent)
            return b""
        while not request.endswith(b"hello"):
            count = await self.kernel_reads()
            assert count, "the caller went away"
            request += self.writer.read(count)
        self.writer.answer(ANSWER)
        self.send(ANSWER)
        return request


async def eventually_async(check: Callable[[], T | None], seconds: float = 10) -> T:
    until = time.monotonic() + seconds
    while (found := check()) is None:
        assert time.monotonic() < until, "it did not happen"
        await asyncio.sleep(0.002)
    return found


@asynccontextmanager
async def a_keeper() -> AsyncIterator[tuple[Keeper, socket.socket]]:
    """A keeper, and a caller that has sent nothing yet."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    keeper = Keeper(listener)
    keeper.workers = []  # type: ignore[attr-defined]
    keeper.start()
    caller = socket.create_connection(listener.getsockname())
    caller.setblocking(False)
    try:
        yield keeper, caller
    finally:
        caller.close()
        keeper.stop_accepting()
        for worker in keeper.workers:  # type: ignore[attr-defined]
            if not worker.lost:
                worker.lose()
        keeper.close()


async def answer_to(caller: socket.socket, size: int = len(ANSWER)) -> bytes:
    data = b""
    async with asyncio.timeout(10):
        while len(data) < size:
            more = await asyncio.get_running_loop().sock_recv(caller, 65536)
            if not more:
                break
            data += more
    return data


Step = Callable[[ScriptedWorker, socket.socket], Awaitable[None]]


async def _nothing(worker: ScriptedWorker, caller: socket.socket) -> None:
    await worker.take()


async def _half_a_request(worker: ScriptedWorker, caller: socket.socket) -> None:
    await worker.take()
    caller.sendall(REQUEST[:20])
    worker.writer.read(await worker.kernel_reads())


async def _read_but_not_noted(worker: ScriptedWorker, caller: socket.socket) -> None:
    await worker.take()
    caller.sendall(REQUEST)
    await worker.kernel_reads()


async def _second_half_not_noted(worker: ScriptedWorker, caller: socket.socket) -> None:
    await _half_a_request(worker, caller)
    caller.sendall(REQUEST[20:])
    await worker.kernel_reads()


async def _read(worker: ScriptedWorker, caller: socket.socket) -> None:
    await _read_but_not_noted(worker, caller)
    worker.writer.read(len(REQUEST))


async def _answer_noted(worker: ScriptedWorker, caller: socket.socket) -> None:
    await _read(worker, caller)
    worker.writer.answer(ANSWER)


async def _half_the_answer_sent(worker: ScriptedWorker, caller: socket.socket) -> None:
    await _answer_noted(worker, caller)
    worker.send(ANSWER[:9])


async def _answered(worker: ScriptedWorker, caller: socket.socket) -> None:
    await _answer_noted(worker, caller)
    worker.send(ANSWER)


STEPS: tuple[Step, ...] = (
    _nothing,
    _half_a_request,
    _read_but_not_noted,
    _second_half_not_noted,
    _read,
    _answer_noted,
    _half_the_answer_sent,
    _answered,
)


def sent_at(step: Step) -> int:
    return {_nothing: 0, _half_a_request: 20}.get(step, len(REQUEST))


class TestLostAt:
    @pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__.strip("_").replace("_", " "))
    @pytest.mark.parametrize("again", [False, True], ids=["once", "and again"])
    @pytest.mark.parametrize("asked_before", [0, 2], ids=["the first request", "the third request"])
    def test_each_place_the_caller_gets_one_whole_answer(
        self, step: Step, again: bool, asked_before: int
    ) -> None:
        async def scenario() -> None:
            async with a_keeper() as (keeper, caller):
                first = ScriptedWorker(keeper)
                if asked_before:
                    await first.take()
                    for _ in range(asked_before):
                        caller.sendall(REQUEST)
                        await first.finish()
                        assert await answer_to(caller) == ANSWER
                    first.take = _already  # type: ignore[method-assign]
                await step(first, caller)
                first.lose()
                if again:
                    second = ScriptedWorker(keeper)
                    await second.take()
                    second.lose()
                last = ScriptedWorker(keeper)
                await last.take()
                caller.sendall(REQUEST[sent_at(step) :])
                done = asyncio.create_task(last.finish()) if step is not _answered else None
                assert await answer_to(caller) == ANSWER
                if done is not None:
                    assert await done in (REQUEST, b"")
                caller.sendall(REQUEST)  # the connection lives on
                assert last.writer.unsent() in (b"", ANSWER, ANSWER[9:])
                request = b""
                while len(request) < len(REQUEST):
                    request += last.writer.read(await last.kernel_reads())
                assert request == REQUEST
                last.writer.answer(ANSWER)
                last.send(ANSWER)
                assert await answer_to(caller) == ANSWER
                assert keeper.dropped == 0

        asyncio.run(scenario())

    def test_a_request_that_kills_every_worker_is_refused_in_the_end(self) -> None:
        async def scenario() -> None:
            async with a_keeper() as (keeper, caller):
                worker = ScriptedWorker(keeper)
                await _read(worker, caller)
                for _ in range(keeping._MAX_TRIES):
                    worker.lose()
                    worker = ScriptedWorker(keeper)
                    await worker.take()
                    assert worker.writer.pending() == REQUEST
                worker.lose()
                answer = await answer_to(caller, 500)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1" in answer

        asyncio.run(scenario())

    @pytest.mark.parametrize("size", [REQUEST_BYTES - 1, REQUEST_BYTES, REQUEST_BYTES + 1, 2 * REQUEST_BYTES])
    def test_a_request_that_does_not_fit_ends_with_its_worker_and_the_next_does_not(self, size: int) -> None:
        async def scenario() -> None:
            async with a_keeper() as (keeper, caller):
                worker = ScriptedWorker(keeper)
                await worker.take()
                sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(caller, b"x" * size))
                got = 0
                while got < size:
                    data = worker.writer.read(await worker.kernel_reads())
                    assert data == b"x" * len(data)
                    got += len(data)
                await sending
                fits = size <= REQUEST_BYTES
                if fits:
                    worker.lose()
                    worker = ScriptedWorker(keeper)
                    await worker.take()
                    assert worker.writer.pending() == b"x" * size
                worker.writer.answer(ANSWER)
                worker.send(ANSWER)
                assert await answer_to(caller) == ANSWER
                await _read_again(worker, caller)
                worker.lose()
                worker = ScriptedWorker(keeper)
                await worker.take()
                assert worker.writer.pending() == REQUEST
                assert keeper.dropped == 0

        asyncio.run(scenario())

    def test_an_answer_that_does_not_fit_ends_with_its_worker(self) -> None:
        async def scenario() -> None:
            async with a_keeper() as (keeper, caller):
                worker = ScriptedWorker(keeper)
                await _read(worker, caller)
                worker.writer.answer(b"y" * (RESPONSE_BYTES + 1))
                worker.lose()
                assert await answer_to(caller) == b""
                assert keeper.dropped == 1

        asyncio.run(scenario())

    def test_requests_that_overlap_end_with_their_worker(self) -> None:
        async def scenario() -> None:
            async with a_keeper() as (keeper, caller):
                worker = ScriptedWorker(keeper)
                await _read(worker, caller)
                worker.writer.overlaps()
                worker.lose()
                assert await answer_to(caller) == b""

        asyncio.run(scenario())

    def test_a_caller_who_went_away_is_nobodys_work(self) -> None:
        async def scenario() -> None:
            async with a_keeper() as (keeper, caller):
                worker = ScriptedWorker(keeper)
                await _read(worker, caller)
                caller.close()
                await asyncio.sleep(0.05)
                worker.lose()
                assert keeper.saved == 0

        asyncio.run(scenario())


async def _already() -> None:
    """The connection was taken before."""


async def _read_again(worker: ScriptedWorker, caller: socket.socket) -> None:
    caller.sendall(REQUEST)
    data = b""
    while len(data) < len(REQUEST):
        data += worker.writer.read(await worker.kernel_reads())
    assert data == REQUEST


class TestWithoutTheKernelsCounts:
    def test_a_connection_is_answered_and_ends_with_its_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernel, "SUPPORTED", False)

        async def scenario() -> None:
            async with a_keeper() as (keeper, caller):
                worker = ScriptedWorker(keeper)
                message = await eventually_async(worker._receive)
                assert message.slot == wire.NO_SLOT
                caller.sendall(REQUEST)
                assert worker.connection is not None
                assert await asyncio.get_running_loop().sock_recv(worker.connection, 1000) == REQUEST
                worker.send(ANSWER)
                assert await answer_to(caller) == ANSWER
                worker.lose()
                assert await answer_to(caller) == b""

        asyncio.run(scenario())


class TestWaiting:
    def test_for_a_worker_too_long_ends_in_503_with_retry_after(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "_HOLD_SECONDS", 0.2)

        async def scenario() -> None:
            async with a_keeper() as (_, caller):
                caller.sendall(REQUEST)
                answer = await answer_to(caller, 500)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1" in answer
                assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]

        asyncio.run(scenario())

    def test_connections_go_to_the_worker_with_the_fewest(self) -> None:
        async def scenario() -> None:
            async with a_keeper() as (keeper, caller):
                first, second = ScriptedWorker(keeper), ScriptedWorker(keeper)
                await eventually_async(lambda: (first.seat.ready and second.seat.ready) or None)
                others = [socket.create_connection(caller.getpeername()) for _ in range(9)]
                await eventually_async(
                    lambda: len(first.seat.connections) + len(second.seat.connections) == 10 or None
                )
                assert len(first.seat.connections) == 5
                for other in others:
                    other.close()

        asyncio.run(scenario())


class TestHanging:
    def test_a_worker_that_is_stopped_is_replaced_and_its_callers_are_answered(
        self, control, make_server, one
    ) -> None:
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(workers=1, worker_silence=1.5).start()
        server.has_applied(control.snapshot)
        with Load(server.port, [[1.0]], callers=3) as load:
            eventually(lambda: load.answered > 20, "load")
            os.kill(server.worker_pids()[0], signal.SIGSTOP)
            before = load.answered
            eventually(lambda: load.answered > before + 50, "answers after the hang")
        assert load.failures == []


class TestKilledUnderLoad:
    @pytest.mark.parametrize(("workers", "kills"), [(1, 2), (2, 6)])
    def test_no_request_fails(self, control, make_server, one, workers: int, kills: int) -> None:
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(workers=workers).start()
        server.has_applied(control.snapshot)
        with Load(server.port, [[1.0]], callers=6) as load:
            eventually(lambda: load.answered > 50, "load")
            for _ in range(kills):
                server.kill_worker(random.choice(server.worker_pids()))
                before = load.answered
                eventually(lambda: load.answered > before + 100, "answers after the kill")  # noqa: B023
        assert load.failures == []
        assert set(load.statuses) == {200}

    def test_callers_that_connect_anew_for_each_request_lose_none_either(
        self, control, make_server, one
    ) -> None:
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(workers=2).start()
        server.has_applied(control.snapshot)
        headers = {"authorization": f"Bearer {CALLER}", "content-type": "application/json"}
        killed = 0
        for number in range(300):
            if number % 75 == 40:
                server.kill_worker(server.worker_pids()[0])
                killed += 1
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            connection.request("POST", "/v1/models/churn:predict", b'{"instances": [[1.0]]}', headers)
            assert connection.getresponse().status == 200
            connection.close()
        assert killed == 4

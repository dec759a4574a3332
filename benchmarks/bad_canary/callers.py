"""Callers of endpoints at a fixed, open rate, in a process of their own: who answered what, and when."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

_SHIP_SECONDS = 0.1
_MOST_AT_ONCE = 64
_TIMEOUT = 20.0
_MEAN, _DEVIATION = 50.0, 15.0


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint, and how often it is asked; `x0` is normal around 50, by 15.

    With `inputs` there are only so many values, which come back; else each is another one.
    """

    name: str
    endpoint: str
    token: str
    rate: float
    inputs: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller saw; `status` is 0 when the connection failed, `value` None when there was none."""

    ended: float
    milliseconds: float
    status: int
    revision: str
    value: float | None


class Callers:
    """Ask from `ask` on until `close`; what they were answered is in `answers`, by target."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.answers: dict[str, list[Answer]] = {}
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def ask(self, target: Target) -> None:
        self.answers[target.name] = []
        self._pipe.send(target)

    def close(self) -> None:
        self._pipe.send(None)
        self._thread.join(30)
        self._process.join(30)

    def _collect(self) -> None:
        while True:
            try:
                name, found = self._pipe.recv()
            except EOFError:
                return
            self.answers[name].extend(found)


def _main(pipe: Connection) -> None:
    asyncio.run(_run(pipe))


async def _run(pipe: Connection) -> None:
    targets: asyncio.Queue[Target | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe.fileno(), lambda: targets.put_nowait(pipe.recv()))
    lanes: list[asyncio.Task[None]] = []
    while (target := await targets.get()) is not None:
        lanes.append(loop.create_task(_Lane(target, pipe).run()))
    loop.remove_reader(pipe.fileno())
    for lane in lanes:
        lane.cancel()
    await asyncio.gather(*lanes, return_exceptions=True)


class _Lane:
    """One target: requests are begun when they are due, whatever became of those before."""

    def __init__(self, target: Target, pipe: Connection) -> None:
        self._target = target
        self._pipe = pipe
        address = urlsplit(target.endpoint)
        self._host, self._port, self._path = str(address.hostname), address.port, address.path
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self._found: list[Answer] = []
        self._chance = random.Random(target.name)
        self._known = [self._draw() for _ in range(target.inputs or 0)]

    def _draw(self) -> float:
        return self._chance.gauss(_MEAN, _DEVIATION)

    async def run(self) -> None:
        due = shipped = time.monotonic()
        asked: set[asyncio.Task[None]] = set()
        while True:
            due += self._chance.expovariate(self._target.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._slots.acquire()
            task = asyncio.create_task(self._ask())
            asked.add(task)
            task.add_done_callback(asked.discard)
            if time.monotonic() - shipped > _SHIP_SECONDS and self._found:
                self._pipe.send((self._target.name, self._found))
                self._found, shipped = [], time.monotonic()

    async def _ask(self) -> None:
        began = time.perf_counter()
        status, revision, value = 0, "", None
        try:
            async with asyncio.timeout(_TIMEOUT):
                status, revision, value = await self._answer()
        except (OSError, EOFError, TimeoutError, ValueError):
            status = 0
        finally:
            self._slots.release()
        took = (time.perf_counter() - began) * 1000
        self._found.append(Answer(time.time(), took, status, revision, value))

    async def _answer(self) -> tuple[int, str, float | None]:
        reader, writer = self._idle.pop() if self._idle else await self._connect()
        value = self._chance.choice(self._known) if self._known else self._draw()
        body = json.dumps({"instances": [{"x0": value}]}).encode()
        head = (
            f"POST {self._path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self._target.token}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        try:
            writer.write(head.encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines[1:])}
            content = json.loads(await reader.readexactly(int(headers["content-length"])))
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        status = int(lines[0].split(" ", 2)[1])
        value = content["predictions"][0] if status == 200 else None
        return status, headers.get("mlops-revision", ""), value

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)

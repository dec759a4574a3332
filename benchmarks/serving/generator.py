"""A closed-loop load generator for where there is no wrk: prebuilt requests over kept-alive connections.

    python generator.py PORT REQUESTS_FILE CONNECTIONS SECONDS

Prints one line of JSON; latencies in milliseconds.
"""

import asyncio
import json
import struct
import sys
import time
from pathlib import Path

import httptools
import uvloop


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete."""

    def __init__(self, requests: list[bytes], first: int, load: "Load") -> None:
        self._requests, self._turn, self._load = requests, first, load
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport) -> None:
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(6, 1, 1)  # TCP_NODELAY
        self._next()

    def _next(self) -> None:
        self._turn = (self._turn + 1) % len(self._requests)
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._turn])

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        load = self._load
        if now >= load.until:
            self._transport.close()
            return
        load.latencies.append(now - self._sent)
        if self._parser.get_status_code() != 200:
            load.failed += 1
        if not self._parser.should_keep_alive():
            self._transport.close()
            return
        self._parser = httptools.HttpResponseParser(self)
        self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        load = self._load
        if time.perf_counter() < load.until:
            load.failed += 1
            load.reconnect()
        else:
            load.open -= 1
            if not load.open:
                load.done.set()


class Load:
    def __init__(self, port: int, requests: list[bytes], connections: int, seconds: float) -> None:
        self.port, self.requests, self.open, self.seconds = port, requests, connections, seconds
        self.latencies: list[float] = []
        self.failed = 0
        self.done = asyncio.Event()
        self._tasks: set[asyncio.Task] = set()

    async def run(self) -> dict:
        begin = time.perf_counter()
        self.until = begin + self.seconds
        for number in range(self.open):
            await self._connect(number)
        # A server that never answers must not hold the benchmark.
        try:
            await asyncio.wait_for(self.done.wait(), self.seconds + 10)
        except TimeoutError:
            self.failed += self.open
        return self._result(self.until - begin)

    def reconnect(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(len(self.latencies)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, first: int) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Connection(self.requests, first, self), "127.0.0.1", self.port)

    def _result(self, seconds: float) -> dict:
        taken = sorted(self.latencies) or [0.0]

        def percentile(share: float) -> float:
            return taken[min(int(len(taken) * share), len(taken) - 1)] * 1000

        return {
            "requests": len(self.latencies), "seconds": seconds, "failed": self.failed,
            "p50": percentile(0.5), "p95": percentile(0.95), "p99": percentile(0.99), "max": taken[-1] * 1000,
        }  # fmt: skip


def read_requests(path: Path) -> list[bytes]:
    data, place, requests = path.read_bytes(), 0, []
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        requests.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return requests


async def main() -> None:
    port, path, connections, seconds = sys.argv[1:5]
    load = Load(int(port), read_requests(Path(path)), int(connections), float(seconds))
    print(json.dumps(await load.run()))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())

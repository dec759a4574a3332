"""The other end of a connection, frame by frame: for what no client's library would send."""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

import hpack

from ml_platform.inference.protocols.grpc import frames
from ml_platform.inference.protocols.grpc.connection import Bounds, Connection
from ml_platform.inference.protocols.grpc.unary import Reply, Status

ECHO, SLOW, BROKEN = b"/test.Echo/Say", b"/test.Echo/Wait", b"/test.Echo/Break"
MOST = 100_000


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.ended = self.aborted = self.paused = False

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.data += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Peer:
    """Speaks to a connection with three methods: one echoes, one waits for `release`, one fails."""

    def __init__(self, *, greet: bool = True, body_seconds: float = 30.0, most: int = 4096) -> None:
        self.started = 0
        self.cancelled = 0
        self.release = asyncio.Event()
        self.closed = False
        methods = {ECHO: self._echo, SLOW: self._wait, BROKEN: self._break}
        self.bounds = Bounds(methods, MOST, most, body_seconds)
        self.connection = Connection(self.bounds, None, lambda _: setattr(self, "closed", True))
        self.transport = Transport()
        self.connection.connection_made(self.transport)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.seen: list[Frame] = []
        self._stream = -1
        if greet:
            self.send(frames.PREFACE + frames.EMPTY_SETTINGS)

    async def _echo(self, headers: Mapping[bytes, bytes], data: bytes) -> Reply:
        self.started += 1
        size = headers.get(b"answer-bytes")
        return Reply(Status.OK, data if size is None else b"x" * int(size), "", ((b"x-request-id", b"mine"),))

    async def _wait(self, headers: Mapping[bytes, bytes], data: bytes) -> Reply:
        self.started += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Reply(Status.OK, data)

    async def _break(self, _: Mapping[bytes, bytes], __: bytes) -> Reply:
        raise RuntimeError("not for the caller's eyes")

    def send(self, *data: bytes) -> None:
        if not (self.transport.ended or self.transport.aborted):
            self.connection.data_received(b"".join(data))

    def block(self, path: bytes = ECHO, **more: str) -> bytes:
        fields = {":method": "POST", ":scheme": "http", ":path": path.decode(), ":authority": "here"}
        fields |= {"te": "trailers", "content-type": "application/grpc"}
        fields |= {name.replace("_", "-"): value for name, value in more.items()}
        return self.encoder.encode(fields)

    def open(self, path: bytes = ECHO, flags: int = frames.END_HEADERS, **more: str) -> int:
        self._stream += 2
        self.send(frames.frame(frames.HEADERS, flags, self._stream, self.block(path, **more)))
        return self._stream

    def call(self, data: bytes = b"hello", path: bytes = ECHO, **more: str) -> int:
        stream = self.open(path, **more)
        self.send(frames.frame(frames.DATA, frames.END_STREAM, stream, message(data)))
        return stream

    def take(self) -> list[Frame]:
        """The frames that came since the last time."""
        data, self.transport.data = self.transport.data, b""
        found = []
        while data:
            high, low, kind, flags, stream = frames.HEAD.unpack_from(data)
            end = frames.HEAD_BYTES + (high << 8 | low)
            assert len(data) >= end, "a frame is cut short"
            found.append(Frame(kind, flags, stream, data[frames.HEAD_BYTES : end]))
            data = data[end:]
        self.seen += found
        return found

    async def eventually(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self.take()
                await asyncio.sleep(0)

    def of(self, kind: int, stream: int | None = None) -> list[Frame]:
        self.take()
        return [each for each in self.seen if each.kind == kind and stream in {None, each.stream}]

    async def answer(self, stream: int) -> "Answer":
        """Headers, message and trailers of a stream that ends."""

        def ended() -> bool:
            return any(f.stream == stream and f.kind <= 1 and f.flags & frames.END_STREAM for f in self.seen)

        await self.eventually(ended)
        fields: dict[str, str] = {}
        for each in self.of(frames.HEADERS, stream):
            fields |= dict(self.decoder.decode(each.payload))
        return Answer(fields, b"".join(each.payload for each in self.of(frames.DATA, stream)))

    def fault(self) -> int | None:
        """The code of the last frame, after which the connection ends; None while it goes on."""
        goodbyes = self.of(frames.GOAWAY)
        if not goodbyes:
            return None
        assert self.transport.ended
        return int.from_bytes(goodbyes[-1].payload[4:8], "big")

    def reset(self, stream: int) -> int | None:
        found = self.of(frames.RST_STREAM, stream)
        return int.from_bytes(found[-1].payload, "big") if found else None


class Answer(NamedTuple):
    fields: dict[str, str]
    data: bytes

    @property
    def status(self) -> int:
        return int(self.fields["grpc-status"])


def message(data: bytes, compressed: int = 0) -> bytes:
    return bytes((compressed,)) + len(data).to_bytes(4, "big") + data

"""One HTTP/2 connection: frames in, calls out to their methods, answers back, and what both sides may do."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from ml_platform.inference.protocols.grpc import frames, metadata
from ml_platform.inference.protocols.grpc.frames import ConnectionFault, ErrorCode, StreamFault
from ml_platform.inference.protocols.grpc.hpack import (
    EMPTY_TABLE,
    TABLE_BYTES,
    Decoder,
    HpackError,
    ListTooLargeError,
)
from ml_platform.inference.protocols.grpc.metadata import Request
from ml_platform.inference.protocols.grpc.unary import (
    PREFIX_BYTES,
    Methods,
    RefusedError,
    Reply,
    Status,
    message_of,
    too_large,
)

STREAMS: Final = 1000
"""Calls at a time on one connection."""
FRAME_BYTES: Final = 65_536
HEADER_LIST_BYTES: Final = 16_384
WINDOW: Final = 16 * 1024 * 1024
HELD_BYTES: Final = 32 * 1024 * 1024
"""Of requests that are not complete, at least one message: what one connection may have in memory."""
PATIENCE: Final = 2000
"""How many frames that bring nothing forward are taken at once: resets, pings, settings, empty ones, ..."""
PATIENCE_A_SECOND: Final = 200
PATIENCE_A_CALL: Final = 8
_CONTINUATIONS: Final = 16
_BLOCK_BYTES: Final = 32_768
_MEMOS: Final = 64
_MEMO_BYTES: Final = 1024
_EARLY: Final = 256
_LINGER_SECONDS: Final = 1.0
_STALL_SECONDS: Final = 60.0
_SOON: Final = b"draining"
_TOO_BUSY: Final = Reply(Status.RESOURCE_EXHAUSTED, b"", "the server has too many calls at once")
_LATE: Final = Reply(Status.DEADLINE_EXCEEDED, b"", "no answer before the call's deadline")
_LATE_BODY: Final = Reply(Status.DEADLINE_EXCEEDED, b"", "the message did not arrive in time")
_FULL: Final = Reply(Status.RESOURCE_EXHAUSTED, b"", "the connection holds too much that is not complete")
_MANY_HEADERS: Final = Reply(
    Status.RESOURCE_EXHAUSTED, b"", f"the metadata is larger than {HEADER_LIST_BYTES} bytes"
)
_BROKEN: Final = Reply(Status.INTERNAL, b"", "internal error")
_NO_HEADERS: Final[dict[bytes, bytes]] = {}

_log = logging.getLogger(__name__)


class Tail(Protocol):
    """Takes note of what is about to be written."""

    def note(self, data: bytes) -> None: ...


@dataclass(slots=True, eq=False)
class Bounds:
    """What all connections of a worker share; `running` counts calls, of which there are `most` at once."""

    methods: Methods
    message_bytes: int
    most: int
    body_seconds: float
    running: int = 0
    connections: int = 0


@dataclass(slots=True, eq=False)
class _Stream:
    """A call. `window` is what may still be sent, `room` what may still be received."""

    number: int
    request: Request
    window: int
    room: int
    since: float
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    ended: bool = False
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    rest: memoryview | None = None
    trailers: bytes = b""


class Connection(asyncio.Protocol):
    """Server side. Runs on the event loop that it was made on."""

    def __init__(self, bounds: Bounds, tail: Tail | None, closed: Callable[[Connection], None]) -> None:
        self._bounds = bounds
        self._tail = tail
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._greeted = self._settled = self._closing = False
        self._decoder = Decoder(HEADER_LIST_BYTES)
        self._memo: dict[bytes, Request] = {}
        self._memo_version = 0
        self._block: tuple[int, int, list[bytes]] | None = None
        self._streams: dict[int, _Stream] = {}
        self._early: OrderedDict[int, None] = OrderedDict()
        self._last = 0
        self._draining = self._drained = False
        self._incomplete = 0
        self._held = 0
        self._most_held = max(HELD_BYTES, 2 * bounds.message_bytes)
        self._room = WINDOW
        self._stream_room = min(max(bounds.message_bytes + 65_536, frames.DEFAULT_WINDOW), frames.MOST_WINDOW)
        self._window = frames.DEFAULT_WINDOW
        self._peer_window = frames.DEFAULT_WINDOW
        self._peer_frame = frames.DEFAULT_FRAME
        self._stalled: dict[int, _Stream] = {}
        self._prelude = b""
        self._patience = float(PATIENCE)
        self._patient_since = self._loop.time()
        self._sweeper: asyncio.TimerHandle | None = None
        self._handlers: Mapping[int, Callable[[int, int, bytes], None]] = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.CONTINUATION: self._on_continuation,
        }

    # -- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        values = {
            frames.MAX_CONCURRENT_STREAMS: STREAMS,
            frames.INITIAL_WINDOW_SIZE: self._stream_room,
            frames.MAX_FRAME_SIZE: FRAME_BYTES,
            frames.MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES,
        }
        grown = frames.window_update(0, WINDOW - frames.DEFAULT_WINDOW)
        self._write(frames.settings(values) + grown)
        self._sweep_later(self._bounds.body_seconds)
        self._bounds.connections += 1
        if self._bounds.connections > self._bounds.most:
            self._end(ErrorCode.ENHANCE_YOUR_CALM, "the server has too many connections")

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._rest:
            data = self._rest + data
        try:
            self._rest = self._take(data)
        except ConnectionFault as fault:
            self._rest = b""
            self._end(fault.code, str(fault))
            return
        if self._incomplete:
            self._sweep_later(self._bounds.body_seconds)

    def eof_received(self) -> None:
        """The transport closes itself."""

    def pause_writing(self) -> None:
        self._transport.pause_reading()  # who does not take answers need not ask for more

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it is over for whatever reason
        self._closing = True
        self._bounds.connections -= 1
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._abandon()
        self._closed(self)

    # -- the end

    def drain(self) -> None:
        """Takes no new calls, once the peer knows; closes when those that run are answered."""
        if self._closing or self._draining:
            return
        self._draining = True
        self._write(
            frames.goaway(frames.LAST_STREAM, ErrorCode.NO_ERROR, "the server stops")
            + frames.frame(frames.PING, 0, 0, _SOON)
        )
        self._loop.call_later(_LINGER_SECONDS, self._last_call)

    def _last_call(self) -> None:
        """The peer has heard, or had time to: what it sends from now on, it repeats elsewhere."""
        if not self._drained and not self._closing:
            self._drained = True
            self._write(frames.goaway(self._last, ErrorCode.NO_ERROR, "the server stops"))
            self._close_when_done()

    def _close_when_done(self) -> None:
        if self._drained and not self._streams and not self._closing:
            self._shut()

    def _end(self, code: ErrorCode, message: str) -> None:
        self._write(frames.goaway(self._last, code, message))
        self._abandon()
        self._shut()

    def _shut(self) -> None:
        """Closed at once, bytes that are still on their way would take the last frames with them."""
        self._closing = True
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(_LINGER_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """Closes without a word."""
        self._transport.abort()

    def _abandon(self) -> None:
        for stream in list(self._streams.values()):
            self._forget(stream)
            if stream.task is not None:
                stream.task.cancel()

    def _sweep_later(self, seconds: float) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        """Ends what has waited for its other side for too long."""
        self._sweeper = None
        if not self._settled:
            self._end(ErrorCode.SETTINGS_TIMEOUT, "no settings came")
            return
        now = self._loop.time()
        for stream in list(self._streams.values()):
            if not stream.ended and stream.since + self._bounds.body_seconds <= now:
                self._answer(stream, _LATE_BODY)
            elif stream.rest is not None and stream.since + _STALL_SECONDS <= now:
                self._reset(stream, ErrorCode.CANCEL)
        if self._incomplete or self._stalled:
            self._sweep_later(min(self._bounds.body_seconds, 1.0))

    # -- frames in

    def _take(self, data: bytes) -> bytes:
        """Acts on each whole frame and gives what is left of the data."""
        position, size = 0, len(data)
        if not self._greeted:
            if not data.startswith(frames.PREFACE[:size]):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this port speaks HTTP/2")
            if size < len(frames.PREFACE):
                return data
            self._greeted = True
            position = len(frames.PREFACE)
        while size - position >= frames.HEAD_BYTES:
            high, low, kind, flags, number = frames.HEAD.unpack_from(data, position)
            length = high << 8 | low
            if length > FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            position += frames.HEAD_BYTES
            if size - position < length:
                position -= frames.HEAD_BYTES
                break
            payload = data[position : position + length]
            position += length
            self._on_frame(kind, flags, number & 0x7FFFFFFF, payload)
            if self._closing:
                return b""
        return data[position:]

    def _on_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a block of headers is interrupted")
        if not self._settled and kind != frames.SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
        handler = self._handlers.get(kind)
        if handler is None:
            self._charge()  # kinds that are not known are ignored
            return
        try:
            handler(flags, number, payload)
        except StreamFault as fault:
            self._charge()
            stream = self._streams.get(fault.stream)
            if stream is not None:
                self._reset(stream, fault.code)
            else:
                self._ended_early(fault.stream)
                self._write(frames.reset(fault.stream, fault.code))

    def _charge(self) -> None:
        """For a frame that brings nothing forward: a peer that sends nearly nothing else is sent away."""
        self._patience -= 1
        if self._patience < 0:
            now = self._loop.time()
            earned = (now - self._patient_since) * PATIENCE_A_SECOND
            self._patience = min(self._patience + earned, PATIENCE)
            self._patient_since = now
            if self._patience < 0:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def _on_headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"there is no stream {number}")
        if flags & (frames.PADDED | frames.PRIORITY_FLAG):
            payload = _unpadded(flags, payload)
            if flags & frames.PRIORITY_FLAG:
                if len(payload) < 5:
                    raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "no room for the priority")
                payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._on_block(flags, number, payload)
        else:
            self._block = (flags, number, [payload])

    def _on_continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or number != self._block[1]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "nothing is to be continued")
        first, _, parts = self._block
        parts.append(payload)
        if len(parts) > _CONTINUATIONS or sum(map(len, parts)) > _BLOCK_BYTES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a block of headers is too long")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(first, number, b"".join(parts))

    def _on_block(self, flags: int, number: int, block: bytes) -> None:
        """A whole block. It is read in any case: the table must stay the peer's."""
        stream = self._streams.get(number)
        if stream is not None or number <= self._last:
            self._on_trailers(flags, number, stream, block)
            return
        try:
            request = self._memo.get(block) or self._request(block)
        except ListTooLargeError:
            request = Request(_NO_HEADERS, None, b"", None, _MANY_HEADERS)
        except HpackError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        except metadata.MalformedError as error:
            self._last = number
            raise StreamFault(number, ErrorCode.PROTOCOL_ERROR, str(error)) from None
        if self._drained:
            return
        self._last = number
        if len(self._streams) >= STREAMS:
            raise StreamFault(number, ErrorCode.REFUSED_STREAM, "too many calls at once")
        stream = _Stream(number, request, self._peer_window, self._stream_room, self._loop.time())
        self._streams[number] = stream
        self._incomplete += 1
        if request.timeout is not None:
            stream.timer = self._loop.call_later(request.timeout, self._expire, stream)
        if flags & frames.END_STREAM:
            self._complete(stream)
        elif request.refusal is not None:
            self._answer(stream, request.refusal)

    def _request(self, block: bytes) -> Request:
        """Clients repeat themselves: while the table does not change, equal blocks are the same request."""
        decoder = self._decoder
        try:
            fields = decoder.decode(block)
        finally:
            changed = decoder.version != self._memo_version
            if changed:
                self._memo.clear()
                self._memo_version = decoder.version
        request = metadata.request_of(fields, self._bounds.methods)
        if not changed and len(block) <= _MEMO_BYTES:
            if len(self._memo) >= _MEMOS:
                self._memo.clear()
            self._memo[block] = request
        return request

    def _on_trailers(self, flags: int, number: int, stream: _Stream | None, block: bytes) -> None:
        try:
            self._decoder.decode(block)
        except ListTooLargeError:
            self._charge()
        except HpackError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        self._charge()
        if stream is None or stream.ended:
            if number in self._early:
                return
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"stream {number} is closed")
        if not flags & frames.END_STREAM:
            raise StreamFault(number, ErrorCode.PROTOCOL_ERROR, "trailers must end their stream")
        self._complete(stream)

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._room -= size
        if self._room < WINDOW >> 1:
            if self._room < 0:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection may have")
            self._write(frames.window_update(0, WINDOW - self._room))
            self._room = WINDOW
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            self._on_late_data(number)
            return
        stream.room -= size
        if stream.room < 0:
            raise StreamFault(number, ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream may have")
        if flags & frames.PADDED:
            payload = _unpadded(flags, payload)
            stream.room += size - len(payload)
            if not flags & frames.END_STREAM:
                self._write(frames.window_update(number, size - len(payload)))
        if payload:
            stream.parts.append(payload)
            stream.size += len(payload)
            self._held += len(payload)
        elif not flags & frames.END_STREAM:
            self._charge()
        if flags & frames.END_STREAM:
            self._complete(stream)
        else:
            self._check_size(stream)

    def _on_late_data(self, number: int) -> None:
        if not number or (number > self._last and not self._drained):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {number} is not open")
        if number <= self._last and number not in self._early:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"stream {number} is closed")
        # It was answered, or turned away, before all of it was there.

    def _check_size(self, stream: _Stream) -> None:
        """Refuses what will not fit before all of it is there."""
        if stream.size >= PREFIX_BYTES:
            if len(stream.parts[0]) < PREFIX_BYTES:
                stream.parts[:] = [b"".join(stream.parts)]
            if int.from_bytes(stream.parts[0][1:PREFIX_BYTES], "big") > self._bounds.message_bytes:
                self._answer(stream, too_large(self._bounds.message_bytes).reply)
                return
        if self._held > self._most_held:
            self._answer(stream, _FULL)

    def _on_priority(self, _: int, number: int, payload: bytes) -> None:
        self._charge()
        if not number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a priority of no stream")
        if len(payload) != 5:
            raise StreamFault(number, ErrorCode.FRAME_SIZE_ERROR, "a priority of another length")

    def _on_reset(self, _: int, number: int, payload: bytes) -> None:
        self._charge()
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a reset of another length")
        if not number & 1 or (number > self._last and not self._drained):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {number} is not open")
        stream = self._streams.get(number)
        if stream is not None:
            self._forget(stream)
            if stream.task is not None:
                stream.task.cancel()
            self._close_when_done()

    def _on_settings(self, flags: int, number: int, payload: bytes) -> None:
        self._charge()
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "settings of one stream")
        if flags & frames.ACK:
            if payload or not self._settled:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement that says something")
            return
        if len(payload) % frames.SETTING.size:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "settings of another length")
        for setting, value in frames.SETTING.iter_unpack(payload):
            self._set(setting, value)
        if not self._settled and self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._settled = True
        self._write(frames.SETTINGS_ACK)
        self._pump()

    def _set(self, setting: int, value: int) -> None:
        if setting == frames.INITIAL_WINDOW_SIZE:
            if value > frames.MOST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
            for stream in self._streams.values():
                stream.window += value - self._peer_window
                if stream.window > frames.MOST_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
            self._peer_window = value
        elif setting == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME <= value <= frames.MOST_FRAME:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "frames of a size that is not allowed")
            self._peer_frame = min(value, FRAME_BYTES)
        elif setting == frames.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a setting that is neither on nor off")
        elif setting == frames.HEADER_TABLE_SIZE and value < TABLE_BYTES:
            self._prelude = EMPTY_TABLE

    def _on_push_promise(self, _: int, __: int, ___: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients do not push")

    def _on_ping(self, flags: int, number: int, payload: bytes) -> None:
        self._charge()
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a ping of one stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a ping of another length")
        if not flags & frames.ACK:
            self._write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif self._draining and payload == _SOON:
            self._last_call()

    def _on_goaway(self, _: int, number: int, payload: bytes) -> None:
        """Clients say it when they go, and close the connection themselves."""
        self._charge()
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a goodbye of one stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a goodbye that is too short")

    def _on_window_update(self, _: int, number: int, payload: bytes) -> None:
        self._charge()
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a window's update of another length")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not number:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
            self._window += increment
            if self._window > frames.MOST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
            self._pump()
            return
        stream = self._streams.get(number)
        if stream is None:
            if number > self._last and not self._drained:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {number} is not open")
            return  # it was answered meanwhile
        if not increment:
            raise StreamFault(number, ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
        stream.window += increment
        if stream.window > frames.MOST_WINDOW:
            raise StreamFault(number, ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
        if stream.rest is not None:
            self._push(stream)

    # -- calls

    def _complete(self, stream: _Stream) -> None:
        """The whole request is there."""
        bounds = self._bounds
        self._incomplete -= 1
        self._held -= stream.size
        stream.ended = True
        request = stream.request
        if request.refusal is not None or request.method is None:
            self._answer(stream, request.refusal or _BROKEN)
            return
        parts, stream.parts = stream.parts, []
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        try:
            if len(body) - PREFIX_BYTES > bounds.message_bytes:
                raise too_large(bounds.message_bytes)
            message = message_of(body, request.encoding, bounds.message_bytes)
        except RefusedError as error:
            self._answer(stream, error.reply)
            return
        if bounds.running >= bounds.most:
            self._answer(stream, _TOO_BUSY)
            return
        bounds.running += 1
        stream.task = self._loop.create_task(self._run(stream, request, message))
        stream.task.add_done_callback(self._ran)

    async def _run(self, stream: _Stream, request: Request, message: bytes) -> None:
        assert request.method is not None
        try:
            reply = await request.method(request.headers, message)
        except Exception:
            _log.exception("a call failed")
            reply = _BROKEN
        if stream.number in self._streams:
            self._answer(stream, reply)

    def _ran(self, _: asyncio.Task[None]) -> None:
        self._bounds.running -= 1

    def _expire(self, stream: _Stream) -> None:
        task = stream.task
        if stream.number in self._streams and stream.rest is None:
            self._answer(stream, _LATE)
            if task is not None:
                task.cancel()

    # -- answers out

    def _answer(self, stream: _Stream, reply: Reply) -> None:
        """In one piece where the peer's windows allow: a lost worker has then sent all of it, or none."""
        number = stream.number.to_bytes(4, "big")
        block = metadata.trailers(reply)
        prelude, self._prelude = self._prelude, b""
        self._patience = min(self._patience + PATIENCE_A_CALL, PATIENCE)
        if reply.status:
            first = prelude + metadata.answer_of(stream.request.http_status) + block
            data = _head(len(first), b"\x01\x05", number) + first
            self._write(data if stream.ended else data + self._cut(stream))
            self._forget(stream)
            return
        first = prelude + metadata.ANSWER
        message = reply.message
        size = len(message) + PREFIX_BYTES
        parts = [_head(len(first), b"\x01\x04", number), first]
        if size <= self._window and size <= stream.window and size <= self._peer_frame:
            self._window -= size
            parts += (
                _head(size, b"\0\0", number),
                b"\0",
                len(message).to_bytes(4, "big"),
                message,
                _head(len(block), b"\x01\x05", number),
                block,
            )
            self._write(b"".join(parts))
            self._forget(stream)
        else:
            self._write(b"".join(parts))
            stream.rest = memoryview(b"\0" + len(message).to_bytes(4, "big") + message)
            stream.trailers = block
            self._stalled[stream.number] = stream
            stream.since = self._loop.time()
            self._sweep_later(self._bounds.body_seconds)
            self._push(stream)

    def _cut(self, stream: _Stream) -> bytes:
        """Tells the peer to stop sending a request that is answered already."""
        self._ended_early(stream.number)
        return frames.reset(stream.number, ErrorCode.NO_ERROR)

    def _ended_early(self, number: int) -> None:
        """What the peer has sent on the stream before it hears of its end is no fault."""
        self._early[number] = None
        if len(self._early) > _EARLY:
            self._early.popitem(last=False)

    def _pump(self) -> None:
        for stream in list(self._stalled.values()):
            if self._window <= 0:
                return
            self._push(stream)

    def _push(self, stream: _Stream) -> None:
        """Sends of an answer what the windows allow."""
        rest = stream.rest
        assert rest is not None
        number = stream.number.to_bytes(4, "big")
        parts: list[bytes] = []
        while rest and (size := min(len(rest), self._window, stream.window, self._peer_frame)) > 0:
            parts += (_head(size, b"\0\0", number), bytes(rest[:size]))
            rest = rest[size:]
            self._window -= size
            stream.window -= size
            stream.since = self._loop.time()
        stream.rest = rest
        if not rest:
            parts += (_head(len(stream.trailers), b"\x01\x05", number), stream.trailers)
            self._forget(stream)
        if parts:
            self._write(b"".join(parts))

    def _reset(self, stream: _Stream, code: ErrorCode) -> None:
        self._write(frames.reset(stream.number, code))
        if not stream.ended:
            self._ended_early(stream.number)
        self._forget(stream)
        if stream.task is not None:
            stream.task.cancel()

    def _forget(self, stream: _Stream) -> None:
        """The call is over for the connection."""
        self._streams.pop(stream.number, None)
        self._stalled.pop(stream.number, None)
        if not stream.ended:
            stream.ended = True
            self._incomplete -= 1
            self._held -= stream.size
        if stream.timer is not None:
            stream.timer.cancel()
        if self._drained:
            self._loop.call_soon(self._close_when_done)

    def _write(self, data: bytes) -> None:
        if self._tail is not None:
            self._tail.note(data)
        self._transport.write(data)


def _head(length: int, kind_and_flags: bytes, number: bytes) -> bytes:
    return length.to_bytes(3, "big") + kind_and_flags + number


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & frames.PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than there is room")
    return payload[1 : len(payload) - payload[0]]

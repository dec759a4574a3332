"""HTTP/2 and gRPC as clients use them and as they should not, frame by frame."""

import asyncio
import functools
import gzip
import inspect
import zlib

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

from ml_platform.inference.protocols.grpc import connection as limits
from ml_platform.inference.protocols.grpc import frames
from ml_platform.inference.protocols.grpc.frames import ErrorCode
from ml_platform.inference.protocols.grpc.unary import Status
from tests.inference.grpc.peer import BROKEN, ECHO, MOST, SLOW, Peer, message

E = ErrorCode
END = frames.END_STREAM
WHOLE = frames.END_HEADERS


def in_a_loop(test):
    """Runs a test that is a coroutine."""

    @functools.wraps(test)
    def run(*arguments, **named):
        asyncio.run(test(*arguments, **named))

    run.__signature__ = inspect.signature(test)
    return run


def f(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return frames.frame(kind, flags, stream, payload)


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def setting(key: int, value: int) -> bytes:
    return frames.settings({key: value})


class TestCall:
    @in_a_loop
    async def test_is_answered_with_headers_a_message_and_trailers(self):
        peer = Peer()
        answer = await peer.answer(peer.call(b"hello"))
        assert answer.fields[":status"] == "200"
        assert answer.fields["content-type"] == "application/grpc"
        assert (answer.status, answer.fields["x-request-id"]) == (0, "mine")
        assert answer.data == message(b"hello")

    @in_a_loop
    async def test_is_read_however_its_bytes_arrive(self):
        peer = Peer(greet=False)
        data = frames.PREFACE + frames.EMPTY_SETTINGS + f(frames.HEADERS, WHOLE, 1, peer.block())
        data += f(frames.DATA, 0, 1, message(b"hello")[:3]) + f(frames.DATA, END, 1, message(b"hello")[3:])
        for byte in data:
            peer.send(bytes((byte,)))
        assert (await peer.answer(1)).data == message(b"hello")

    @in_a_loop
    async def test_may_be_padded_have_a_priority_and_be_cut_into_pieces(self):
        peer = Peer()
        block = peer.block()
        padded = b"\x03" + bytes(5) + block[:4] + bytes(3)
        peer.send(
            f(frames.HEADERS, frames.PADDED | frames.PRIORITY_FLAG, 1, padded),
            f(frames.CONTINUATION, 0, 1, block[4:9]),
            f(frames.CONTINUATION, WHOLE, 1, block[9:]),
            f(frames.DATA, frames.PADDED, 1, b"\x02" + message(b"hello")[:6] + bytes(2)),
            f(frames.PRIORITY, 0, 1, bytes(5)),
            f(0x55, 0xFF, 1, b"no such kind"),
            f(frames.DATA, frames.PADDED, 1, b"\x00" + message(b"hello")[6:]),
            f(frames.HEADERS, WHOLE | END, 1, peer.encoder.encode({"last": "words"})),
        )
        assert (await peer.answer(1)).data == message(b"hello")

    @in_a_loop
    async def test_of_many_at_once_are_answered_each_by_its_own(self):
        peer = Peer()
        streams = {peer.call(b"%d" % index, x_request_id=f"id-{index}"): index for index in range(200)}
        for stream, index in streams.items():
            assert (await peer.answer(stream)).data == message(b"%d" % index)
        assert peer.bounds.running == 0

    @in_a_loop
    async def test_of_a_method_that_fails_says_nothing_of_why(self):
        peer = Peer()
        answer = await peer.answer(peer.call(path=BROKEN))
        assert (answer.status, answer.fields["grpc-message"]) == (Status.INTERNAL, "internal error")

    @in_a_loop
    async def test_of_an_unknown_method_is_refused_before_its_message_comes(self):
        peer = Peer()
        stream = peer.open(b"/test.Echo/\xc3\x9cber%")
        answer = await peer.answer(stream)
        assert answer.status == Status.UNIMPLEMENTED
        assert "%25" in answer.fields["grpc-message"]
        assert "%C3" in answer.fields["grpc-message"]
        assert (peer.reset(stream), len(peer.of(frames.HEADERS, stream))) == (E.NO_ERROR, 1)
        peer.send(f(frames.DATA, END, stream, message(b"was on its way")))
        assert (await peer.answer(peer.call(b"next"))).data == message(b"next")

    @pytest.mark.parametrize(
        ("body", "more", "status"),
        [
            (b"", {}, Status.UNIMPLEMENTED),
            (b"\0\0", {}, Status.INVALID_ARGUMENT),
            (message(b"hello")[:-1], {}, Status.INVALID_ARGUMENT),
            (message(b"hello") * 2, {}, Status.UNIMPLEMENTED),
            (b"\x02" + message(b"hello")[1:], {}, Status.INVALID_ARGUMENT),
            (message(b"x" * (MOST + 1)), {}, Status.RESOURCE_EXHAUSTED),
            (message(gzip.compress(b"hello"), 1), {"grpc_encoding": "gzip"}, Status.OK),
            (message(zlib.compress(b"hello"), 1), {"grpc_encoding": "deflate"}, Status.OK),
            (message(b"hello"), {"grpc_encoding": "gzip"}, Status.OK),
            (message(gzip.compress(b"hello"), 1), {}, Status.UNIMPLEMENTED),
            (message(gzip.compress(b"hello"), 1), {"grpc_encoding": "zstd"}, Status.UNIMPLEMENTED),
            (message(b"no gzip", 1), {"grpc_encoding": "gzip"}, Status.INVALID_ARGUMENT),
            (message(gzip.compress(b"hello")[:-4], 1), {"grpc_encoding": "gzip"}, Status.INVALID_ARGUMENT),
            (message(gzip.compress(bytes(10**6)), 1), {"grpc_encoding": "gzip"}, Status.RESOURCE_EXHAUSTED),
            (message(b"hello"), {"grpc_timeout": "soon"}, Status.INVALID_ARGUMENT),
        ],
        ids=range(15),
    )
    @in_a_loop
    async def test_has_one_whole_message(self, body, more, status):
        peer = Peer()
        stream = peer.open(**more)
        for start in range(0, len(body), 16_384):
            peer.send(f(frames.DATA, 0, stream, body[start : start + 16_384]))
        peer.send(f(frames.DATA, END, stream))
        answer = await peer.answer(stream)
        assert answer.status == status
        if status is Status.OK:
            assert answer.data == message(b"hello")
        if status is Status.UNIMPLEMENTED and body[:1] == b"\x01":
            assert "gzip" in answer.fields["grpc-accept-encoding"]
        assert peer.fault() is None

    @pytest.mark.parametrize(
        ("fields", "status"), [({"content-type": "text/plain"}, "415"), ({":method": "GET"}, "405")]
    )
    @in_a_loop
    async def test_that_is_none_is_told_so_in_the_words_of_http(self, fields, status):
        peer = Peer()
        block = peer.encoder.encode(
            {":method": "POST", ":scheme": "http", ":path": ECHO.decode(), "content-type": "application/grpc"}
            | fields
        )
        peer.send(f(frames.HEADERS, WHOLE | END, 1, block))
        assert (await peer.answer(1)).fields[":status"] == status

    @pytest.mark.parametrize(
        "fields",
        [
            [(":method", "POST"), (":scheme", "http")],
            [(":method", "POST"), (":scheme", "http"), (":path", "")],
            [(":method", "POST"), (":method", "POST"), (":scheme", "http"), (":path", "/a")],
            [("te", "trailers"), (":method", "POST"), (":scheme", "http"), (":path", "/a")],
            [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":status", "200")],
            [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("Upper", "case")],
            [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("connection", "close")],
            [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("te", "gzip")],
            [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("split", "a\r\nb")],
        ],
        ids=range(9),
    )
    @in_a_loop
    async def test_with_broken_headers_is_reset_and_the_connection_goes_on(self, fields):
        peer = Peer()
        peer.send(f(frames.HEADERS, WHOLE, 1, peer.encoder.encode(fields)))
        assert peer.reset(1) == E.PROTOCOL_ERROR
        peer.send(f(frames.DATA, END, 1, message(b"was on its way")))
        peer.send(f(frames.HEADERS, WHOLE, 3, peer.block()), f(frames.DATA, END, 3, message(b"next")))
        assert (await peer.answer(3)).data == message(b"next")

    @in_a_loop
    async def test_with_too_much_metadata_is_refused_and_the_table_kept(self):
        peer = Peer()
        stream = peer.open(**{f"name_{index}": "x" * 100 for index in range(140)})
        assert (await peer.answer(stream)).status == Status.RESOURCE_EXHAUSTED
        assert (await peer.answer(peer.call(name_139="x" * 100))).status == 0

    @in_a_loop
    async def test_beyond_what_the_server_does_at_once_is_refused(self):
        peer = Peer(most=2)
        waiting = [peer.call(path=SLOW) for _ in range(2)]
        assert (await peer.answer(peer.call())).status == Status.RESOURCE_EXHAUSTED
        peer.release.set()
        assert [(await peer.answer(stream)).status for stream in waiting] == [0, 0]


class TestDeadline:
    @in_a_loop
    async def test_that_passes_ends_the_call_alone(self):
        peer = Peer()
        late, patient = peer.call(path=SLOW, grpc_timeout="30m"), peer.call(path=SLOW, grpc_timeout="1H")
        assert (await peer.answer(late)).status == Status.DEADLINE_EXCEEDED
        peer.release.set()
        assert (await peer.answer(patient)).status == 0
        assert (peer.started, peer.cancelled) == (2, 1)

    @in_a_loop
    async def test_passes_for_a_message_that_never_comes(self):
        peer = Peer()
        stream = peer.open(grpc_timeout="20m")
        assert (await peer.answer(stream)).status == Status.DEADLINE_EXCEEDED
        assert peer.reset(stream) == E.NO_ERROR

    @in_a_loop
    async def test_for_messages_is_the_servers_own(self):
        peer = Peer(body_seconds=0.05)
        stream = peer.open()
        peer.send(f(frames.DATA, 0, stream, b"\0\0"))
        assert (await peer.answer(stream)).status == Status.DEADLINE_EXCEEDED

    @in_a_loop
    async def test_for_the_first_settings_ends_the_connection(self):
        peer = Peer(greet=False, body_seconds=0.05)
        peer.send(frames.PREFACE[:10])
        await peer.eventually(lambda: peer.fault() == E.SETTINGS_TIMEOUT)


class TestReset:
    @in_a_loop
    async def test_cancels_its_call_alone(self):
        peer = Peer()
        first, second = peer.call(path=SLOW), peer.call(path=SLOW)
        await peer.eventually(lambda: peer.started == 2)
        peer.send(frames.reset(first, E.CANCEL))
        await peer.eventually(lambda: peer.cancelled == 1)
        peer.release.set()
        assert (await peer.answer(second)).status == 0
        assert peer.bounds.running == 0
        assert not peer.of(frames.HEADERS, first)

    @in_a_loop
    async def test_of_a_connection_that_is_lost_cancels_all(self):
        peer = Peer()
        for _ in range(3):
            peer.call(path=SLOW)
        await peer.eventually(lambda: peer.started == 3)
        peer.connection.connection_lost(None)
        await peer.eventually(lambda: peer.cancelled == 3 and not peer.bounds.running)
        assert peer.closed


class TestFlowControl:
    @in_a_loop
    async def test_of_the_peer_is_kept_for_the_stream_and_for_the_connection(self):
        peer = Peer()
        peer.send(setting(frames.INITIAL_WINDOW_SIZE, 1000))
        size = 100_000
        stream = peer.call(answer_bytes=str(size))
        await peer.eventually(lambda: peer.of(frames.DATA, stream))

        def got() -> int:
            return sum(len(each.payload) for each in peer.of(frames.DATA, stream))

        assert got() == 1000
        peer.send(frames.window_update(stream, 10))
        assert got() == 1010
        peer.send(setting(frames.INITIAL_WINDOW_SIZE, 2000))
        assert got() == 2010
        peer.send(frames.window_update(stream, 1_000_000))
        assert got() == frames.DEFAULT_WINDOW
        peer.send(frames.window_update(0, 1_000_000))
        assert (await peer.answer(stream)).data == message(b"x" * size)
        assert max(len(each.payload) for each in peer.of(frames.DATA, stream)) <= frames.DEFAULT_FRAME

    @in_a_loop
    async def test_window_that_the_peer_makes_negative_must_grow_first(self):
        peer = Peer()
        peer.send(setting(frames.INITIAL_WINDOW_SIZE, 1000))
        stream = peer.call(answer_bytes="5000")
        await peer.eventually(lambda: peer.of(frames.DATA, stream))
        peer.send(setting(frames.INITIAL_WINDOW_SIZE, 0), frames.window_update(stream, 1000))
        assert sum(len(each.payload) for each in peer.of(frames.DATA, stream)) == 1000
        peer.send(frames.window_update(stream, 10_000))
        assert (await peer.answer(stream)).status == 0

    @in_a_loop
    async def test_of_ours_grows_as_data_comes(self):
        peer = Peer()
        for _ in range(3 * limits.WINDOW // (MOST // 10 * 9)):
            stream = peer.open()
            body = message(b"x" * (MOST // 10 * 9))
            for start in range(0, len(body), 50_000):
                peer.send(f(frames.DATA, 0, stream, body[start : start + 50_000]))
            peer.send(f(frames.DATA, END, stream))
            peer.send(frames.window_update(0, len(body) + 100), frames.window_update(stream, MOST))
            await peer.answer(stream)
            peer.seen = [each for each in peer.seen if each.kind != frames.DATA]
        assert peer.fault() is None
        grown = sum(int.from_bytes(each.payload, "big") for each in peer.of(frames.WINDOW_UPDATE, 0))
        assert grown > 2 * limits.WINDOW

    @in_a_loop
    async def test_that_the_peer_does_not_keep_is_a_fault(self):
        peer = Peer()
        stream = peer.open()
        room = min(MOST + 65_536, frames.MOST_WINDOW)
        body = message(b"x" * MOST) + bytes(room)
        for start in range(0, len(body), 60_000):
            peer.send(f(frames.DATA, 0, stream, body[start : start + 60_000]))
        assert peer.reset(stream) == E.FLOW_CONTROL_ERROR

    @in_a_loop
    async def test_a_message_too_large_is_refused_by_its_prefix(self):
        peer = Peer()
        stream = peer.open()
        peer.send(f(frames.DATA, 0, stream, message(b"x" * (MOST + 1))[:3]))
        peer.send(f(frames.DATA, 0, stream, message(b"x" * (MOST + 1))[3:6]))
        assert (await peer.answer(stream)).status == Status.RESOURCE_EXHAUSTED
        assert peer.started == 0

    @in_a_loop
    async def test_what_one_connection_holds_unfinished_is_bounded(self):
        peer = Peer()
        refused = 0
        body = message(b"x" * MOST)[:-1]
        for _ in range(limits.HELD_BYTES // MOST + 50):
            stream = peer.open()
            for start in range(0, len(body), 60_000):
                peer.send(f(frames.DATA, 0, stream, body[start : start + 60_000]))
            refused += bool(peer.of(frames.HEADERS, stream))
        assert refused >= 40
        assert peer.fault() is None

    @in_a_loop
    async def test_that_the_peer_never_opens_ends_the_call(self, monkeypatch):
        monkeypatch.setattr(limits, "_STALL_SECONDS", 0.05)
        peer = Peer(body_seconds=0.02)
        stream = peer.call(answer_bytes="100000")
        await peer.eventually(lambda: peer.reset(stream) == E.CANCEL)
        assert not peer.connection._stalled
        assert (await peer.answer(peer.call(path=BROKEN))).status == Status.INTERNAL

    @in_a_loop
    async def test_a_peer_that_does_not_read_is_not_read_from(self):
        peer = Peer()
        peer.connection.pause_writing()
        assert peer.transport.paused
        peer.connection.resume_writing()
        assert not peer.transport.paused


class TestFault:
    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", E.PROTOCOL_ERROR),
            (b"\x16\x03\x01\x02\x00", E.PROTOCOL_ERROR),
            (frames.PREFACE[:-1] + b"x", E.PROTOCOL_ERROR),
            (frames.PREFACE + f(frames.PING, 0, 0, bytes(8)), E.PROTOCOL_ERROR),
            (frames.PREFACE + f(frames.HEADERS, WHOLE, 1, b"\x82"), E.PROTOCOL_ERROR),
            (frames.PREFACE + frames.SETTINGS_ACK, E.FRAME_SIZE_ERROR),
        ],
        ids=["http 1", "tls", "nearly", "ping first", "headers first", "an acknowledgement of nothing"],
    )
    @in_a_loop
    async def test_in_the_greeting_ends_the_connection(self, sent, code):
        peer = Peer(greet=False)
        peer.send(sent)
        assert peer.fault() == code

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (f(frames.HEADERS, WHOLE, 2, b"\x82"), E.PROTOCOL_ERROR),
            (f(frames.HEADERS, WHOLE, 0, b"\x82"), E.PROTOCOL_ERROR),
            (f(frames.DATA, 0, 0, b"x"), E.PROTOCOL_ERROR),
            (f(frames.DATA, 0, 5, b"x"), E.PROTOCOL_ERROR),
            (f(frames.DATA, 0, 2, b"x"), E.PROTOCOL_ERROR),
            (frames.reset(5, 0), E.PROTOCOL_ERROR),
            (frames.reset(0, 0), E.PROTOCOL_ERROR),
            (f(frames.RST_STREAM, 0, 1, bytes(3)), E.FRAME_SIZE_ERROR),
            (f(frames.PRIORITY, 0, 0, bytes(5)), E.PROTOCOL_ERROR),
            (f(frames.SETTINGS, 0, 1), E.PROTOCOL_ERROR),
            (f(frames.SETTINGS, 0, 0, bytes(5)), E.FRAME_SIZE_ERROR),
            (f(frames.SETTINGS, frames.ACK, 0, bytes(6)), E.FRAME_SIZE_ERROR),
            (setting(frames.ENABLE_PUSH, 2), E.PROTOCOL_ERROR),
            (setting(frames.INITIAL_WINDOW_SIZE, 2**31), E.FLOW_CONTROL_ERROR),
            (setting(frames.MAX_FRAME_SIZE, 16_383), E.PROTOCOL_ERROR),
            (setting(frames.MAX_FRAME_SIZE, 2**24), E.PROTOCOL_ERROR),
            (f(frames.PUSH_PROMISE, WHOLE, 1, bytes(5)), E.PROTOCOL_ERROR),
            (f(frames.PING, 0, 1, bytes(8)), E.PROTOCOL_ERROR),
            (f(frames.PING, 0, 0, bytes(7)), E.FRAME_SIZE_ERROR),
            (f(frames.GOAWAY, 0, 1, bytes(8)), E.PROTOCOL_ERROR),
            (f(frames.GOAWAY, 0, 0, bytes(7)), E.FRAME_SIZE_ERROR),
            (f(frames.WINDOW_UPDATE, 0, 0, bytes(3)), E.FRAME_SIZE_ERROR),
            (frames.window_update(0, 0), E.PROTOCOL_ERROR),
            (frames.window_update(0, 2**31 - 1), E.FLOW_CONTROL_ERROR),
            (frames.window_update(5, 1), E.PROTOCOL_ERROR),
            (f(frames.CONTINUATION, WHOLE, 1, b"\x82"), E.PROTOCOL_ERROR),
            (f(frames.HEADERS, 0, 1, b"\x82") + f(frames.DATA, 0, 1), E.PROTOCOL_ERROR),
            (f(frames.HEADERS, 0, 1, b"\x82") + f(frames.CONTINUATION, WHOLE, 3), E.PROTOCOL_ERROR),
            (f(frames.HEADERS, WHOLE | frames.PADDED, 1, b"\x05\x82"), E.PROTOCOL_ERROR),
            (f(frames.HEADERS, WHOLE | frames.PADDED, 1), E.PROTOCOL_ERROR),
            (f(frames.HEADERS, WHOLE | frames.PRIORITY_FLAG, 1, bytes(4)), E.FRAME_SIZE_ERROR),
            (f(frames.HEADERS, WHOLE, 1, b"\xff\xff\xff\xff\xff\x7f"), E.COMPRESSION_ERROR),
            (f(frames.HEADERS, WHOLE, 1, b"\x3f\xff\xff\x03"), E.COMPRESSION_ERROR),
            (frames.HEAD.pack(0x100, 1, frames.DATA, 0, 1), E.FRAME_SIZE_ERROR),
            (frames.HEAD.pack(0xFFFF, 0xFF, 0x55, 0, 0), E.FRAME_SIZE_ERROR),
        ],
        ids=range(35),
    )
    @in_a_loop
    async def test_against_the_rules_ends_the_connection(self, sent, code):
        peer = Peer()
        peer.send(sent)
        assert peer.fault() == code

    @pytest.mark.parametrize(
        ("after", "code"),
        [
            (lambda peer: f(frames.HEADERS, WHOLE, 1, peer.block()), E.STREAM_CLOSED),
            (lambda peer: f(frames.HEADERS, WHOLE, 3, peer.block()), E.STREAM_CLOSED),
            (lambda _: f(frames.DATA, END, 5, b"again"), E.STREAM_CLOSED),
            (lambda _: f(frames.DATA, 0, 5, b"again"), E.STREAM_CLOSED),
            (lambda peer: f(frames.HEADERS, WHOLE | END, 5, peer.block()), E.STREAM_CLOSED),
        ],
        ids=["headers of an old one", "of one left out", "data", "more data", "trailers"],
    )
    @in_a_loop
    async def test_on_a_stream_that_is_over_ends_the_connection(self, after, code):
        peer = Peer()
        peer._stream = 3
        stream = peer.call()
        assert stream == 5
        await peer.answer(stream)
        peer.send(after(peer))
        assert peer.fault() == code

    @in_a_loop
    async def test_in_one_stream_leaves_the_others(self):
        peer = Peer()
        good = peer.call(path=SLOW)
        for sent, code in (
            (lambda s: frames.window_update(s, 0), E.PROTOCOL_ERROR),
            (lambda s: frames.window_update(s, 2**31 - 1), E.FLOW_CONTROL_ERROR),
            (lambda s: f(frames.PRIORITY, 0, s, bytes(4)), E.FRAME_SIZE_ERROR),
            (lambda s: f(frames.HEADERS, WHOLE, s, peer.encoder.encode({"no": "end"})), E.PROTOCOL_ERROR),
        ):
            stream = peer.open(path=SLOW)
            peer.send(sent(stream))
            assert peer.reset(stream) == code
        peer.release.set()
        assert (await peer.answer(good)).status == 0

    @in_a_loop
    async def test_in_padding_of_data_ends_the_connection(self):
        peer = Peer()
        stream = peer.open()
        peer.send(f(frames.DATA, frames.PADDED, stream, b"\x09abc"))
        assert peer.fault() == E.PROTOCOL_ERROR

    @in_a_loop
    async def test_cancels_what_runs(self):
        peer = Peer()
        peer.call(path=SLOW)
        await peer.eventually(lambda: peer.started)
        peer.send(frames.window_update(0, 0))
        assert peer.fault() == E.PROTOCOL_ERROR
        await peer.eventually(lambda: peer.cancelled == 1 and not peer.bounds.running)


class TestFlood:
    """More than a few thousand frames that ask for nothing."""

    @pytest.mark.parametrize(
        "one",
        [
            f(frames.PING, 0, 0, bytes(8)),
            frames.EMPTY_SETTINGS,
            frames.SETTINGS_ACK,
            f(frames.PRIORITY, 0, 1, bytes(5)),
            f(0x55, 0, 0),
            frames.goaway(0, 0),
            f(frames.DATA, 0, 1),
            frames.window_update(0, 1),
            frames.reset(1, E.CANCEL),
        ],
        ids=[
            "pings",
            "settings",
            "acknowledgements",
            "priorities",
            "unknown",
            "goodbyes",
            "empty",
            "windows",
            "resets",
        ],
    )
    @in_a_loop
    async def test_of_frames_ends_the_connection(self, one):
        peer = Peer()
        peer.open()
        peer.send(one * (2 * limits.PATIENCE))
        assert peer.fault() == E.ENHANCE_YOUR_CALM

    @in_a_loop
    async def test_of_calls_that_are_reset_at_once_ends_the_connection(self):
        peer = Peer()
        for _ in range(2 * limits.PATIENCE):
            peer.send(frames.reset(peer.call(path=SLOW), E.CANCEL))
            if peer.fault() is not None:
                break
        assert peer.fault() == E.ENHANCE_YOUR_CALM
        await peer.eventually(lambda: not peer.bounds.running)

    @pytest.mark.parametrize("size", [0, 4000])
    @in_a_loop
    async def test_of_continuations_ends_the_connection(self, size):
        peer = Peer()
        peer.send(f(frames.HEADERS, 0, 1, b"\x82"))
        for _ in range(100):
            peer.send(f(frames.CONTINUATION, 0, 1, bytes(size)))
        assert peer.fault() == E.ENHANCE_YOUR_CALM

    @in_a_loop
    async def test_of_calls_that_never_end_is_refused_beyond_a_number(self):
        peer = Peer()
        for _ in range(limits.STREAMS):
            peer.open()
        beyond = peer.open()
        assert peer.reset(beyond) == E.REFUSED_STREAM
        assert len(peer.of(frames.RST_STREAM)) == 1

    @in_a_loop
    async def test_is_not_what_a_busy_client_does(self):
        """It acknowledges with windows and pings, and gives some calls up."""
        peer = Peer()
        for index in range(limits.PATIENCE):
            stream = peer.call()
            await peer.answer(stream)
            peer.send(frames.window_update(0, 10), f(frames.PING, 0, 0, bytes(8)), frames.window_update(0, 5))
            if index % 3 == 0:
                peer.send(frames.reset(peer.call(path=SLOW), E.CANCEL))
            peer.seen.clear()
        assert peer.fault() is None


class TestSettings:
    @in_a_loop
    async def test_and_pings_are_acknowledged(self):
        peer = Peer()
        peer.send(f(frames.PING, 0, 0, b"12345678"), f(frames.PING, frames.ACK, 0, bytes(8)))
        assert [each.payload for each in peer.of(frames.PING)] == [b"12345678"]
        assert [each.flags for each in peer.of(frames.SETTINGS)] == [0, frames.ACK]

    @in_a_loop
    async def test_of_a_small_table_are_confirmed_in_the_next_block(self):
        """Some decoders insist, although we never use the table."""
        peer = Peer()
        peer.decoder.max_allowed_table_size = 0
        peer.send(setting(frames.HEADER_TABLE_SIZE, 0))
        assert (await peer.answer(peer.call())).status == 0
        assert peer.of(frames.HEADERS)[0].payload[0] == 0x20
        assert (await peer.answer(peer.call())).status == 0

    @in_a_loop
    async def test_of_larger_frames_are_used(self):
        peer = Peer()
        peer.send(setting(frames.MAX_FRAME_SIZE, 60_000))
        stream = peer.call(answer_bytes="50000")
        await peer.answer(stream)
        assert len(peer.of(frames.DATA, stream)) == 1


class TestDraining:
    @in_a_loop
    async def test_lets_calls_end_and_takes_no_new_ones(self):
        peer = Peer()
        running = peer.call(path=SLOW)
        peer.connection.drain()
        (goodbye,) = peer.of(frames.GOAWAY)
        assert goodbye.payload[:8] == number(2**31 - 1) + number(0)
        late = peer.call()  # on its way before the client knew
        (ping,) = peer.of(frames.PING)
        assert (await peer.answer(late)).status == 0
        peer.send(f(frames.PING, frames.ACK, 0, ping.payload))
        assert peer.of(frames.GOAWAY)[-1].payload[:8] == number(late) + number(0)
        too_late = peer.call()
        peer.send(frames.window_update(too_late, 5), frames.reset(too_late, 0))
        assert not peer.transport.ended
        peer.release.set()
        assert (await peer.answer(running)).status == 0
        await peer.eventually(lambda: peer.transport.ended)
        assert not [each for each in peer.seen if each.stream == too_late]

    @in_a_loop
    async def test_of_an_idle_connection_ends_it_even_when_nobody_answers(self):
        peer = Peer()
        peer.connection.drain()
        await peer.eventually(lambda: peer.transport.aborted)
        assert len(peer.of(frames.GOAWAY)) == 2


KINDS = st.sampled_from(range(11))
FLAGS = st.sampled_from([0, END, WHOLE, WHOLE | END, frames.PADDED, 0xFF]) | st.integers(0, 255)
PAYLOADS = st.sampled_from([b"", bytes(4), number(1000), bytes(8), message(b"hello"), b"\x00"]) | st.binary(
    max_size=40
)
NONSENSE = st.lists(st.tuples(KINDS, FLAGS, st.integers(0, 9), PAYLOADS), max_size=30)


class TestNonsense:
    @hypothesis.settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
    @hypothesis.given(NONSENSE, st.integers(1, 50), st.booleans())
    def test_is_answered_or_ends_the_connection_and_leaves_nothing_behind(self, sent, cut, calls):
        async def scenario() -> None:
            peer = Peer()
            if calls:
                peer.call()
                peer.open(path=SLOW)
                peer.call(path=SLOW)
            data = b"".join(f(*each) for each in sent)
            for start in range(0, len(data), cut):
                peer.send(data[start : start + cut])
                await asyncio.sleep(0)
            peer.take()
            assert peer.fault() is None or peer.transport.ended
            peer.connection.connection_lost(None)
            await peer.eventually(lambda: not peer.bounds.running)
            connection = peer.connection
            assert not connection._streams
            assert not connection._stalled
            assert (connection._held, connection._incomplete, peer.bounds.connections) == (0, 0, 0)

        asyncio.run(scenario())

    @hypothesis.settings(deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6), st.data())
    def test_of_a_few_wrong_bytes_in_a_session_too(self, wrong, data):
        async def scenario() -> None:
            peer = Peer(greet=False)
            sent = frames.PREFACE + setting(frames.INITIAL_WINDOW_SIZE, 5000)
            for stream in (1, 3, 5):
                sent += f(frames.HEADERS, WHOLE, stream, peer.block(answer_bytes="9000"))
                sent += f(frames.DATA, END, stream, message(b"hello"))
                sent += frames.window_update(0, 4000) + frames.window_update(stream, 4000)
            broken = bytearray(sent)
            for place, byte in wrong:
                broken[place % len(broken)] = byte
            peer.send(bytes(broken))
            for _ in range(data.draw(st.integers(0, 5))):
                await asyncio.sleep(0)
            peer.take()
            peer.connection.connection_lost(None)
            await peer.eventually(lambda: not peer.bounds.running)
            assert (peer.connection._held, peer.connection._incomplete) == (0, 0)

        asyncio.run(scenario())

"""Header blocks, compared with the `hpack` library: what it writes we read, and what we write it reads."""

import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_platform.inference.protocols.grpc import huffman
from ml_platform.inference.protocols.grpc.hpack import Decoder, HpackError, ListTooLargeError, literal

PLENTY = 1 << 24
NAMES = st.sampled_from(
    [b":path", b"content-type", b"te", b"x-request-id", b"authorization", b"a"]
) | st.binary(min_size=1, max_size=40)
VALUES = st.sampled_from([b"POST", b"application/grpc", b"trailers", b""]) | st.binary(max_size=300)
FIELDS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=12)
BLOCKS = st.lists(st.tuples(FIELDS, st.none() | st.integers(0, 4096), st.booleans()), min_size=1, max_size=8)


def theirs(decoder: hpack.Decoder, block: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return [(name, value) for name, value in decoder.decode(block, raw=True)]
    except hpack.HPACKError:
        return None


def ours(decoder: Decoder, block: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return decoder.decode(block)
    except HpackError:
        return None


class TestDecoding:
    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @given(BLOCKS)
    def test_reads_what_another_encoder_writes_block_after_block(self, blocks):
        encoder, decoder = hpack.Encoder(), Decoder(PLENTY)
        for fields, size, coded in blocks:
            if size is not None:
                encoder.header_table_size = size
            sent = [hpack.NeverIndexedHeaderTuple(n, v) if secret else (n, v) for n, v, secret in fields]
            block = encoder.encode(sent, huffman=coded)
            assert decoder.decode(block) == [(name, value) for name, value, _ in fields]

    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @given(FIELDS, st.integers(1, 4))
    def test_of_the_same_block_gives_the_same_while_the_table_stays(self, fields, times):
        """What clients' repeated blocks are remembered by."""
        encoder, decoder = hpack.Encoder(), Decoder(PLENTY)
        expected = [(name, value) for name, value, _ in fields]
        decoder.decode(encoder.encode(expected))
        decoder.decode(encoder.encode(expected))
        block = encoder.encode(expected)
        before = decoder.version
        first = decoder.decode(block)
        if decoder.version == before:
            assert [decoder.decode(block) for _ in range(times)] == [first] * times
            assert decoder.version == before

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
    def test_of_anything_agrees_with_another_decoder(self, blocks):
        decoder, other = Decoder(PLENTY), hpack.Decoder(max_header_list_size=PLENTY)
        other.max_allowed_table_size = 4096
        for block in blocks:
            found = ours(decoder, block)
            assert found == theirs(other, block)
            if found is None:
                return

    @pytest.mark.parametrize(
        "block",
        [
            b"\x80",
            b"\xff\xff\xff\xff\xff\xff\x7f",
            b"\xbe",
            b"\x40",
            b"\x40\x05ab",
            b"\x00\x01a",
            b"\x00\x01a\x82\xff\xff",
            b"\x00\x01a\x81\x00",
            b"\x00\x01a\x84\xff\xff\xff\xff",
            b"\x3f\xe2\x1f",
            b"\x82\x20",
        ],
        ids=bytes.hex,
    )
    def test_of_what_is_none_fails(self, block):
        with pytest.raises(HpackError):
            Decoder(PLENTY).decode(block)

    def test_of_too_many_fields_keeps_the_table_for_what_follows(self):
        encoder, decoder = hpack.Encoder(), Decoder(200)
        with pytest.raises(ListTooLargeError):
            decoder.decode(encoder.encode([(b"first", b"x" * 100), (b"second", b"y" * 100)]))
        assert decoder.decode(encoder.encode([(b"second", b"y" * 100)])) == [(b"second", b"y" * 100)]

    def test_of_a_short_block_that_names_a_long_field_often_is_bounded(self):
        encoder, decoder = hpack.Encoder(), Decoder(16_384)
        decoder.decode(encoder.encode([(b"long", b"x" * 3000)]))
        with pytest.raises(ListTooLargeError):
            decoder.decode(b"\xbe" * 10_000)


class TestHuffman:
    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200))
    def test_reads_every_string(self, text):
        block = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(b"n", text)], huffman=True)
        assert Decoder(PLENTY).decode(block) == [(b"n", text)]

    def test_refuses_the_end_within_a_string_and_padding_of_a_byte(self):
        for coded in (b"\xff\xff\xff\xfc", b"\x1f\xff", b"\x00"):
            with pytest.raises(huffman.HuffmanError):
                huffman.decode(coded)


class TestEncoding:
    @given(NAMES, st.binary(max_size=70_000))
    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    def test_is_read_by_another_decoder(self, name, value):
        decoder = hpack.Decoder(max_header_list_size=PLENTY)
        assert list(decoder.decode(literal(name, value), raw=True)) == [(name, value)]

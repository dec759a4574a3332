"""Header blocks (RFC 7541): a decoder for what clients send, and the few forms in which we answer.

Answers use neither the dynamic table nor Huffman codes: what a block means then depends on nothing that was
sent before, and an answer's headers may be put together once and sent for ever.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ml_platform.inference.protocols.grpc import huffman

Field = tuple[bytes, bytes]

TABLE_BYTES: Final = 4096
"""Size of the dynamic table: HTTP/2's own default, so that no client has to be told."""
EMPTY_TABLE: Final = b"\x20"
"""Must begin the first block after a peer has asked for a smaller table than the default."""
_ENTRY_BYTES: Final = 32
_MOST_INTEGER_BYTES: Final = 4

_STATIC: Final[tuple[Field, ...]] = (
    (b"", b""),  # indices count from 1
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)
_DYNAMIC: Final = len(_STATIC)


class HpackError(ValueError):
    """The block is no header block; the connection cannot go on, because its table is no longer known."""


class ListTooLargeError(Exception):
    """The block is sound, and holds more than is taken. What comes after it can be read."""


class Decoder:
    """The headers of one direction of a connection.

    `version` grows with each change of the dynamic table. While it stays, the same block means the same.

    Args:
        most: bytes that the fields of one block may have, each counted with 32 more.
    """

    __slots__ = ("_most", "_size", "_table", "_table_bytes", "version")

    def __init__(self, most: int) -> None:
        self._most = most
        self._table: deque[Field] = deque()
        self._table_bytes = TABLE_BYTES
        self._size = 0
        self.version = 0

    def decode(self, block: bytes) -> list[Field]:
        """The fields, in their order.

        Raises:
            HpackError: the block is broken.
            ListTooLargeError: there are too many of them, or they are too long.
        """
        try:
            return self._decode(block)
        except (IndexError, huffman.HuffmanError) as error:
            raise HpackError(str(error)) from None

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        position, end, total = 0, len(block), 0
        while position < end:
            first = block[position]
            if first & 0x80:
                index = first & 0x7F
                position += 1
                if index == 0x7F:
                    index, position = _integer(block, position, 0x7F)
                field = self._field(index)
            elif first & 0xE0 == 0x20:
                if fields or total:
                    raise HpackError("the table's size changes within a block")
                size, position = _integer(block, position + 1, 0x1F, first)
                self._resize(size)
                continue
            else:
                mask = 0x3F if first & 0x40 else 0x0F
                field, position = self._literal(block, position, mask)
                if first & 0x40:
                    self._insert(field)
            total += len(field[0]) + len(field[1]) + _ENTRY_BYTES
            if total <= self._most:
                fields.append(field)
        if total > self._most:
            raise ListTooLargeError
        return fields

    def _field(self, index: int) -> Field:
        if index < _DYNAMIC:
            if not index:
                raise HpackError("there is no field 0")
            return _STATIC[index]
        return self._table[index - _DYNAMIC]

    def _literal(self, block: bytes, position: int, mask: int) -> tuple[Field, int]:
        index = block[position] & mask
        position += 1
        if index == mask:
            index, position = _integer(block, position, mask)
        if index:
            name = self._field(index)[0]
        else:
            name, position = _string(block, position)
        value, position = _string(block, position)
        return (name, value), position

    def _insert(self, field: Field) -> None:
        self.version += 1
        size = len(field[0]) + len(field[1]) + _ENTRY_BYTES
        self._size += size
        self._table.appendleft(field)
        self._evict()

    def _resize(self, size: int) -> None:
        if size > TABLE_BYTES:
            raise HpackError("the table is larger than it may be")
        self.version += 1
        self._table_bytes = size
        self._evict()

    def _evict(self) -> None:
        while self._size > self._table_bytes:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + _ENTRY_BYTES


def literal(name: bytes, value: bytes) -> bytes:
    """A field that is in no table and goes into none; values longer than 65 kB do not occur."""
    return b"".join((b"\x00", _length(name), name, _length(value), value))


def _length(text: bytes) -> bytes:
    length = len(text)
    if length < 0x7F:
        return length.to_bytes(1, "big")
    rest = bytearray((0x7F,))
    length -= 0x7F
    while length > 0x7F:
        rest.append(length & 0x7F | 0x80)
        length >>= 7
    rest.append(length)
    return bytes(rest)


def _integer(block: bytes, position: int, mask: int, first: int = 0xFF) -> tuple[int, int]:
    """A number whose first byte, of which `mask` are the bits that count, stands before `position`."""
    value = first & mask
    if value < mask:
        return value, position
    for shift in range(0, 7 * _MOST_INTEGER_BYTES, 7):
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise HpackError("a number is too large")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    first = block[position]
    length = first & 0x7F
    position += 1
    if length == 0x7F:
        length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise HpackError("a string is longer than its block")
    text = block[position:end]
    return (huffman.decode(text) if first & 0x80 else text), end

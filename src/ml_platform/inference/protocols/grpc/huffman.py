"""Huffman-coded strings of HPACK (RFC 7541, 5.2), decoded a byte at a time by a state machine.

The code of the RFC's Appendix B is canonical, so the lengths of its codes are all that there is to know.
Transitions are found out when they are first needed; most callers never need more than some hundred.
"""

from __future__ import annotations

from typing import Final

_LENGTHS: Final = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606"
    "0505050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817"
    "181816171817171717151617161717181615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a17"
    "1a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
"""Of the 256 bytes, and of the end of the string, which must not occur in it."""
_END: Final = 256
_MOST_KEPT: Final = 16_384

_Step = tuple[int, bytes]


class HuffmanError(ValueError):
    """The bytes are no Huffman-coded string."""


def decode(data: bytes) -> bytes:
    """The string; raises HuffmanError."""
    node = 0
    parts: list[bytes] = []
    for byte in data:
        step = _STEPS.get(node << 8 | byte)
        if step is None:
            step = _step(node, byte)
        node, decoded = step
        if decoded:
            parts.append(decoded)
    if node not in _PADDING:
        raise HuffmanError("a string ends within a character")
    return b"".join(parts)


def _step(node: int, byte: int) -> _Step:
    """Where eight more bits lead, and what they spell on the way."""
    start, spelt = node, bytearray()
    for shift in range(7, -1, -1):
        node = _TREE[node][byte >> shift & 1]
        if node < 0:
            symbol, node = ~node, 0
            if symbol == _END:
                raise HuffmanError("a string holds its own end")
            spelt.append(symbol)
    step = (node, bytes(spelt))
    if len(_STEPS) < _MOST_KEPT:
        _STEPS[start << 8 | byte] = step
    return step


def _tree() -> list[list[int]]:
    """Nodes with their two successors; a leaf is the complement of its symbol."""
    tree = [[0, 0]]
    code = length = 0
    for bits, symbol in sorted((bits, symbol) for symbol, bits in enumerate(_LENGTHS)):
        code <<= bits - length
        length = bits
        node = 0
        for shift in range(bits - 1, 0, -1):
            branch = code >> shift & 1
            if not tree[node][branch]:
                tree[node][branch] = len(tree)
                tree.append([0, 0])
            node = tree[node][branch]
        tree[node][code & 1] = ~symbol
        code += 1
    return tree


def _padding() -> frozenset[int]:
    """Where a string may end: behind a character, and up to seven bits of ones."""
    nodes = [0]
    for _ in range(7):
        nodes.append(_TREE[nodes[-1]][1])
    return frozenset(nodes)


_TREE: Final = _tree()
_PADDING: Final = _padding()
_STEPS: Final[dict[int, _Step]] = {}

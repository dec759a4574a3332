"""MurmurHash3 (x86, 32 bits, seed 0): https://github.com/aappleby/smhasher, public domain.

For hashing a few names once; for more, a library in C is a hundred times faster.
"""

_MASK = 0xFFFFFFFF


def murmur3_32(data: bytes) -> int:
    """The hash as an unsigned number."""
    state, whole = 0, len(data) & ~3
    for start in range(0, whole, 4):
        state ^= _mixed(int.from_bytes(data[start : start + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & _MASK
    state ^= _mixed(int.from_bytes(data[whole:], "little")) ^ len(data)
    state ^= state >> 16
    state = (state * 0x85EBCA6B) & _MASK
    state ^= state >> 13
    state = (state * 0xC2B2AE35) & _MASK
    return state ^ (state >> 16)


def _mixed(block: int) -> int:
    return (_rotated((block * 0xCC9E2D51) & _MASK, 15) * 0x1B873593) & _MASK


def _rotated(number: int, bits: int) -> int:
    return (number << bits | number >> (32 - bits)) & _MASK

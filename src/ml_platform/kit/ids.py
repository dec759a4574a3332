"""Prefixed ids that sort by the time at which they were made (the layout of ULID)."""

import os
import re
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_PATTERN = re.compile(r"[a-z]{2,6}_[0-9a-hjkmnp-tv-z]{26}")
_RANDOM_BITS = 80

_lock = threading.Lock()
_last_millis = 0
_last_random = 0


def new_id(prefix: str) -> str:
    """A new id, e.g. `job_01j9...`: 48 bits of milliseconds, 80 random bits, 26 characters.

    Ids made within one process and one millisecond still increase, so that a list ordered by id is a
    list ordered by creation.
    """
    global _last_millis, _last_random  # noqa: PLW0603 - the monotonic part is per process by definition
    with _lock:
        millis = time.time_ns() // 1_000_000
        if millis <= _last_millis:
            millis = _last_millis
            _last_random += 1
        else:
            _last_random = int.from_bytes(os.urandom(10), "big") >> 1
        _last_millis = millis
        value = (millis << _RANDOM_BITS) | (_last_random & ((1 << _RANDOM_BITS) - 1))
    return f"{prefix}_{_encode(value)}"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the form of an id with this prefix."""
    return text.startswith(prefix + "_") and _PATTERN.fullmatch(text) is not None


def _encode(value: int) -> str:
    digits = []
    for _ in range(26):
        digits.append(_ALPHABET[value & 31])
        value >>= 5
    return "".join(reversed(digits))

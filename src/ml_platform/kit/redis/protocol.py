"""Commands as bytes (RESP 2)."""

from collections.abc import Iterable, Sequence


def argument(raw: bytes) -> bytes:
    """One argument of a command, framed."""
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def command(*arguments: bytes) -> bytes:
    return b"*%d\r\n" % len(arguments) + b"".join(map(argument, arguments))


def commands(many: Iterable[Sequence[bytes]]) -> bytes:
    return b"".join(command(*one) for one in many)

"""Headers to a request, and a reply to headers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Final, NamedTuple

from ml_platform.inference.protocols.grpc.hpack import Field, literal
from ml_platform.inference.protocols.grpc.unary import Method, Methods, RefusedError, Reply, Status

ANSWER: Final = b"\x88" + literal(b"content-type", b"application/grpc")
"""The headers of every answer: status 200, of which the static table knows."""

_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
_VALUE: Final = re.compile(rb"[^\0\r\n]*\Z")
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])\Z")
_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MEDIA: Final = frozenset({b"application/grpc", b"application/grpc+proto"})
_UNPRINTABLE: Final = re.compile(rb"[^ -$&-~]")


class MalformedError(ValueError):
    """The fields make no request."""


class Request(NamedTuple):
    """What header blocks that read the same have in common; `refusal` is an answer that is known already."""

    headers: dict[bytes, bytes]
    timeout: float | None
    encoding: bytes
    method: Method | None
    refusal: Reply | None = None
    http_status: int = 200


def request_of(fields: list[Field], methods: Methods) -> Request:
    """Raises MalformedError."""
    pseudo: dict[bytes, bytes] = {}
    headers: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] == b":":
            if headers or name in pseudo or name not in _PSEUDO:
                raise MalformedError(f"the field {name!r:.64} has no place here")
            pseudo[name] = value
        elif not _NAME.match(name) or name in _HOP_BY_HOP or not _VALUE.match(value):
            raise MalformedError(f"the field {name!r:.64} is not allowed")
        else:
            headers[name] = value
    path = pseudo.get(b":path", b"")
    if len(pseudo.keys() & {b":method", b":scheme", b":path"}) < 3 or path[:1] != b"/":
        raise MalformedError("':method', ':scheme' and ':path' are needed")
    if headers.get(b"te", b"trailers") != b"trailers":
        raise MalformedError("'te' can only be 'trailers'")
    media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    http_status = 200 if media in _MEDIA else 415
    if pseudo[b":method"] != b"POST":
        http_status = 405
    encoding = headers.get(b"grpc-encoding", b"identity")
    try:
        timeout, method = _timeout(headers), _method(path, methods)
    except RefusedError as error:
        return Request(headers, None, encoding, None, error.reply, http_status)
    refusal = None if http_status == 200 else Reply(Status.UNIMPLEMENTED, b"", "this port speaks gRPC")
    return Request(headers, timeout, encoding, method, refusal, http_status)


def answer_of(http_status: int) -> bytes:
    """The headers of an answer to what is no call."""
    return ANSWER if http_status == 200 else b"\x08\x03%d" % http_status


def trailers(reply: Reply) -> bytes:
    """The block that ends an answer, or follows on the headers of one that has nothing else."""
    parts = [_status(reply.status)]
    if reply.details:
        parts.append(literal(b"grpc-message", _percent_encoded(reply.details)))
    parts.extend(_literals(reply.trailing))
    return b"".join(parts)


def _literals(fields: Iterable[Field]) -> Iterable[bytes]:
    return (literal(name, value) for name, value in fields)


@cache
def _status(status: Status) -> bytes:
    return literal(b"grpc-status", b"%d" % status)


def _percent_encoded(text: str) -> bytes:
    return _UNPRINTABLE.sub(lambda found: b"%%%02X" % found[0][0], text.encode(errors="replace"))


def _timeout(headers: dict[bytes, bytes]) -> float | None:
    given = headers.get(b"grpc-timeout")
    if given is None:
        return None
    match = _TIMEOUT.match(given)
    if match is None:
        raise RefusedError(Status.INVALID_ARGUMENT, "grpc-timeout: expected up to eight digits and a unit")
    return int(match[1]) * _SECONDS[match[2]]


def _method(path: bytes, methods: Methods) -> Method:
    method = methods.get(path)
    if method is None:
        shown = path[:128].decode("latin-1")
        raise RefusedError(Status.UNIMPLEMENTED, f"there is no method {shown}")
    return method

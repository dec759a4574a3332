"""What every protocol needs of HTTP on raw ASGI: bounded bodies, answers, request ids."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from ml_platform.inference.dataplane import Call, DataPlane, Headers
from ml_platform.inference.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    ServingError,
    TooLarge,
    Unauthenticated,
    WrongMediaType,
)

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")
_DRAIN_FACTOR = 16
_GONE = 499
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}\Z")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")

encode_json = msgspec.json.Encoder().encode


class Disconnected(Exception):  # noqa: N818 - not an error: the caller went away, nobody is left to answer
    """The client closed the connection before its request was complete."""


def request_id(plane: DataPlane, headers: Headers) -> str:
    """The caller's own id when it is fit for a header and a log, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.match(given):
        return given.decode()
    return plane.new_request_id()


def common_headers(call: Call, headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that every answer carries: the request's id, the revision, the trace."""
    result = [(b"x-request-id", call.request_id.encode())]
    if call.revision is not None:
        result.extend(call.revision.headers)
    if call.fallback is not None:
        result.append((b"mlops-features", call.fallback.encode()))
    if call.trace is not None:
        result.append((b"traceparent", call.trace.traceparent))
        return result
    trace = headers.get(b"traceparent")
    if trace is not None and _TRACEPARENT.match(trace):
        result.append((b"traceparent", trace))
    return result


def check_json(headers: Headers) -> None:
    """Raises WrongMediaType unless the body is declared as JSON."""
    given = headers.get(b"content-type", b"")
    if given == b"application/json":
        return
    media = given.split(b";", 1)[0].strip().lower()
    if media != b"application/json" and not media.endswith(b"+json"):
        raise WrongMediaType(
            f"content-type: expected application/json, got '{media.decode('latin-1')[:100]}'"
        )


async def read_body(receive: Receive, headers: Headers, limit: int, seconds: float) -> bytes:
    """The whole body.

    Raises:
        TooLarge: when it is larger than the limit.
        InvalidInput: when its declared length is not a number.
        DeadlineExceeded: when it does not arrive in time.
        Disconnected: when the client went away.
    """
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit():
        raise InvalidInput("content-length: expected a number")
    if int(declared) <= limit:
        message = await receive() if b"expect" not in headers else await _timely(receive, seconds)
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message["body"]
            if len(body) <= limit:
                return body
            raise _too_large(limit)
        return await _read_rest(receive, message, limit, seconds)
    await _drain(receive, int(declared), limit, seconds)
    raise _too_large(limit)


async def _read_rest(
    receive: Receive, message: MutableMapping[str, Any], limit: int, seconds: float
) -> bytes:
    parts: list[bytes] = []
    size = 0
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        size += len(message["body"])
        if size <= limit:
            parts.append(message["body"])
        elif size > limit * _DRAIN_FACTOR:
            raise _too_large(limit)
        if not message.get("more_body", False):
            break
        message = await _timely(receive, deadline - asyncio.get_running_loop().time())
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


async def _drain(receive: Receive, declared: int, limit: int, seconds: float) -> None:
    """Reads what a client insists on sending, within reason, so that it lives to read the answer."""
    if declared > limit * _DRAIN_FACTOR:
        return
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        message = await _timely(receive, deadline - asyncio.get_running_loop().time())
        if message["type"] == "http.disconnect":
            raise Disconnected
        if not message.get("more_body", False):
            return


async def _timely(receive: Receive, seconds: float) -> MutableMapping[str, Any]:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            return await receive()
    except TimeoutError:
        raise DeadlineExceeded("the request body did not arrive in time") from None


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")


async def respond(
    send: Send,
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes,
    content_type: tuple[bytes, bytes] = JSON,
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [content_type, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def carry_out(
    call: Call,
    headers: Headers,
    send: Send,
    attempt: Callable[[], Awaitable[int]],
    body_of: Callable[[ServingError], bytes] | None = None,
) -> int:
    """Makes an attempt, which answers and gives the status; what it raises is answered by `body_of`.

    Without that, a refusal reads `{"error": "..."}`, as most protocols have it.
    """
    try:
        return await attempt()
    except Disconnected:
        call.error = "the caller went away"
        return _GONE
    except ServingError as error:
        refusal, call.error = error, str(error)
    except Exception as error:
        _log.exception("request %s failed", call.request_id)
        call.error = f"internal error: {type(error).__name__}"
        refusal = ModelFailed("internal error; the server's log has the details under this request's id")
    await respond_error(send, refusal, refusal.status, common_headers(call, headers), body_of)
    return refusal.status


async def respond_error(
    send: Send,
    error: ServingError,
    status: int,
    headers: list[tuple[bytes, bytes]],
    body_of: Callable[[ServingError], bytes] | None = None,
) -> None:
    """A refusal, by default as the V1 protocol has it: `{"error": "..."}`."""
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, TooLarge | DeadlineExceeded):
        headers.append(_CLOSE)  # the rest of the body may still be on its way
    body = encode_json({"error": str(error)}) if body_of is None else body_of(error)
    await respond(send, status, headers, body)

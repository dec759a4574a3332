"""A narrow bridge from ASGI to MLflow's Flask application.

The body is whole before Flask is called, so a worker thread never waits for a client. A long answer is
pulled chunk by chunk, one short turn in a worker thread each, so a slow reader holds no thread either.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from ml_platform.integrations.mlflow.identity import Scope

Send = Callable[[MutableMapping[str, Any]], Any]
Headers = list[tuple[bytes, bytes]]

_WHOLE_ANSWER = 256 * 1024
# What MLflow's handlers look at; credentials, cookies and the workspace header stop here.
_PASSED_HEADERS = frozenset(
    {b"host", b"accept", b"user-agent", b"range", b"if-range", b"if-none-match", b"if-modified-since"}
)


@dataclass(slots=True)
class Reply:
    """An answer: `body` holds all of it unless `rest` still has chunks."""

    status: int
    headers: Headers
    body: bytes
    rest: Iterator[bytes] | None = None
    close: Callable[[], None] | None = field(default=None, repr=False)


def environ_of(
    scope: Scope, path: str, query: bytes, body: bytes, content_type: str | None
) -> dict[str, Any]:
    """Build the WSGI environment of a request whose body is known."""
    host, port = scope.get("server") or ("localhost", 80)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if content_type:
        environ["CONTENT_TYPE"] = content_type
    for name, value in scope["headers"]:
        if name in _PASSED_HEADERS:
            environ[f"HTTP_{name.decode().upper().replace('-', '_')}"] = value.decode("latin-1")
    return environ


def call_wsgi(application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> Reply:
    """Run the application; return its whole answer, or the beginning of a long one."""
    started: list[tuple[int, Headers]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        if exc_info is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        started.append((int(status[:3]), pairs))

    result = application(environ, start_response)
    close: Callable[[], None] | None = getattr(result, "close", None)
    chunks = iter(result)
    body, more = _take(chunks)
    status, headers = started[-1]
    if more:
        return Reply(status, headers, body, chunks, close)
    if close is not None:
        close()
    return Reply(status, headers, body)


async def send_reply(reply: Reply, send: Send, executor: Executor) -> None:
    """Send an answer; close what it holds even when the client has gone."""
    headers = reply.headers
    if reply.rest is None and all(name != b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    loop = asyncio.get_running_loop()
    try:
        body, more = reply.body, reply.rest is not None
        await send({"type": "http.response.body", "body": body, "more_body": more})
        while more and reply.rest is not None:
            body, more = await loop.run_in_executor(executor, _take, reply.rest)
            await send({"type": "http.response.body", "body": body, "more_body": more})
    finally:
        if reply.rest is not None and reply.close is not None:
            await loop.run_in_executor(executor, reply.close)


def _take(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    taken: list[bytes] = []
    size = 0
    for chunk in chunks:
        taken.append(chunk)
        size += len(chunk)
        if size >= _WHOLE_ANSWER:
            return b"".join(taken), True
    return b"".join(taken), False

"""Problems as the errors of a protocol that is not ours, where stock clients would not know a problem."""

import json
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PROBLEM = "application/problem+json"


class NativeErrors:
    """Turns each problem below these paths into `{"detail": ...}`, as FastAPI's servers answer.

    It stands around everything, so that the gate, the bounds and the checks of bodies are heard as well.
    """

    def __init__(self, app: ASGIApp, *, prefixes: Sequence[str]) -> None:
        self._app = app
        self._prefixes = tuple(prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Translated(send))


class _Translated:
    """Holds a problem back until it is whole; everything else passes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = MutableHeaders(raw=message["headers"]).get("content-type", "")
            if kind.startswith(_PROBLEM):
                self._start = message
                return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        start, self._start = self._start, None
        body = _native(self._body)
        headers = MutableHeaders(raw=start["headers"])
        headers["content-type"] = "application/json"
        headers["content-length"] = str(len(body))
        await self._send({**start, "headers": headers.raw})
        await self._send({**message, "body": body})


def _native(problem: bytes) -> bytes:
    told = json.loads(problem)
    detail = f"{told['detail']} ({told['hint']})" if told.get("hint") else told["detail"]
    return json.dumps({"detail": detail}).encode()

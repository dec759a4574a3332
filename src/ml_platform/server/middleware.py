"""What stands around every request: its id, its bounds, its metrics, its idempotency."""

import re
import time
from collections.abc import MutableMapping, Sequence
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_platform.kit.ids import new_id
from ml_platform.server import problems
from ml_platform.server.metrics import ApiMetrics

_log = structlog.get_logger(__name__)
_REQUEST_ID = re.compile(r"^[A-Za-z0-9_.:-]{8,128}$")

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


class RequestMiddleware:
    """Gives each request an id, bounds its body, counts and times it, and logs it once.

    Bodies are bounded by what arrives, not by what `Content-Length` says of it. Only `uploads` (paths
    that stream to disk) may be large: every other route holds its body in memory.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: ApiMetrics,
        uploads: Sequence[re.Pattern[str]],
        max_body: int,
        max_json: int,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._uploads = uploads
        self._max_body = max_body
        self._max_json = max_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else new_id("req")
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        state["upload"] = any(path.match(scope["path"]) for path in self._uploads)
        large = state["upload"] or _is_mlflow(scope)
        bounded = _BoundedBody(receive, self._max_body if large else self._max_json)
        answer = _Answer(
            send, request_id, kept=not scope["path"].startswith("/api/") or scope["method"] != "GET"
        )
        started = time.perf_counter()
        try:
            if bounded.refuses(headers):
                raise _TooLargeError(bounded.limit)  # noqa: TRY301 - one place answers it
            if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
                raise HTTPException(400, "the address holds a NUL character")  # noqa: TRY301 - as above
            await self._app(scope, bounded, answer)
        except ClientDisconnect:
            answer.status = 499  # whoever asked went away in the middle: there is nobody to answer
        except Exception as error:  # answered here, inside of the request's id, headers and metrics
            if answer.started:
                raise
            await problems.answer(Request(scope), error)(scope, receive, answer)
        finally:
            self._observe(scope, answer.status, time.perf_counter() - started)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        endpoint = getattr(route, "path", None) or ("/mlflow" if _is_mlflow(scope) else "other")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.requests.labels(endpoint, method, str(status)).inc()
        self._metrics.latency.labels(endpoint).observe(seconds)
        self._metrics.http_requests.labels(method, str(status)).inc()
        self._metrics.http_duration.observe(seconds)
        level = _log.warning if status >= 500 else _log.debug
        level("request", method=method, path=scope["path"], status=status, ms=round(seconds * 1e3, 2))


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _is_mlflow(scope: Scope) -> bool:
    return str(scope["path"]).startswith("/mlflow")


class _TooLargeError(HTTPException):
    """An HTTP exception, so that whoever reads the body in between lets it pass."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is larger than {limit} bytes")


class _BoundedBody:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self.limit = limit
        self._seen = 0

    def refuses(self, headers: Headers) -> bool:
        length = headers.get("content-length", "")
        return length.isdigit() and int(length) > self.limit

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self.limit:
                raise _TooLargeError(self.limit)
        return message


class _Answer:
    def __init__(self, send: Send, request_id: str, *, kept: bool) -> None:
        self._send = send
        self._request_id = request_id
        self._kept = kept  # what the API shows is nobody's to keep on a disk, a browser's least of all
        self.status = 500
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if not self._kept:
                headers.setdefault("cache-control", "no-store")
        await self._send(message)

"""Health, the state for the control plane, and metrics: everything that is not a prediction.

Health needs no key. `/internal/*` needs `inference_internal`, `/metrics` needs `read_metrics`; both are
answered by the parent process, which knows all workers. `POST /internal/flush` answers once everything that
was answered before it stands in the prediction log's Parquet files.
"""

from __future__ import annotations

import math
from typing import Protocol
from urllib.parse import parse_qs

from ml_platform.contracts.serving import INFERENCE_INTERNAL, READ_METRICS
from ml_platform.inference.dataplane import Call, DataPlane, Headers
from ml_platform.inference.errors import InvalidInput
from ml_platform.inference.prometheus import CONTENT_TYPE
from ml_platform.inference.protocols.http import (
    Receive,
    Scope,
    Send,
    carry_out,
    common_headers,
    encode_json,
    respond,
)

_ALIVE = "/"  # where KServe's V1 client asks whether a server is alive, and for just that word
HEALTH = frozenset({"/ping", "/health", "/health/live", "/health/ready", _ALIVE})
FLUSH = "/internal/flush"
INTERNAL = frozenset({"/internal/status", "/internal/metrics", "/metrics", FLUSH})
_DEFAULT_WINDOW = 60.0
_MAX_WINDOW = 86_400.0
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")
_LOOPBACK = frozenset({"127.0.0.1", "::1"})


class Parent(Protocol):
    """What only the parent process knows or can do."""

    async def ask(self, what: str, window: float = 60.0) -> str:
        """The text of `status`, `metrics`, `prometheus` or `flush`; raises Unavailable when there is none."""
        ...


def answers(path: str, method: str) -> bool:
    """Whether a route of these takes the method."""
    return method == "POST" if path == FLUSH else method in {"GET", "HEAD"}


class Internal:
    """Routes of operators and of the control plane."""

    def __init__(self, plane: DataPlane, parent: Parent) -> None:
        self._plane = plane
        self._parent = parent

    async def health(self, scope: Scope, _: Receive, send: Send, call: Call) -> int:
        """Live: this process answers. Ready: it has a desired state to serve."""
        ready = self._plane.snapshot_version >= 0
        status = 200 if ready or scope["path"] != "/health/ready" else 503
        text = "ready" if ready else "waiting for the first snapshot"
        if scope["path"] == _ALIVE:
            text = "alive"
        await respond(send, status, common_headers(call, {}), encode_json({"status": text}))
        return status

    async def answer(self, scope: Scope, _: Receive, send: Send, call: Call) -> int:
        headers: Headers = dict(scope["headers"])

        async def attempt() -> int:
            content_type, text = await self._text(scope, headers)
            media = (b"content-type", content_type)
            await respond(send, 200, common_headers(call, headers), text.encode(), media)
            return 200

        return await carry_out(call, headers, send, attempt)

    async def _text(self, scope: Scope, headers: Headers) -> tuple[bytes, str]:
        path = scope["path"]
        if path == "/metrics":
            if not self._is_open(scope, headers):
                self._plane.authorise(headers.get(b"authorization"), READ_METRICS)
            return CONTENT_TYPE.encode(), await self._parent.ask("prometheus")
        self._plane.authorise(headers.get(b"authorization"), INFERENCE_INTERNAL)
        what = path.rpartition("/")[2]
        window = _window(scope["query_string"]) if what == "metrics" else _DEFAULT_WINDOW
        return b"application/json", await self._parent.ask(what, window)

    def _is_open(self, scope: Scope, headers: Headers) -> bool:
        """Whether metrics need no key: to this machine alone, and not through a proxy that runs on it."""
        client = scope.get("client")
        if not self._plane.settings.open_metrics or client is None or client[0] not in _LOOPBACK:
            return False
        return not any(name in headers for name in _FORWARDED)


def _window(query: bytes) -> float:
    values = parse_qs(query.decode("latin-1")).get("window")
    if not values:
        return _DEFAULT_WINDOW
    try:
        seconds = float(values[-1])
    except ValueError:
        raise InvalidInput("window: expected seconds") from None
    if not math.isfinite(seconds) or not 1 <= seconds <= _MAX_WINDOW:
        raise InvalidInput(f"window: expected 1 to {_MAX_WINDOW:g} seconds")
    return seconds

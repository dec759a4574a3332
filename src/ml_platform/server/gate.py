"""The gate: whoever is not known comes no further, before a byte of the body is read.

Every path needs a key or a browser session but the few listed here, also a path that no route answers and
a route whose author forgot to ask for a permission. What a known caller may do is each route's matter.
"""

import base64
import hashlib
from html import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_platform.kit.errors import AppError
from ml_platform.kit.wiring import Components
from ml_platform.server import problems
from ml_platform.services.access import authenticate

OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/feast/health", "/login", "/logout"})
"""Health, and what opens or ends a browser session."""

_MLFLOW = "/mlflow"  # authenticates for itself, by MLflow's own rules and with its error bodies

STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "code,pre{font-family:ui-monospace,monospace;background:#8881;padding:.1em .3em;border-radius:.2em}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


class Gate:
    """Authenticates each request once; the routes find the caller in the request's state."""

    def __init__(self, app: ASGIApp, *, components: Components) -> None:
        self._app = app
        self._components = components

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        page = _wants_a_page(request)
        if _is_mlflow(scope["path"]) and not page:
            await self._app(scope, receive, send)
            return
        try:
            await run_in_threadpool(authenticate, request, self._components)
        except Exception as error:  # every failure has its answer, and none of them lets anybody in
            refusal = sign_in_page(error) if page and isinstance(error, AppError) else None
            await (refusal or problems.answer(request, error))(scope, receive, send)
            return
        await self._app(scope, receive, send)


def sign_in_page(error: AppError) -> Response:
    """What a browser shows to somebody who is not signed in."""
    headers = {**PAGE_HEADERS, **({"www-authenticate": "Bearer"} if error.status == 401 else {})}
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in · ML Platform</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<main><h1>Sign in first</h1><p>{escape(error.detail)}.</p>"
        "<p>Run <code>mlops login --web</code> in a terminal and open the link that it prints. "
        "The link works once; then come back to this page.</p></main></html>",
        status_code=error.status,
        headers=headers,
    )


def _wants_a_page(request: Request) -> bool:
    headers = request.headers
    return (
        request.method in {"GET", "HEAD"}
        and "authorization" not in headers
        and "text/html" in headers.get("accept", "")
    )


def _is_mlflow(path: str) -> bool:
    return path == _MLFLOW or path.startswith(f"{_MLFLOW}/")

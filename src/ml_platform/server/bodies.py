"""JSON bodies that have one meaning: no doubled keys, no broken text, no bottomless nesting."""

import json
import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_platform.contracts.problems import ErrorCode
from ml_platform.server.media import is_json
from ml_platform.server.problems import problem_response

_LARGE = 64 * 1024
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


_SUSPICIOUS = re.compile(rb"\\u(?:0000|d[89a-f])", re.IGNORECASE)
"""Only text with one of these escapes can hold NUL or half a surrogate pair."""


class _RefusedError(ValueError):
    pass


class JsonBodyMiddleware:
    """Reads a JSON body before any route does; what does not parse strictly is a 400 that says why.

    Python's parser keeps the last of two equal keys, others the first: a proxy, a policy and we could
    each see another request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _WITHOUT_BODY or not _is_ours(scope):
            await self._app(scope, receive, send)
            return
        body, receive = await replayable(scope, receive)
        fault = _fault(body) if len(body) < _LARGE else await run_in_threadpool(_fault, body)
        if fault is None:
            await self._app(scope, receive, send)
            return
        response = problem_response(
            scope["state"]["request_id"], status=400, code=ErrorCode.INVALID_JSON, detail=f"body: {fault}"
        )
        await response(scope, receive, send)


async def replayable(scope: Scope, receive: Receive) -> tuple[bytes, Receive]:
    """A request's whole body, and a `receive` that hands it out once more."""
    body = await Request(scope, receive).body()
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return body, again


def _is_ours(scope: Scope) -> bool:
    path: str = scope["path"]
    if path.startswith("/mlflow") or scope["state"].get("upload"):
        return False
    return is_json(Headers(scope=scope))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RefusedError(f"{key[:100]!a} stands in one object twice")
        found[key] = value
    return found


def _check_text(value: Any, path: str) -> None:
    """No database and no file name takes NUL, no encoding a lone surrogate."""
    if isinstance(value, str):
        if any(char == "\x00" or "\ud800" <= char <= "\udfff" for char in value):
            raise _RefusedError(f"{path or 'the text'} holds a NUL character or half a surrogate pair")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_text(item, f"{path}[{number}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, f"a key of {path or 'the object'}")
            _check_text(item, f"{path}.{key}"[-200:].lstrip("."))


def _fault(body: bytes) -> str | None:
    """Why a body cannot be taken; None when it can."""
    if not body.strip():
        return None
    try:
        value = json.loads(body, object_pairs_hook=_once)
        if _SUSPICIOUS.search(body):
            _check_text(value, "")
    except _RefusedError as error:
        return str(error)
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError:
        return "is not valid UTF-8"
    except RecursionError:
        return "is nested too deeply"
    except ValueError:
        return "holds a number with too many digits"
    return None

"""`Idempotency-Key` on every POST: the same key carries its effect out once and is answered the same."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit import idempotency
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.kit.db import Database
from ml_platform.server.bodies import replayable
from ml_platform.server.media import is_json
from ml_platform.server.problems import problem_response
from ml_platform.services.access import Actor

_KEY = re.compile(r"^[\x21-\x7e]{1,200}$")
_LARGEST_ANSWER = 256 * 1024
_API = ("/api/", "/feast/")
_POLL_SECONDS = 0.05
# Between an effect and its kept answer there are milliseconds: only of a young effect one may still come.
_ANSWER_COMES = timedelta(seconds=2)
_POLLS = 40


class IdempotencyMiddleware:
    """Stands behind the gate and the bounds: who is not known leaves no trace here and is told nothing.

    A key belongs to the caller's API key (or session's user) and team. An answer that says `no-store`
    holds a secret: it is told once and not kept.
    """

    def __init__(self, app: ASGIApp, *, database: Database, clock: Clock = utc_now) -> None:
        self._app = app
        self._database = database
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        key = headers.get("idempotency-key") if headers is not None else None
        if (
            headers is None
            or key is None
            or scope["method"] != "POST"
            or not scope["path"].startswith(_API)
            or "actor" not in scope["state"]
        ):
            await self._app(scope, receive, send)
            return
        request_id = scope["state"]["request_id"]
        if not _KEY.match(key):
            response = problem_response(
                request_id,
                status=422,
                code=ErrorCode.INVALID_INPUT,
                detail="Idempotency-Key: must be 1 to 200 visible ASCII characters",
            )
            await response(scope, receive, send)
            return
        fingerprint, receive = await _fingerprint(scope, headers, receive)
        actor: Actor = scope["state"]["actor"]
        row_id = _digest(actor.key_id or actor.actor_id, actor.team_id, key)
        known = await self._begin(row_id, fingerprint)
        if known is not None:
            await _replay(request_id, known, fingerprint)(scope, receive, send)
            return
        scope["state"]["idempotency_id"] = row_id

        async def keep(answer: dict[str, Any] | None) -> None:
            if answer is None:
                await run_in_threadpool(idempotency.forget, self._database, row_id)
            else:
                await run_in_threadpool(idempotency.keep_answer, self._database, row_id, answer)

        recorder = _Recorder(send, keep)
        try:
            await self._app(scope, receive, recorder)
        finally:
            await recorder.finish()

    async def _begin(self, row_id: str, fingerprint: str) -> idempotency.IdempotencyRow | None:
        """Claims the key; an effect that happened this moment is given the time to have its answer kept."""
        known = None
        for _ in range(_POLLS):
            now = self._clock()
            known = await run_in_threadpool(idempotency.begin, self._database, row_id, fingerprint, now)
            if known is None or known.state != "committed" or now - known.created_at > _ANSWER_COMES:
                break
            await asyncio.sleep(_POLL_SECONDS)
        return known


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


async def _fingerprint(scope: Scope, headers: Headers, receive: Receive) -> tuple[str, Receive]:
    """What the key stands for: route, query and JSON body; of an upload, its length."""
    target = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
    if scope["state"].get("upload") or not is_json(headers):
        return _digest(target, headers.get("content-length", "")), receive
    body, again = await replayable(scope, receive)
    return _digest(target, hashlib.sha256(body).hexdigest()), again


def _replay(request_id: str, known: idempotency.IdempotencyRow, fingerprint: str) -> Response:
    if known.fingerprint != fingerprint:
        return problem_response(
            request_id,
            status=422,
            code=ErrorCode.IDEMPOTENCY_MISMATCH,
            detail="this Idempotency-Key was used for another request",
            hint="make a new key for each new request",
        )
    if known.state == "answered" and known.answer is not None:
        return Response(
            known.answer["body"],
            status_code=known.answer["status"],
            media_type=known.answer["content_type"],
            headers={"idempotent-replayed": "true"},
        )
    carried_out = known.state == "committed"
    return problem_response(
        request_id,
        status=409,
        code=ErrorCode.CONFLICT if carried_out else ErrorCode.IN_PROGRESS,
        detail="this request was carried out, but its answer is not kept"
        if carried_out
        else "the first request with this key is still being carried out",
        hint="look at the list of what you created" if carried_out else "ask again in a moment",
        headers={"retry-after": "1"},
    )


class _Recorder:
    """Holds an answer back until it is kept: whoever has seen it and asks again finds it there."""

    def __init__(self, send: Send, keep: Callable[[dict[str, Any] | None], Awaitable[None]]) -> None:
        self._send = send
        self._keep = keep
        self._held: list[Message] = []
        self._size = 0
        self._settled = False

    async def __call__(self, message: Message) -> None:
        if self._settled:
            await self._send(message)
            return
        self._held.append(message)
        self._size += len(message.get("body", b""))
        complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        if complete or self._size > _LARGEST_ANSWER:
            await self.finish()

    async def finish(self) -> None:
        """Keeps what there is to keep, once, and lets go of what was held back."""
        if self._settled:
            return
        self._settled = True
        await self._keep(self._answer())
        for message in self._held:
            await self._send(message)

    def _answer(self) -> dict[str, Any] | None:
        """What is worth keeping: a whole success; a refusal had no effect and may be tried again."""
        if not self._held or self._held[0]["type"] != "http.response.start" or self._size > _LARGEST_ANSWER:
            return None
        start, body = self._held[0], b"".join(message.get("body", b"") for message in self._held[1:])
        if start["status"] >= 400 or self._held[-1].get("more_body", False):
            return None
        headers = Headers(raw=start["headers"])
        if "no-store" in headers.get("cache-control", ""):
            return None
        return {
            "status": start["status"],
            "content_type": headers.get("content-type", "application/json"),
            "body": body.decode("utf-8", "replace"),
        }

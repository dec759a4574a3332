"""The ASGI application of a worker: from a path to a protocol."""

from __future__ import annotations

import time

from ml_platform.inference.dataplane import Call, DataPlane
from ml_platform.inference.errors import NotFound, ServingError
from ml_platform.inference.protocols.http import Receive, Scope, Send, respond_error
from ml_platform.inference.protocols.internal import HEALTH, INTERNAL, Internal, Parent
from ml_platform.inference.protocols.v1 import MODEL_ROUTE, V1, split_path

OTHER_ROUTE = "other"


class MethodNotAllowed(ServingError):  # noqa: N818 - named as the status is
    status = 405


class InferenceApp:
    """Raw ASGI; one branch to the hot path."""

    def __init__(self, plane: DataPlane, parent: Parent) -> None:
        self._plane = plane
        self._v1 = V1(plane)
        self._internal = Internal(plane, parent)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST" and scope["path"].endswith(":predict"):
            await self._v1.predict(scope, receive, send)
            return
        call = Call(self._plane.new_request_id(), time.perf_counter_ns())
        route, status = await self._other(scope, receive, send, call)
        method = scope["method"] if scope["method"] in {"GET", "HEAD", "POST"} else "other"
        self._plane.account(call, method, route, status)

    async def _other(self, scope: Scope, receive: Receive, send: Send, call: Call) -> tuple[str, int]:
        path = scope["path"]
        error: ServingError
        if path in HEALTH or path in INTERNAL or split_path(path) is not None:
            if scope["method"] in {"GET", "HEAD"} and not path.endswith(":predict"):
                if path in HEALTH:
                    return path, await self._internal.health(scope, receive, send)
                if path in INTERNAL:
                    return path, await self._internal.answer(scope, receive, send)
                return await self._v1.describe(scope, receive, send)
            route = path if path in HEALTH or path in INTERNAL else MODEL_ROUTE
            allowed = "POST" if path.endswith(":predict") else "GET"
            error = MethodNotAllowed(f"this route answers {allowed}")
        else:
            route = OTHER_ROUTE
            error = NotFound("there is no such route")
        await respond_error(send, error, error.status, [(b"x-request-id", call.request_id.encode())])
        return route, error.status

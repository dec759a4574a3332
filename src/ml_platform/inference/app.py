"""The ASGI application of a worker: from a path to a protocol."""

from __future__ import annotations

import time
from typing import Protocol

from ml_platform.inference.dataplane import Call, DataPlane
from ml_platform.inference.errors import MethodNotAllowed, NotFound, ServingError
from ml_platform.inference.protocols import feast, scoring, v1
from ml_platform.inference.protocols.addresses import Address, split_path
from ml_platform.inference.protocols.http import (
    Receive,
    Scope,
    Send,
    common_headers,
    request_id,
    respond_error,
)
from ml_platform.inference.protocols.internal import FLUSH, HEALTH, INTERNAL, Internal, Parent, answers
from ml_platform.inference.protocols.v2 import rest as v2

OTHER_ROUTE = "other"


class Handler(Protocol):
    """A protocol's routes below its root, each alone or below `/{team}/{environment}`."""

    async def handle(
        self, scope: Scope, receive: Receive, send: Send, call: Call, address: Address
    ) -> tuple[str, int]:
        """Answers a request; gives the route's name for the metrics, and the status.

        What it fills into `call` is counted and logged once it has returned.
        """
        ...


class InferenceApp:
    """Raw ASGI; one branch to the hot path."""

    def __init__(self, plane: DataPlane, parent: Parent) -> None:
        self._plane = plane
        self._v1 = v1.V1(plane)
        self._internal = Internal(plane, parent)
        mlflow = scoring.Scoring(plane)
        self._protocols: tuple[tuple[str, Handler], ...] = (
            (v1.ROOT, self._v1),
            (v2.ROOT, v2.V2(plane)),
            *((root, mlflow) for root in scoring.ROOTS),
            (feast.ROOT, feast.Feast(plane)),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST" and scope["path"].endswith(v1.PREDICT_VERB):
            await self._v1.predict(scope, receive, send)
            return
        headers = dict(scope["headers"])
        call = Call(request_id(self._plane, headers), time.perf_counter_ns())
        if self._plane.tracer is not None:
            call.trace = self._plane.tracer.begin(headers, scope["path"], call.started)
            if call.trace is not None:
                receive = call.trace.watch(receive)
        route, status = await self._other(scope, receive, send, call)
        method = scope["method"] if scope["method"] in {"GET", "HEAD", "POST"} else "other"
        self._plane.account(call, method, route, status)

    async def _other(self, scope: Scope, receive: Receive, send: Send, call: Call) -> tuple[str, int]:
        path = scope["path"]
        for root, protocol in self._protocols:
            address = split_path(path, root)
            if address is not None:
                return await protocol.handle(scope, receive, send, call, address)
        error: ServingError
        if path in HEALTH or path in INTERNAL:
            if answers(path, scope["method"]):
                answer = self._internal.health if path in HEALTH else self._internal.answer
                return path, await answer(scope, receive, send, call)
            route, error = path, MethodNotAllowed(f"this route answers {'POST' if path == FLUSH else 'GET'}")
        else:
            route, error = OTHER_ROUTE, NotFound("there is no such route")
        await respond_error(send, error, error.status, common_headers(call, {}))
        return route, error.status

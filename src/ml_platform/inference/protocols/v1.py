"""KServe's V1 protocol: `/v1/models`, `/v1/models/{name}`, `/v1/models/{name}:predict`.

The team is the key's and the environment `production`, unless the path or the header `mlops-environment`
says otherwise: `/{team}/{environment}/v1/models/{name}:predict`.
"""

from __future__ import annotations

import logging
import time

from ml_platform.contracts.serving import PREDICT
from ml_platform.inference.dataplane import DEFAULT_ENVIRONMENT, Call, DataPlane, Headers
from ml_platform.inference.errors import ModelFailed, NotFound, ServingError, Unavailable
from ml_platform.inference.protocols.http import (
    Disconnected,
    Receive,
    Scope,
    Send,
    check_json,
    common_headers,
    encode_json,
    read_body,
    request_id,
    respond,
    respond_error,
)

_log = logging.getLogger(__name__)
_MODELS = "/v1/models/"
_VERB = ":predict"
PREDICT_ROUTE = "/v1/models/{name}:predict"
MODEL_ROUTE = "/v1/models/{name}"
MODELS_ROUTE = "/v1/models"


def split_path(path: str) -> tuple[str | None, str | None, str] | None:
    """`/[{team}/{environment}/]v1/models...` as team, environment and the rest, or None."""
    if path.startswith("/v1/models"):
        return None, None, path
    parts = path.split("/", 3)
    if len(parts) == 4 and parts[1] and parts[2] and parts[3].startswith("v1/models"):
        return parts[1], parts[2], "/" + parts[3]
    return None


class V1:
    """The three routes. `predict` is the hot path of the whole server."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._limit = plane.settings.max_body_bytes
        self._timeout = plane.settings.body_timeout

    async def predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter_ns()
        plane = self._plane
        headers: Headers = dict(scope["headers"])
        call = Call(request_id(plane, headers), started)
        status = 200
        try:
            key = plane.authorise(headers.get(b"authorization"), PREDICT)
            team, environment, name = _address(scope["path"], headers)
            route = plane.route(key, team, environment, name)
            check_json(headers)
            body = await read_body(receive, headers, self._limit, self._timeout)
            call.revision = plane.choose(key, route, headers, body)
            payload = encode_json({"predictions": await plane.predict(call, body)})
            await respond(send, 200, common_headers(call, headers), payload)
        except ServingError as error:
            status, call.error = error.status, str(error)
            await respond_error(send, error, status, common_headers(call, headers))
        except Disconnected:
            status, call.error = 499, "the caller went away"
        except Exception as error:
            _log.exception("request %s failed", call.request_id)
            status, call.error = 500, f"internal error: {type(error).__name__}"
            hidden = ModelFailed("internal error; the server's log has the details under this request's id")
            await respond_error(send, hidden, 500, common_headers(call, headers))
        plane.account(call, "POST", PREDICT_ROUTE, status)

    async def describe(self, scope: Scope, _: Receive, send: Send) -> tuple[str, int]:
        """`GET /v1/models` and `GET /v1/models/{name}`; gives the route and the status."""
        headers: Headers = dict(scope["headers"])
        plane = self._plane
        call = Call(request_id(plane, headers), time.perf_counter_ns())
        split = split_path(scope["path"])
        rest = split[2] if split else ""
        label = MODELS_ROUTE if rest in {"/v1/models", "/v1/models/"} else MODEL_ROUTE
        try:
            key = plane.authorise(headers.get(b"authorization"), PREDICT)
            team, environment, name = _address(scope["path"], headers, verb="")
            if label == MODELS_ROUTE:
                names = sorted({route.address[2] for route in plane.routes(key, team, environment)})
                body = encode_json({"models": names})
            else:
                found = plane.route(key, team, environment, name)
                if not found.arms:
                    raise Unavailable(found.unavailable, retry_after=2)
                body = encode_json({"name": name, "ready": True})
            await respond(send, 200, common_headers(call, headers), body)
        except ServingError as error:
            await respond_error(send, error, error.status, common_headers(call, headers))
            return label, error.status
        return label, 200


def _address(path: str, headers: Headers, verb: str = _VERB) -> tuple[str | None, str, str]:
    split = split_path(path)
    if split is None:
        raise NotFound("there is no such route")
    team, environment, rest = split
    if environment is None:
        environment = headers.get(b"mlops-environment", b"").decode("latin-1") or DEFAULT_ENVIRONMENT
    name = rest[len(_MODELS) : len(rest) - len(verb)]
    return team, environment, name

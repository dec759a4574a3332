"""KServe's V1 protocol: `/v1/models`, `/v1/models/{name}`, `/v1/models/{name}:predict`, `:explain`.

The team is the key's and the environment `production`, unless the path or the header `mlops-environment`
says otherwise: `/{team}/{environment}/v1/models/{name}:predict`.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec

from ml_platform.contracts.serving import PREDICT
from ml_platform.inference.dataplane import Call, DataPlane, Headers
from ml_platform.inference.errors import (
    InvalidInput,
    MethodNotAllowed,
    ModelFailed,
    ServingError,
    Unavailable,
)
from ml_platform.inference.protocols.addresses import Address, address_of
from ml_platform.inference.protocols.http import (
    Disconnected,
    Receive,
    Scope,
    Send,
    carry_out,
    check_json,
    common_headers,
    encode_json,
    read_body,
    request_id,
    respond,
    respond_error,
)
from ml_platform.inference.traces.trace import ENCODE, EXPLAIN

_log = logging.getLogger(__name__)
ROOT = "/v1/models"
PREDICT_VERB = ":predict"
PREDICT_ROUTE = "/v1/models/{name}:predict"
EXPLAIN_VERB = ":explain"
EXPLAIN_ROUTE = "/v1/models/{name}:explain"
MODEL_ROUTE = "/v1/models/{name}"


class V1:
    """The four routes. `predict` is the hot path of the whole server."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._limit = plane.settings.max_body_bytes
        self._timeout = plane.settings.body_timeout

    async def predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, counts and logs a POST to a path that ends in `:predict`."""
        started = time.perf_counter_ns()
        plane = self._plane
        headers: Headers = dict(scope["headers"])
        call = Call(request_id(plane, headers), started)
        if plane.tracer is not None:
            call.trace = plane.tracer.begin(headers, scope["path"], started)
            if call.trace is not None:
                receive = call.trace.watch(receive)
        status = 200
        try:
            key = plane.authorise(headers.get(b"authorization"), PREDICT)
            address = address_of(scope["path"], ROOT)
            name = address.rest[len(ROOT) + 1 : -len(PREDICT_VERB)]
            route = plane.route(key, address.team, address.environment_for(headers), name)
            check_json(headers)
            body = await read_body(receive, headers, self._limit, self._timeout)
            call.revision = revision = plane.choose(key, route, headers, body, entity_in, call)
            predictions = await plane.predict(call, revision.decoder.decode(body))
            await respond(send, 200, common_headers(call, headers), encode_json({"predictions": predictions}))
        except ServingError as error:
            status, call.error = error.status, str(error)
            await respond_error(send, error, error.status, common_headers(call, headers))
        except Disconnected:
            status, call.error = 499, "the caller went away"
        except Exception as error:
            _log.exception("request %s failed", call.request_id)
            status, call.error = 500, f"internal error: {type(error).__name__}"
            hidden = ModelFailed("internal error; the server's log has the details under this request's id")
            await respond_error(send, hidden, 500, common_headers(call, headers))
        plane.account(call, "POST", PREDICT_ROUTE, status)

    async def handle(
        self, scope: Scope, receive: Receive, send: Send, call: Call, address: Address
    ) -> tuple[str, int]:
        """Answers every other path of the protocol; gives the route for the metrics, and the status."""
        headers: Headers = dict(scope["headers"])
        name = address.rest[len(ROOT) + 1 :]
        acts = name.endswith((PREDICT_VERB, EXPLAIN_VERB))

        async def attempt() -> int:
            if scope["method"] == "POST" and name.endswith(EXPLAIN_VERB):
                return await self._explain(headers, receive, send, call, address)
            if scope["method"] not in {"GET", "HEAD"} or acts:
                allowed = "POST" if acts else "GET"
                raise MethodNotAllowed(f"this route answers {allowed}")
            body = encode_json(self._describe(headers, address, name))
            await respond(send, 200, common_headers(call, headers), body)
            return 200

        label = (EXPLAIN_ROUTE if name.endswith(EXPLAIN_VERB) else MODEL_ROUTE) if name else ROOT
        return label, await carry_out(call, headers, send, attempt)

    async def _explain(
        self, headers: Headers, receive: Receive, send: Send, call: Call, address: Address
    ) -> int:
        plane = self._plane
        key = plane.authorise(headers.get(b"authorization"), PREDICT)
        name = address.rest[len(ROOT) + 1 : -len(EXPLAIN_VERB)]
        route = plane.route(key, address.team, address.environment_for(headers), name)
        check_json(headers)
        body = await read_body(receive, headers, self._limit, self._timeout)
        revision = plane.choose(key, route, headers, body, entity_in)
        decoded = revision.decoder.decode(body)
        if call.trace is not None:
            call.trace.asked = revision
            call.trace.decoded()
            call.trace.mark(EXPLAIN)
        explanations = await plane.explain(call, revision, decoded)
        if call.trace is not None:
            call.trace.mark(ENCODE)
        body = encode_json({"explanations": explanations})
        await respond(send, 200, [*common_headers(call, headers), *revision.headers], body)
        return 200

    def _describe(self, headers: Headers, address: Address, name: str) -> dict[str, Any]:
        plane = self._plane
        key = plane.authorise(headers.get(b"authorization"), PREDICT)
        environment = address.environment_for(headers)
        if not name:
            routes = plane.routes(key, address.team, environment)
            return {"models": sorted({route.address[2] for route in routes})}
        found = plane.route(key, address.team, environment, name)
        if not found.arms:
            raise Unavailable(found.unavailable, retry_after=2)
        described: dict[str, Any] = {"name": name, "ready": True}
        params = found.arms[-1].decoder.params
        return described if params is None else described | {"parameters": params.described()}


def entity_in(body: bytes, entity: str) -> str | None:
    """The value of an entity key in the first instance, if it is there."""
    try:
        first = _peek(body).instances[0]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError) as error:
        raise InvalidInput(f"instances: expected rows or objects by column name ({error})") from None
    value = first.get(entity) if isinstance(first, dict) else None
    return str(value) if value is not None else None


class _Peek(msgspec.Struct):
    """Just enough of a body to find an entity key in it."""

    instances: list[dict[str, Any] | list[Any]]


_peek = msgspec.json.Decoder(_Peek).decode

"""V2 over HTTP: `/v2`, `/v2/health/*`, `/v2/models/{name}[/versions/{version}][/ready|/infer]`.

The team is the key's and the environment `production`, as in V1. A version is the model version of one of
the endpoint's loaded revisions; without one the traffic split chooses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ml_platform.contracts.serving import PREDICT
from ml_platform.inference.dataplane import Call, DataPlane, Headers
from ml_platform.inference.errors import MethodNotAllowed, NotFound
from ml_platform.inference.protocols.addresses import Address
from ml_platform.inference.protocols.http import (
    JSON,
    Receive,
    Scope,
    Send,
    carry_out,
    common_headers,
    encode_json,
    read_body,
    respond,
)
from ml_platform.inference.protocols.v2.body import (
    BINARY,
    JSON_LENGTH,
    InferRequest,
    check_media,
    decode_request,
    encode_answer,
)
from ml_platform.inference.protocols.v2.inputs import InputReader, first_value
from ml_platform.inference.protocols.v2.outputs import OutputWriter
from ml_platform.inference.protocols.v2.server import describe_model, describe_server, is_ready

ROOT = "/v2"
_HEALTH = {"/health/live": "live", "/health/ready": "ready"}


class _Target(NamedTuple):
    """What a path is about; `route` is its name in the metrics."""

    route: str
    what: str
    model: str = ""
    version: str | None = None


_UNKNOWN = _Target(ROOT, "")


class V2:
    """The routes. `infer` is the one that matters."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._limit = plane.settings.max_body_bytes
        self._timeout = plane.settings.body_timeout

    async def handle(
        self, scope: Scope, receive: Receive, send: Send, call: Call, address: Address
    ) -> tuple[str, int]:
        headers: Headers = dict(scope["headers"])
        target = _target(address.rest[len(ROOT) :])

        async def infer() -> int:
            if scope["method"] != "POST":
                raise MethodNotAllowed("this route answers POST")
            return await self._infer(receive, send, call, headers, address, target)

        async def describe() -> int:
            if target is _UNKNOWN:
                raise NotFound("there is no such route")
            if scope["method"] not in {"GET", "HEAD"}:
                raise MethodNotAllowed("this route answers GET")
            status, body = self._describe(headers, address, target)
            await respond(send, status, common_headers(call, headers), encode_json(body))
            return status

        attempt = infer if target.what == "infer" else describe
        return target.route, await carry_out(call, headers, send, attempt)

    async def _infer(
        self, receive: Receive, send: Send, call: Call, headers: Headers, address: Address, target: _Target
    ) -> int:
        plane = self._plane
        key = plane.authorise(headers.get(b"authorization"), PREDICT)
        route = plane.route(key, address.team, address.environment_for(headers), target.model)
        check_media(headers)
        request = decode_request(await read_body(receive, headers, self._limit, self._timeout), headers)
        if target.version is None:
            revision = plane.choose(key, route, headers, request, _entity_in)
        else:
            revision = plane.version(route, target.version)
        call.revision = revision
        writer = revision.once(OutputWriter)
        writer.check(request.outputs)
        predictions = await plane.predict(call, revision.once(InputReader).read(request.inputs))
        outputs = writer.write(predictions, request.outputs)
        body, length = encode_answer(target.model, revision.spec.model_version, request, outputs)
        answer_headers = common_headers(call, headers)
        if length is not None:
            answer_headers.append((JSON_LENGTH, b"%d" % length))
        await respond(send, 200, answer_headers, body, JSON if length is None else BINARY)
        return 200

    def _describe(self, headers: Headers, address: Address, target: _Target) -> tuple[int, dict[str, Any]]:
        plane = self._plane
        if target.what in _HEALTH.values():
            healthy = target.what == "live" or is_ready(plane)
            return (200 if healthy else 503), {target.what: healthy}
        key = plane.authorise(headers.get(b"authorization"), PREDICT)
        if target.what == "server":
            return 200, describe_server()._asdict()
        route = plane.route(key, address.team, address.environment_for(headers), target.model)
        version = target.version
        revisions = route.arms if version is None else (plane.version(route, version),)
        if target.what == "model_ready":
            return (200 if revisions else 503), {"name": target.model, "ready": bool(revisions)}
        description = describe_model(route, revisions)
        tensors = {
            direction: [
                {"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in tensors
            ]
            for direction, tensors in (("inputs", description.inputs), ("outputs", description.outputs))
        }
        return 200, description._asdict() | tensors


def _target(rest: str) -> _Target:
    """What the path after the root asks for."""
    if not rest:
        return _Target(ROOT, "server")
    if rest in _HEALTH:
        return _Target(ROOT + rest, _HEALTH[rest])
    parts = rest.split("/")[1:]
    if parts[0] != "models" or len(parts) < 2 or not parts[1]:
        return _UNKNOWN
    route, version, left = "/v2/models/{name}", None, parts[2:]
    if len(left) > 1 and left[0] == "versions" and left[1]:
        route, version, left = route + "/versions/{version}", left[1], left[2:]
    if not left:
        return _Target(route, "model", parts[1], version)
    if left == ["ready"]:
        return _Target(f"{route}/ready", "model_ready", parts[1], version)
    if left == ["infer"]:
        return _Target(f"{route}/infer", "infer", parts[1], version)
    return _UNKNOWN


def _entity_in(request: InferRequest, entity: str) -> str | None:
    return first_value(request.inputs, entity)

"""V2 over HTTP: `/v2`, `/v2/health/*`, `/v2/models/{name}[/versions/{version}][/ready|/infer]`.

The team is the key's and the environment `production`, as in V1. A version is the model version of one of
the endpoint's loaded revisions; without one the traffic split chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from ml_platform.inference.dataplane import Call, DataPlane, Headers
from ml_platform.inference.decoding import Decoded
from ml_platform.inference.errors import MethodNotAllowed, NotFound
from ml_platform.inference.live import LiveRevision
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
    json_length,
)
from ml_platform.inference.protocols.v2.inputs import InputReader, Tensor
from ml_platform.inference.protocols.v2.layouts import LayoutReader
from ml_platform.inference.protocols.v2.outputs import OutputWriter
from ml_platform.inference.protocols.v2.server import (
    Model,
    choose,
    describe_model,
    describe_server,
    find_model,
    is_ready,
    revisions_of,
)

ROOT = "/v2"
_MOST_KEPT = 512
_SHORT_PATH = 256
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

        if target.what == "infer":
            attempt = partial(self._infer, scope, receive, send, call, headers, address, target)
        else:
            attempt = partial(self._describe, scope, send, call, headers, address, target)
        return target.route, await carry_out(call, headers, send, attempt)

    async def _infer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        call: Call,
        headers: Headers,
        address: Address,
        target: _Target,
    ) -> int:
        if scope["method"] != "POST":
            raise MethodNotAllowed("this route answers POST")
        plane = self._plane
        model = self._find(headers, address, target)
        check_media(headers)
        request = _Request(await read_body(receive, headers, self._limit, self._timeout), headers)
        call.revision = revision = choose(plane, headers, model, request, call)
        predictions = await plane.predict(call, request.read(revision))
        form = request.form
        outputs = revision.once(OutputWriter).write(predictions, form.outputs)
        body, length = encode_answer(target.model, revision.spec.model_version, form, outputs)
        answer_headers = common_headers(call, headers)
        if length is not None:
            answer_headers.append((JSON_LENGTH, b"%d" % length))
        await respond(send, 200, answer_headers, body, JSON if length is None else BINARY)
        return 200

    async def _describe(
        self, scope: Scope, send: Send, call: Call, headers: Headers, address: Address, target: _Target
    ) -> int:
        if target is _UNKNOWN:
            raise NotFound("there is no such route")
        if scope["method"] not in {"GET", "HEAD"}:
            raise MethodNotAllowed("this route answers GET")
        status, body = self._description(headers, address, target)
        await respond(send, status, common_headers(call, headers), encode_json(body))
        return status

    def _description(self, headers: Headers, address: Address, target: _Target) -> tuple[int, dict[str, Any]]:
        plane = self._plane
        if target.what in _HEALTH.values():
            healthy = target.what == "live" or is_ready(plane)
            return (200 if healthy else 503), {target.what: healthy}
        if target.what == "server":
            return 200, describe_server(plane, headers)._asdict()
        model = self._find(headers, address, target)
        if target.what == "model_ready":
            ready = bool(revisions_of(plane, model))
            return (200 if ready else 503), {"name": target.model, "ready": ready}
        description = describe_model(plane, model)
        tensors = {
            direction: [
                {"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in tensors
            ]
            for direction, tensors in (("inputs", description.inputs), ("outputs", description.outputs))
        }
        told = description._asdict() | tensors
        if description.parameters is None:
            del told["parameters"]
        return 200, told

    def _find(self, headers: Headers, address: Address, target: _Target) -> Model:
        place = (address.team, address.environment_for(headers), target.model)
        return find_model(self._plane, headers, place, target.version)


class _Request:
    """A request as it came: decoded when it is known for which revision, or by which key to choose one."""

    __slots__ = ("_body", "_headers", "_length", "_whole", "form")

    def __init__(self, body: bytes, headers: Headers) -> None:
        self._body, self._headers = body, headers
        self._length = json_length(body, headers)
        self._whole: InferRequest | None = None
        self.form: InferRequest

    @property
    def inputs(self) -> Sequence[Tensor]:
        """Raises InvalidInput."""
        if self._whole is None:
            self._whole = decode_request(self._body, self._headers)
        return self._whole.inputs

    def read(self, revision: LiveRevision) -> Decoded:
        """The typed rows; afterwards `form` is there. Raises InvalidInput and TooLarge."""
        layouts = revision.once(LayoutReader)
        found = layouts.read(self._body, self._length)
        writer = revision.once(OutputWriter)
        if found is not None:
            self.form = InferRequest(found[0])
            writer.check(self.form.outputs)
            return found[1]
        inputs = self.inputs
        assert self._whole is not None
        self.form = self._whole
        writer.check(self.form.outputs)
        decoded = revision.once(InputReader).read(inputs, self.form.parameters)
        layouts.notice(inputs, len(self._body), binary=self._length is not None)
        return decoded


def _target(rest: str) -> _Target:
    """What the path after the root asks for."""
    return _target_once(rest) if len(rest) <= _SHORT_PATH else _parsed(rest)


def _parsed(rest: str) -> _Target:
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


_target_once = lru_cache(_MOST_KEPT)(_parsed)

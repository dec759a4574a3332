"""MLflow's scoring protocol: `POST /invocations`, `/version`, and the same for each model by its name.

    /models/{name}/invocations      also /ping, /health and /version there
    /invocations                    the one endpoint that the key can see, or that of the header `mlops-model`

All of them also below `/{team}/{environment}`. Bodies are what `mlflow models serve` takes; refusals are
MLflow's own, `{"error_code": ..., "message": ...}`.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

from ml_platform.contracts.serving import PREDICT
from ml_platform.inference.dataplane import Call, DataPlane, Headers
from ml_platform.inference.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    ServingError,
    Unauthenticated,
    Unavailable,
    WrongMediaType,
)
from ml_platform.inference.protocols.addresses import Address
from ml_platform.inference.protocols.http import (
    Receive,
    Scope,
    Send,
    carry_out,
    common_headers,
    encode_json,
    read_body,
    respond,
)
from ml_platform.inference.protocols.scoring_input import SchemaViolation, first_value, scoring_decoder
from ml_platform.inference.routing import Key, Route

MODELS_ROOT = "/models"
INVOCATIONS_ROOT = "/invocations"
VERSION_ROOT = "/version"
ROOTS = (MODELS_ROOT, INVOCATIONS_ROOT, VERSION_ROOT)

_PROTOCOL_VERSION = "3.17.0"
"""Of MLflow, whose scoring server this is checked against; told when MLflow itself is not installed."""

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_CSV, _JSON = b"text/csv", b"application/json"
_VERBS = {"invocations": "POST", "ping": "GET", "health": "GET", "version": "GET"}
_CODES: tuple[tuple[type[ServingError], str], ...] = (
    (SchemaViolation, "INVALID_PARAMETER_VALUE"),
    (Unauthenticated, "UNAUTHENTICATED"),
    (Forbidden, "PERMISSION_DENIED"),
    (NotFound, "RESOURCE_DOES_NOT_EXIST"),
    (Unavailable, "TEMPORARILY_UNAVAILABLE"),
    (DeadlineExceeded, "DEADLINE_EXCEEDED"),
)


@dataclass(frozen=True, slots=True)
class _Submission:
    """A request's body and what it is."""

    body: bytes
    csv: bool


class Scoring:
    """The routes of MLflow's scoring server."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._limit = plane.settings.max_body_bytes
        self._timeout = plane.settings.body_timeout
        self._version = _mlflow_version()

    async def handle(
        self, scope: Scope, receive: Receive, send: Send, call: Call, address: Address
    ) -> tuple[str, int]:
        headers: Headers = dict(scope["headers"])
        name, verb = _parts(address.rest)

        async def attempt() -> int:
            allowed = _VERBS.get(verb)
            if allowed is None:
                raise NotFound("there is no such route")
            if scope["method"] != allowed and not (allowed == "GET" and scope["method"] == "HEAD"):
                raise MethodNotAllowed(f"this route answers {allowed}")
            if verb == "invocations":
                return await self._invoke(headers, receive, send, call, address, name)
            return await self._tell(headers, send, call, address, name, verb)

        label = f"/models/{{name}}/{verb}" if name is not None else f"/{verb}"
        if verb not in _VERBS:
            label = f"{MODELS_ROOT}/other"
        return label, await carry_out(call, headers, send, attempt, _refusal)

    async def _invoke(
        self, headers: Headers, receive: Receive, send: Send, call: Call, address: Address, name: str | None
    ) -> int:
        plane = self._plane
        key = plane.authorise(headers.get(b"authorization"), PREDICT)
        route = self._route(key, headers, address, name)
        csv = _is_csv(headers)
        body = await read_body(receive, headers, self._limit, self._timeout)
        given = _Submission(body, csv)
        call.revision = revision = plane.choose(key, route, headers, given, _entity_in, call)
        decoder = revision.once(scoring_decoder)
        predictions = await plane.predict(
            call, decoder.decode_csv(body) if csv else decoder.decode_json(body)
        )
        await respond(send, 200, common_headers(call, headers), encode_json({"predictions": predictions}))
        return 200

    async def _tell(
        self, headers: Headers, send: Send, call: Call, address: Address, name: str | None, verb: str
    ) -> int:
        """The version, or whether a model is ready: as `/ping` of MLflow's server, which has but one."""
        key = self._plane.authorise(headers.get(b"authorization"), PREDICT)
        if name is not None:
            route = self._route(key, headers, address, name)
            if not route.arms:
                raise Unavailable(route.unavailable, retry_after=2)
        if verb == "version":
            await respond(send, 200, common_headers(call, headers), self._version.encode(), _TEXT)
        else:
            await respond(send, 200, common_headers(call, headers), encode_json({"status": "ready"}))
        return 200

    def _route(self, key: Key, headers: Headers, address: Address, name: str | None) -> Route:
        environment = address.environment_for(headers)
        if name is None:
            name = headers.get(b"mlops-model", b"").decode("latin-1") or None
        if name is not None:
            return self._plane.route(key, address.team, environment, name)
        found = self._plane.routes(key, address.team, environment)
        if not found:
            raise NotFound(f"there is no model in {environment[:128]}")
        if len(found) > 1:
            raise InvalidInput(
                f"there are {len(found)} models in {environment[:128]}: name one, by"
                " /models/{name}/invocations or the header 'mlops-model'"
            )
        return found[0]


def _parts(rest: str) -> tuple[str | None, str]:
    """The model's name, if the path has one, and what is asked of it."""
    if not rest.startswith(MODELS_ROOT):
        return None, rest[1:]
    name, _, verb = rest[len(MODELS_ROOT) + 1 :].partition("/")
    return name, verb if name else ""


def _is_csv(headers: Headers) -> bool:
    """Whether the body is CSV, not JSON; raises WrongMediaType when it is neither."""
    given = headers.get(b"content-type", b"")
    if given == _JSON:
        return False
    media, *parameters = (part.strip().lower() for part in given.split(b";"))
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name != b"charset" or value.strip(b'"') not in {b"utf-8", b"utf8"}:
            raise WrongMediaType(
                f"content-type: only charset=utf-8 is understood, got '{parameter.decode('latin-1')[:100]}'"
            )
    if media not in {_JSON, _CSV}:
        raise WrongMediaType(
            f"content-type: expected application/json or text/csv, got '{media.decode('latin-1')[:100]}'"
        )
    return media == _CSV


def _entity_in(submission: _Submission, name: str) -> str | None:
    return first_value(submission.body, csv=submission.csv, name=name)


def _refusal(error: ServingError) -> bytes:
    code = "BAD_REQUEST" if error.status < 500 else "INTERNAL_ERROR"
    for kind, name in _CODES:
        if isinstance(error, kind):
            code = name
            break
    return encode_json({"error_code": code, "message": str(error)})


def _mlflow_version() -> str:
    for distribution in ("mlflow", "mlflow-skinny"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return _PROTOCOL_VERSION

"""The ASGI application: authenticates, finds the workspace and the right, then lets MLflow answer.

Order of every request: health is open; anyone else must be known; the route must be on the allow list;
the workspace must be the caller's; the caller's role must allow it; the body must stay inside. Only then
does MLflow see it, with the workspace bound and without credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from ml_platform.integrations.mlflow import native
from ml_platform.integrations.mlflow.artifact_paths import check_artifact_path, check_relative_path
from ml_platform.integrations.mlflow.errors import RequestRefusedError, denied, invalid, missing
from ml_platform.integrations.mlflow.guards import RequestGuard, encode, field, own_experiment_id, read_body
from ml_platform.integrations.mlflow.identity import Authenticate, MlflowIdentity, Refusal, Scope, header
from ml_platform.integrations.mlflow.native import Message, Receive, Send
from ml_platform.integrations.mlflow.registry_policy import Outcome, RegistryPolicy
from ml_platform.integrations.mlflow.routes import Access, Kind, Route, RouteTable
from ml_platform.integrations.mlflow.settings import MlflowSettings
from ml_platform.integrations.mlflow.stores import MlflowStores, open_stores
from ml_platform.integrations.mlflow.wsgi import Reply, call_wsgi, environ_of, send_reply

ASGIApp = Callable[[Scope, Receive, Send], Any]

WORKSPACE_HEADER = b"x-mlflow-workspace"
_SMALL_BODY = 64 * 1024
_WITHOUT_WORKSPACE = frozenset({Kind.PAGE, Kind.SERVER_INFO, Kind.WORKSPACES})
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"same-origin"),
]
# What MLflow's handlers raise, instead of answering, when a body has another shape than they expect.
_SHAPE_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)

_log = logging.getLogger(__name__)


def create_mlflow_app(
    settings: MlflowSettings,
    authenticate: Authenticate,
    on_registry_write: RegistryPolicy | None = None,
) -> ASGIApp:
    """Build MLflow's tracking server, registry and screens as an application to be mounted.

    Opens the stores (migrating the database) first, which takes seconds: call it once, at start-up.

    Args:
        settings: where things are kept; the same in every call of one process.
        authenticate: says who sends a request. Called in a worker thread.
        on_registry_write: further policy over client writes to the registry, asked after the built-in
            one that keeps `mlops.*` tags and the champion alias for the platform.
    """
    stores = open_stores(settings)
    from mlflow.prompt.constants import _PROMPT_SOURCE_PLACEHOLDERS
    from mlflow.server import app as flask_app

    flask_app.config["PROPAGATE_EXCEPTIONS"] = True
    flask_app.json = StrictJsonProvider(flask_app)
    guard = RequestGuard(on_registry_write, _PROMPT_SOURCE_PLACEHOLDERS)
    return _MlflowApp(stores, flask_app, authenticate, guard)


class StrictJsonProvider(DefaultJSONProvider):
    """Writes NaN and infinities as text, as MLflow's protobuf answers do: JSON has no such numbers."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        try:
            return super().dumps(obj, allow_nan=False, **kwargs)
        except ValueError:
            return super().dumps(_finite(obj), **kwargs)


@dataclass(frozen=True, slots=True)
class _Admission:
    identity: MlflowIdentity
    route: Route
    workspace: str
    default_experiment_id: str


class _MlflowApp:
    def __init__(
        self, stores: MlflowStores, flask_app: Flask, authenticate: Authenticate, guard: RequestGuard
    ) -> None:
        self._stores, self._flask, self._authenticate, self._guard = stores, flask_app, authenticate, guard
        self._settings = stores.settings
        self._routes = RouteTable()
        self._readers = ThreadPoolExecutor(self._settings.threads, "mlflow")
        # SQLite has one writer: queueing here is fair, its own busy handler sleeps and retries.
        self._writers = ThreadPoolExecutor(1, "mlflow-write") if self._settings.is_sqlite else self._readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._respond(scope, receive, _with_security_headers(send))
        else:
            raise RuntimeError("Mount this application below one that handles the lifespan")

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path_below_mount(scope)
        if path == "/health" and scope["method"] in ("GET", "HEAD"):
            ok = Reply(200, [(b"content-type", b"text/plain")], b"OK")
            await send_reply(ok, send, self._readers)
            return
        try:
            await self._dispatch(path, scope, receive, send)
        except RequestRefusedError as error:
            reply = Reply(error.status, [*native.JSON_HEADERS, *error.headers], error.body())
            await send_reply(reply, send, self._readers)

    async def _dispatch(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.find(scope["method"], path)
        loop = asyncio.get_running_loop()
        if route is not None and route.kind in (Kind.DOWNLOAD, Kind.UPLOAD):
            admission = await loop.run_in_executor(self._readers, self._admit, scope, path, route)
            if route.kind is Kind.DOWNLOAD:
                await native.download(path, admission.workspace, scope, receive, send)
            else:
                await self._upload(path, admission, scope, receive, send)
            return
        # A small body is read at once, for one turn in a worker thread; a large one only from those let in.
        length = _declared_length(scope)
        if not 0 <= length <= _SMALL_BODY:
            await loop.run_in_executor(self._readers, self._admit, scope, path, route)
        body = await _read(receive, length, self._settings.max_request_bytes)
        pool = self._writers if route is not None and route.access is Access.WRITE else self._readers
        reply = await loop.run_in_executor(pool, self._answer, scope, path, route, body)
        await send_reply(reply, send, self._readers)

    async def _upload(
        self, path: str, admission: _Admission, scope: Scope, receive: Receive, send: Send
    ) -> None:
        limit = self._settings.max_artifact_bytes
        if _declared_length(scope) > limit:
            raise native.too_large(limit)
        check = partial(
            self._guard.check_upload,
            native.artifact_path_of(path),
            workspace=admission.workspace,
            identity=admission.identity,
        )
        await asyncio.get_running_loop().run_in_executor(self._readers, check)
        await native.upload(path, admission.workspace, scope, receive, send, max_bytes=limit)

    def _admit(self, scope: Scope, path: str, route: Route | None) -> _Admission:
        """Decide about everything but the body. Runs in a worker thread."""
        identity = self._authenticate(scope)
        if isinstance(identity, Refusal):
            raise _not_let_in(scope, identity)
        if scope["method"] not in ("GET", "HEAD"):
            _refuse_other_sites(scope)
        if route is None:
            raise RequestRefusedError(
                404, "ENDPOINT_NOT_FOUND", f"{scope['method']} {path} is not offered by this server"
            )
        if route.kind in _WITHOUT_WORKSPACE:
            return _Admission(identity, route, "", "")
        workspace = _workspace_of(scope, identity)
        if route.access is Access.WRITE and identity.workspaces[workspace] != "write":
            raise denied(f"{identity.user} may only read in workspace '{workspace}'")
        return _Admission(identity, route, workspace, self._stores.ensure_workspace(workspace))

    def _answer(self, scope: Scope, path: str, route: Route | None, body: bytes) -> Reply:
        admission = self._admit(scope, path, route)
        route = admission.route
        if route.kind is Kind.SERVER_INFO:
            return native.server_info()
        if route.kind is Kind.WORKSPACES:
            return native.workspaces(path, admission.identity)
        if route.kind is Kind.PAGE:
            return self._page(scope, path)
        binding = self._stores.writing if route.access is Access.WRITE else self._stores.reading
        if route.kind is Kind.SPANS:
            limit = self._settings.max_request_bytes
            with binding(admission.workspace):
                return native.log_spans(scope, body, admission.default_experiment_id, max_bytes=limit)
        query, body, outcomes = self._checked(scope, path, admission, body)
        content_type = "application/json" if route.carries_json else header(scope, b"content-type")
        environ = environ_of(scope, path, query, body, content_type)
        done = False
        try:
            with binding(admission.workspace):
                reply = self._call(environ)
            done = reply.status < 400
        finally:
            for outcome in outcomes:
                outcome(done)
        return reply

    def _page(self, scope: Scope, path: str) -> Reply:
        if path == "/" and not scope["path"].endswith("/"):  # the screens address everything relatively
            location = f"{scope.get('root_path', '')}/".encode()
            return Reply(307, [(b"location", location), (b"content-length", b"0")], b"")
        from mlflow.utils.workspace_context import ServerWorkspaceContext

        with ServerWorkspaceContext(None):  # decided: none, so that MLflow does not look for one
            return self._call(environ_of(scope, path, scope["query_string"], b"", None))

    def _checked(
        self, scope: Scope, path: str, admission: _Admission, body: bytes
    ) -> tuple[bytes, bytes, list[Outcome]]:
        route = admission.route
        if route.method == "GET":
            return _checked_query(scope["query_string"], path, admission), b"", []
        if not route.carries_json:
            return _checked_query(scope["query_string"], path, admission), body, []
        content = read_body(body, admission.default_experiment_id)
        if route.operation == "runs/create" and not field(content, "experiment_id"):
            content.pop("experimentId", None)
            content["experiment_id"] = admission.default_experiment_id
        outcomes: list[Outcome] = []
        if route.access is Access.WRITE or route.operation == "graphql":
            outcomes = self._guard.check(
                route.operation,
                route.method,
                path,
                content,
                workspace=admission.workspace,
                identity=admission.identity,
            )
        return b"", encode(content), outcomes

    def _call(self, environ: dict[str, Any]) -> Reply:
        try:
            reply = call_wsgi(self._flask, environ)
        except _SHAPE_ERRORS as error:
            _log.warning("MLflow could not read a request: %s", environ["PATH_INFO"], exc_info=True)
            raise invalid("The request does not have the shape that this call expects") from error
        except OSError as error:
            _log.exception("MLflow could not reach its storage: %s", environ["PATH_INFO"])
            raise RequestRefusedError(500, "INTERNAL_ERROR", "The server's storage failed") from error
        return _native_error(reply) if reply.status >= 400 else reply


def _path_below_mount(scope: Scope) -> str:
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return path or "/"


def _workspace_of(scope: Scope, identity: MlflowIdentity) -> str:
    named = [value for key, value in scope["headers"] if key == WORKSPACE_HEADER]
    if len(named) > 1:
        raise invalid("Header X-MLFLOW-WORKSPACE must not be repeated")
    workspace = named[0].decode("latin-1").strip() if named else ""
    if not workspace and scope["method"] == "GET":  # links of MLflow's screens cannot carry a header
        workspace = parse_qs(scope["query_string"].decode("latin-1")).get("workspace", [""])[0]
    workspace = workspace or identity.default_workspace or ""
    if not workspace:
        raise invalid("Name a workspace (your team): set MLFLOW_WORKSPACE or call mlflow.set_workspace()")
    if workspace not in identity.workspaces:
        raise missing(f"Workspace '{workspace}' not found")
    return workspace


def _checked_query(query: bytes, path: str, admission: _Admission) -> bytes:
    """Keep artifact paths inside, and let experiment 0 be the team's own."""
    parameters = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    if any("\x00" in value for values in parameters.values() for value in values):
        raise invalid("Text must not contain the NUL character")
    for value in parameters.get("path", []):
        relative = value.rstrip("/")
        if relative and path.endswith("/mlflow-artifacts/artifacts"):
            check_artifact_path(relative, admission.workspace)
        elif relative or admission.route.method != "GET":
            check_relative_path(value)
    if len(given := parameters.get("experiment_id", [])) == 1:
        own = own_experiment_id(given[0], admission.default_experiment_id)
        if own != given[0]:
            return urlencode({**parameters, "experiment_id": [own]}, doseq=True).encode()
    return query


def _not_let_in(scope: Scope, refusal: Refusal) -> RequestRefusedError:
    if refusal.location and scope["method"] == "GET" and "text/html" in (header(scope, b"accept") or ""):
        location = (b"location", refusal.location.encode())
        return RequestRefusedError(303, "UNAUTHENTICATED", refusal.reason, headers=(location,))
    if refusal.status == 401:
        challenge = (b"www-authenticate", b'Bearer realm="mlflow"')
        return RequestRefusedError(401, "UNAUTHENTICATED", refusal.reason, headers=(challenge,))
    return RequestRefusedError(refusal.status, "PERMISSION_DENIED", refusal.reason)


def _refuse_other_sites(scope: Scope) -> None:
    """Refuse a write that a browser sends on behalf of another site."""
    site, origin = header(scope, b"sec-fetch-site"), header(scope, b"origin")
    foreign = origin is not None and urlsplit(origin).netloc != (header(scope, b"host") or "")
    if foreign or (site is not None and site not in ("same-origin", "none")):
        raise denied("Requests of other sites are refused")


def _declared_length(scope: Scope) -> int:
    """Return the length of the body, 0 for none, -1 when it is not told beforehand."""
    length = header(scope, b"content-length")
    if length is not None:
        return int(length) if length.isascii() and length.isdigit() else -1
    return -1 if header(scope, b"transfer-encoding") else 0


async def _read(receive: Receive, length: int, max_bytes: int) -> bytes:
    if length > max_bytes:
        raise native.too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    more = length != 0
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise invalid("The client went away before its body was complete")
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise native.too_large(max_bytes)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _native_error(reply: Reply) -> Reply:
    """Give Flask's HTML error pages the body that MLflow's clients understand."""
    content_type = dict(reply.headers).get(b"content-type", b"")
    if content_type.startswith(b"application/json"):
        return reply
    if reply.close is not None:
        with contextlib.suppress(OSError):
            reply.close()
    code = "ENDPOINT_NOT_FOUND" if reply.status == 404 else "BAD_REQUEST"
    refused = RequestRefusedError(reply.status, code, "The request is not acceptable to MLflow")
    return Reply(reply.status, list(native.JSON_HEADERS), refused.body())


def _with_security_headers(send: Send) -> Send:
    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_SECURITY_HEADERS]
        await send(message)

    return secured


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value

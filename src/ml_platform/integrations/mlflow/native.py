"""Calls that do not go through Flask: artifact streams, OpenTelemetry spans, and what the server is.

Artifacts are streamed by MLflow's own asynchronous handlers, so that a large file occupies neither a
thread nor memory.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ml_platform.integrations.mlflow.artifact_paths import check_artifact_path
from ml_platform.integrations.mlflow.errors import RequestRefusedError, invalid, missing
from ml_platform.integrations.mlflow.identity import MlflowIdentity, Scope, header
from ml_platform.integrations.mlflow.wsgi import Reply

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_HEADERS = [(b"content-type", b"application/json")]
_ARTIFACTS = "/mlflow-artifacts/artifacts/"


def artifact_path_of(path: str) -> str:
    return path.partition(_ARTIFACTS)[2]


async def download(path: str, workspace: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Stream one artifact of the workspace."""
    from mlflow.server.artifact_router import download_artifact
    from mlflow.utils.workspace_context import ServerWorkspaceContext

    artifact_path = artifact_path_of(path)
    check_artifact_path(artifact_path, workspace)
    with ServerWorkspaceContext(workspace):
        response: Response = await _answered(download_artifact(artifact_path))
        await response(scope, receive, send)


async def upload(
    path: str, workspace: str, scope: Scope, receive: Receive, send: Send, *, max_bytes: int
) -> None:
    """Store one artifact of the workspace; nothing is kept of an upload that breaks off."""
    from mlflow.server.artifact_router import upload_artifact
    from mlflow.utils.workspace_context import ServerWorkspaceContext

    artifact_path = artifact_path_of(path)
    check_artifact_path(artifact_path, workspace)
    request = Request(scope, _bounded(receive, max_bytes))
    with ServerWorkspaceContext(workspace):
        try:
            response: Response = await _answered(upload_artifact(artifact_path, request))
        except ClientDisconnect:
            return
        await response(scope, receive, send)


def log_spans(scope: Scope, body: bytes, default_experiment_id: str, *, max_bytes: int) -> Reply:
    """Store OpenTelemetry spans. Called in a worker thread with the workspace bound."""
    from mlflow.server.otel_api import export_traces

    content = _inflated(body, header(scope, b"content-encoding"), max_bytes)
    experiment_id = header(scope, b"x-mlflow-experiment-id")
    if not experiment_id:
        raise invalid("Header x-mlflow-experiment-id must name the experiment")

    async def replay() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    # A loop of its own: parsing a large batch would otherwise hold up every other request.
    response = asyncio.run(
        _answered(
            export_traces(
                Request(scope, replay),
                x_mlflow_experiment_id=default_experiment_id if experiment_id == "0" else experiment_id,
                x_mlflow_run_id=header(scope, b"x-mlflow-run-id"),
                content_type=header(scope, b"content-type"),
                content_encoding=None,
                user_agent=header(scope, b"user-agent"),
                x_mlflow_workspace=None,
            )
        )
    )
    return Reply(response.status_code, list(response.raw_headers), bytes(response.body))


def server_info() -> Reply:
    """What clients ask before they choose how to talk: no multipart or presigned transfers, no gateway."""
    return _json(
        {
            "store_type": "SqlStore",
            "workspaces_enabled": True,
            "trace_archival_enabled": False,
            "multipart_uploads_enabled": False,
            "multipart_downloads_enabled": False,
            "presigned_upload_run_id_supported": False,
            "presigned_upload_model_id_supported": False,
            "features_enabled": {"gateway": False},
        }
    )


def workspaces(path: str, identity: MlflowIdentity) -> Reply:
    """The caller's own workspaces, or one of them."""
    name = path.partition("/mlflow/workspaces")[2].strip("/")
    if not name:
        return _json({"workspaces": [{"name": workspace} for workspace in sorted(identity.workspaces)]})
    if name not in identity.workspaces:
        raise missing(f"Workspace '{name}' not found")
    return _json({"workspace": {"name": name}})


def _json(content: Any) -> Reply:
    return Reply(200, list(JSON_HEADERS), json.dumps(content).encode())


async def _answered(call: Awaitable[Response]) -> Response:
    try:
        return await call
    except HTTPException as error:
        raise RequestRefusedError(error.status_code, "BAD_REQUEST", str(error.detail)) from error
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise invalid("A file and a folder cannot have the same artifact path") from error


def _bounded(receive: Receive, max_bytes: int) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise too_large(max_bytes)
        return message

    return counted


def too_large(max_bytes: int) -> RequestRefusedError:
    return RequestRefusedError(413, "REQUEST_LIMIT_EXCEEDED", f"The body is larger than {max_bytes} bytes")


def _inflated(body: bytes, encoding: str | None, max_bytes: int) -> bytes:
    if not encoding or encoding.lower() == "identity":
        return body
    window = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}.get(encoding.lower())
    if window is None:
        raise invalid(f"Content-Encoding '{encoding}' is not supported: use gzip or deflate")
    try:
        inflater = zlib.decompressobj(window)
        content = inflater.decompress(body, max_bytes)
    except zlib.error as error:
        raise invalid("The body is not what its Content-Encoding says") from error
    if inflater.unconsumed_tail:
        raise too_large(max_bytes)
    return content

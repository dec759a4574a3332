"""V2 over gRPC: `inference.GRPCInferenceService`.

Metadata stands for what headers are to HTTP: `authorization` with the same keys, `mlops-team` and
`mlops-environment` for the address, `x-request-id` and `traceparent`; the trailing metadata of an answer
names the revision. Raw inputs are answered with raw outputs, typed ones with typed ones. Messages are parsed
here and not by gRPC, so that one which is none is the caller's error and is counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError

from ml_platform.inference.dataplane import DEFAULT_ENVIRONMENT, Call, DataPlane, Headers
from ml_platform.inference.errors import InvalidInput, ModelFailed, ServingError, Unauthenticated
from ml_platform.inference.protocols.grpc.unary import Method, Methods, Reply, Status
from ml_platform.inference.protocols.http import common_headers, request_id
from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb
from ml_platform.inference.protocols.v2.grpc_requests import Requests
from ml_platform.inference.protocols.v2.outputs import OutputTensor, OutputWriter
from ml_platform.inference.protocols.v2.server import (
    Model,
    choose,
    describe_model,
    describe_server,
    find_model,
    is_ready,
    revisions_of,
)

SERVICE = "inference.GRPCInferenceService"
METHOD = "gRPC"
_GONE = 499
_MOST_DETAILS = 2000
_STATUSES: Final = {
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    422: Status.FAILED_PRECONDITION,
    429: Status.RESOURCE_EXHAUSTED,
    503: Status.UNAVAILABLE,
    504: Status.DEADLINE_EXCEEDED,
}

_log = logging.getLogger(__name__)
_Request = TypeVar("_Request")
_Attempt = Callable[[Call, Headers, _Request, bytes], Awaitable[Any]]


class OpenInference:
    """The six methods of the service."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._requests = Requests()

    def methods(self) -> Methods:
        """By their paths."""
        methods: dict[str, tuple[Any, _Attempt[Any]]] = {
            "ServerLive": (pb.ServerLiveRequest, self._server_live),
            "ServerReady": (pb.ServerReadyRequest, self._server_ready),
            "ServerMetadata": (pb.ServerMetadataRequest, self._server_metadata),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": (pb.ModelInferRequest, self._model_infer),
        }
        paths = {f"/{SERVICE}/{name}": method for name, method in methods.items()}
        return {path.encode(): self._method(path, *method) for path, method in paths.items()}

    def _method(self, route: str, kind: Any, attempt: _Attempt[Any]) -> Method:
        async def answer(headers: Headers, data: bytes) -> Reply:
            call = Call(request_id(self._plane, headers), time.perf_counter_ns())
            if self._plane.tracer is not None:
                call.trace = self._plane.tracer.begin(headers, route, call.started)
            status = 200
            try:
                message = await attempt(call, headers, _parsed(kind, data), data)
                return Reply(Status.OK, message.SerializeToString(), "", tuple(common_headers(call, headers)))
            except ServingError as error:
                refusal, call.error = error, str(error)
            except asyncio.CancelledError:
                status, call.error = _GONE, "the caller went away"
                raise
            except Exception as error:
                _log.exception("request %s failed", call.request_id)
                call.error = f"internal error: {type(error).__name__}"
                refusal = ModelFailed(
                    "internal error; the server's log has the details under this request's id"
                )
            finally:
                if status == 200 and call.error is not None:
                    status = refusal.status
                self._plane.account(call, METHOD, route, status)
            return _refused(refusal, common_headers(call, headers))

        return answer

    async def _server_live(self, _: Call, __: Headers, ___: Any, ____: bytes) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _: Call, __: Headers, ___: Any, ____: bytes) -> Any:
        return pb.ServerReadyResponse(ready=is_ready(self._plane))

    async def _server_metadata(self, _: Call, headers: Headers, __: Any, ___: bytes) -> Any:
        return pb.ServerMetadataResponse(**describe_server(self._plane, headers)._asdict())

    async def _model_ready(self, _: Call, headers: Headers, request: pb.ModelReadyRequest, __: bytes) -> Any:
        model = self._find(headers, request.name, request.version)
        return pb.ModelReadyResponse(ready=bool(revisions_of(self._plane, model)))

    async def _model_metadata(
        self, _: Call, headers: Headers, request: pb.ModelMetadataRequest, __: bytes
    ) -> Any:
        described = describe_model(self._plane, self._find(headers, request.name, request.version))
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=described.name,
            versions=described.versions,
            platform=described.platform,
            inputs=[tensor(name=name, datatype=kind, shape=shape) for name, kind, shape in described.inputs],
            outputs=[
                tensor(name=name, datatype=kind, shape=shape) for name, kind, shape in described.outputs
            ],
        )

    async def _model_infer(
        self, call: Call, headers: Headers, request: pb.ModelInferRequest, data: bytes
    ) -> Any:
        model = self._find(headers, request.model_name, request.model_version)
        given = self._requests.read(request, data)
        call.revision = revision = choose(self._plane, headers, model, given, call)
        writer = revision.once(OutputWriter)
        writer.check(given.outputs)
        predictions = await self._plane.predict(call, given.read(revision))
        outputs = writer.write(predictions, given.outputs)
        return _infer_response(request, revision.spec.model_version, outputs)

    def _find(self, headers: Headers, name: str, version: str) -> Model:
        team = headers.get(b"mlops-team", b"").decode("latin-1") or None
        environment = headers.get(b"mlops-environment", b"").decode("latin-1") or DEFAULT_ENVIRONMENT
        return find_model(self._plane, headers, (team, environment, name), version or None)


def _infer_response(
    request: pb.ModelInferRequest, version: str, outputs: Sequence[OutputTensor]
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=version, id=request.id)
    raw = bool(request.raw_input_contents)
    for output in outputs:
        tensor = response.outputs.add(name=output.name, datatype=output.datatype.name, shape=output.shape)
        if raw:
            response.raw_output_contents.append(output.raw())
        else:
            _fill(tensor.contents, output)
    return response


def _fill(contents: pb.InferTensorContents, output: OutputTensor) -> None:
    datatype = output.datatype
    assert datatype.contents is not None  # there are no outputs of FP16
    values: Sequence[Any] = output.values
    if datatype.kind == "text":
        values = [value.encode(errors="replace") for value in values]
    elif datatype.kind == "float":
        values = output.numbers()
    getattr(contents, datatype.contents).extend(values)


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidInput(f"the message is no {kind.DESCRIPTOR.full_name}") from None


def _refused(error: ServingError, trailing: list[tuple[bytes, bytes]]) -> Reply:
    if error.retry_after is not None:
        trailing.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, Unauthenticated):
        trailing.append((b"www-authenticate", b"Bearer"))
    fallback = Status.INVALID_ARGUMENT if error.status < 500 else Status.INTERNAL
    status = _STATUSES.get(error.status, fallback)
    return Reply(status, b"", str(error)[:_MOST_DETAILS], tuple(trailing))

"""Traced requests as spans of OTLP: one of the server, and one for each stage below it.

Names follow OpenTelemetry's semantic conventions for HTTP and RPC servers; what is ours begins with `mlops.`.
Nothing of a request's content is in them: no values, no headers, no messages of errors, which may quote values.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from ml_platform.inference.traces.trace import MODEL, WAKE
from ml_platform.inference.traces.tracer import Traced

GRPC = "gRPC"
"""The method by which calls of gRPC are counted (`protocols.v2.grpc_service`)."""

_SCOPE = "ml_platform.inference"
_SAMPLED, _RANDOM, _HAS_REMOTE, _REMOTE = 0x001, 0x002, 0x100, 0x200
_GRPC_CODES = {
    200: "OK",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    422: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class SpanWriter:
    """Writes requests to export, all of one resource."""

    def __init__(self, service: str, attributes: Mapping[str, str]) -> None:
        ours = version("ml-platform")
        named = {"service.version": ours, **attributes, "service.name": service}
        self._resource = Resource(attributes=_attributes(named))
        self._scope = InstrumentationScope(name=_SCOPE, version=ours)
        self._random = random.Random()  # noqa: S311 - identifiers, no secrets

    def write(self, requests: Sequence[Traced]) -> bytes:
        """An `ExportTraceServiceRequest`."""
        spans = [span for traced in requests for span in self.spans(traced)]
        of_scope = ScopeSpans(scope=self._scope, spans=spans)
        of_resource = ResourceSpans(resource=self._resource, scope_spans=[of_scope])
        data: bytes = ExportTraceServiceRequest(resource_spans=[of_resource]).SerializeToString()
        return data

    def spans(self, traced: Traced) -> Iterator[Span]:
        """The server's own, then its stages in their order."""
        trace_id, span_id = bytes.fromhex(traced.trace_id), bytes.fromhex(traced.span_id)
        server = Span(
            trace_id=trace_id,
            span_id=span_id,
            name=_name(traced),
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=traced.started,
            end_time_unix_nano=traced.started + traced.took,
            attributes=_attributes(_of_server(traced)),
            flags=_SAMPLED | _HAS_REMOTE,
        )
        parent = traced.parent
        state, random_flag = "", 0
        if parent is not None:
            state, random_flag = parent.state, parent.flags & _RANDOM
            server.parent_span_id = bytes.fromhex(parent.span_id)
            server.trace_state = state
            server.flags |= _REMOTE | random_flag
        failed = traced.status >= 500
        if failed:
            server.status.code = Status.STATUS_CODE_ERROR
        yield server
        last = len(traced.marks) - 1
        for index, (stage, at) in enumerate(traced.marks):
            if stage == WAKE:
                continue
            end = traced.took if index == last else traced.marks[index + 1][1]
            span = Span(
                trace_id=trace_id,
                span_id=(self._random.getrandbits(64) or 1).to_bytes(8, "big"),
                parent_span_id=span_id,
                trace_state=state,
                name=stage,
                kind=Span.SPAN_KIND_INTERNAL,
                start_time_unix_nano=traced.started + at,
                end_time_unix_nano=traced.started + max(at, end),
                flags=_SAMPLED | _HAS_REMOTE | random_flag,
            )
            if stage == MODEL:
                span.attributes.extend(_attributes(_of_model(traced)))
            if failed and index == last:  # where it ended
                span.status.code = Status.STATUS_CODE_ERROR
            yield span


def _name(traced: Traced) -> str:
    return traced.route[1:] if traced.method == GRPC else f"{traced.method} {traced.route}"


def _of_server(traced: Traced) -> dict[str, Any]:
    found: dict[str, Any]
    if traced.method == GRPC:
        fallback = "INVALID_ARGUMENT" if traced.status < 500 else "INTERNAL"
        code = _GRPC_CODES.get(traced.status, fallback)
        found = {"rpc.system.name": "grpc", "rpc.method": traced.route[1:], "rpc.response.status_code": code}
    else:
        code = str(traced.status)
        found = {
            "http.request.method": traced.method if traced.method != "other" else "_OTHER",
            "http.route": traced.route,
            "http.response.status_code": traced.status,
            "url.scheme": "http",
        }
        if traced.path:
            found["url.path"] = traced.path
    if traced.status >= 500:
        found["error.type"] = code
    found["mlops.request_id"] = traced.request_id
    if traced.served is not None:
        served = traced.served
        found["mlops.rows"] = traced.rows
        found["mlops.team"] = served.team
        found["mlops.environment"] = served.environment
        found["mlops.endpoint"] = served.endpoint
        found["mlops.deployment_id"] = served.deployment_id
        found["mlops.revision_id"] = served.revision_id
        found["mlops.model.name"] = served.model_name
        found["mlops.model.version"] = served.model_version
        found["mlops.runtime"] = served.runtime
    return found


def _of_model(traced: Traced) -> dict[str, Any]:
    rows, requests = traced.batch
    found: dict[str, Any] = {"mlops.batch.rows": rows, "mlops.batch.requests": requests}
    if traced.served is not None:
        found["mlops.revision_id"] = traced.served.revision_id
        found["mlops.runtime"] = traced.served.runtime
    return found


def _attributes(given: Mapping[str, str | int]) -> list[KeyValue]:
    return [
        KeyValue(
            key=name,
            value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value),
        )
        for name, value in given.items()
    ]

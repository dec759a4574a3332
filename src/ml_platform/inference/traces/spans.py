"""Traced requests as spans of OTLP: one of the server, and one for each stage below it.

Names follow OpenTelemetry's semantic conventions for HTTP and RPC servers; what is ours begins with `mlops.`.
Nothing of a request's content is in them: no values, no headers, no messages of errors, which may quote values.

Protobuf's encoded messages can be joined end to end, which merges them. So what many spans have in common is
encoded once and kept, which takes a quarter of the time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from ml_platform.inference.traces.trace import MODEL, WAKE
from ml_platform.inference.traces.tracer import Served, Traced

GRPC = "gRPC"
"""The method by which calls of gRPC are counted (`protocols.v2.grpc_service`)."""

_SCOPE = "ml_platform.inference"
_SAMPLED, _RANDOM, _HAS_REMOTE, _REMOTE = 0x001, 0x002, 0x100, 0x200
_KEPT = 4096
_LENGTH_DELIMITED = 2
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
        resource = Resource(attributes=[_attribute(name, value) for name, value in named.items()])
        self._resource: bytes = ResourceSpans(resource=resource).SerializeToString()
        self._scope: bytes = ScopeSpans(
            scope=InstrumentationScope(name=_SCOPE, version=ours)
        ).SerializeToString()
        self._random = random.Random()  # noqa: S311 - identifiers, no secrets

    def write(self, requests: Sequence[Traced]) -> bytes:
        """An `ExportTraceServiceRequest`."""
        spans = (_inside(_SPANS, span) for traced in requests for span in self._spans(traced))
        of_scope = _inside(_SCOPE_SPANS, b"".join([self._scope, *spans]))
        return _inside(_RESOURCE_SPANS, self._resource + of_scope)

    def _spans(self, traced: Traced) -> Iterator[bytes]:
        """The server's own, then its stages in their order."""
        trace_id, span_id = bytes.fromhex(traced.trace_id), bytes.fromhex(traced.span_id)
        started, parent = traced.started, traced.parent
        server = Span(
            trace_id=trace_id,
            span_id=span_id,
            start_time_unix_nano=started,
            end_time_unix_nano=started + traced.took,
            flags=_SAMPLED | _HAS_REMOTE,
        )
        server.attributes.append(_attribute("mlops.request_id", traced.request_id))
        state, flags = "", _SAMPLED | _HAS_REMOTE
        if parent is not None:
            state = parent.state
            flags |= parent.flags & _RANDOM
            server.parent_span_id = bytes.fromhex(parent.span_id)
            server.trace_state = state
            server.flags = flags | _REMOTE
        common = _server(traced.method, traced.route, traced.path, traced.status, traced.served)
        rows = b"" if traced.served is None else _number("mlops.rows", traced.rows)
        yield server.SerializeToString() + common + rows
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
                start_time_unix_nano=started + at,
                end_time_unix_nano=started + max(at, end),
                flags=flags,
            )
            failed = traced.status >= 500 and index == last  # where it ended
            data = span.SerializeToString() + _stage(stage, failed, traced.served)
            if stage == MODEL:
                rows_at_once, requests = traced.batch
                data += _number("mlops.batch.rows", rows_at_once) + _number("mlops.batch.requests", requests)
            yield data


@lru_cache(_KEPT)
def _server(method: str, route: str, path: str, status: int, served: Served | None) -> bytes:
    """What the server's span says of all such requests."""
    found: dict[str, str | int]
    if method == GRPC:
        fallback = "INVALID_ARGUMENT" if status < 500 else "INTERNAL"
        name, code = route[1:], _GRPC_CODES.get(status, fallback)
        found = {"rpc.system.name": "grpc", "rpc.method": name, "rpc.response.status_code": code}
    else:
        name, code = f"{method} {route}", str(status)
        found = {
            "http.request.method": method if method != "other" else "_OTHER",
            "http.route": route,
            "http.response.status_code": status,
            "url.scheme": "http",
        }
        if path:
            found["url.path"] = path
    if served is not None:
        found["mlops.team"] = served.team
        found["mlops.environment"] = served.environment
        found["mlops.endpoint"] = served.endpoint
        found["mlops.deployment_id"] = served.deployment_id
        found["mlops.revision_id"] = served.revision_id
        found["mlops.model.name"] = served.model_name
        found["mlops.model.version"] = served.model_version
        found["mlops.runtime"] = served.runtime
    span = Span(name=name, kind=Span.SPAN_KIND_SERVER)
    if status >= 500:
        found["error.type"] = code
        span.status.code = Status.STATUS_CODE_ERROR
    span.attributes.extend(_attribute(key, value) for key, value in found.items())
    data: bytes = span.SerializeToString()
    return data


@lru_cache(_KEPT)
def _stage(stage: str, failed: bool, served: Served | None) -> bytes:
    """What the span of a stage says of all such requests."""
    span = Span(name=stage, kind=Span.SPAN_KIND_INTERNAL)
    if failed:
        span.status.code = Status.STATUS_CODE_ERROR
    if stage == MODEL and served is not None:
        span.attributes.append(_attribute("mlops.revision_id", served.revision_id))
        span.attributes.append(_attribute("mlops.runtime", served.runtime))
    data: bytes = span.SerializeToString()
    return data


@lru_cache(_KEPT)
def _number(name: str, value: int) -> bytes:
    """A span that has this attribute alone."""
    data: bytes = Span(attributes=[_attribute(name, value)]).SerializeToString()
    return data


def _attribute(name: str, value: str | int) -> KeyValue:
    held = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    return KeyValue(key=name, value=held)


def _tag(message: type, field: str) -> bytes:
    """What stands before an embedded message; one byte, as for all fields below 16."""
    number: int = message.DESCRIPTOR.fields_by_name[field].number  # type: ignore[attr-defined]
    return bytes([number << 3 | _LENGTH_DELIMITED])


_SPANS = _tag(ScopeSpans, "spans")
_SCOPE_SPANS = _tag(ResourceSpans, "scope_spans")
_RESOURCE_SPANS = _tag(ExportTraceServiceRequest, "resource_spans")


def _inside(tag: bytes, data: bytes) -> bytes:
    """An encoded message as a field of another one."""
    length, prefix = len(data), bytearray(tag)
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + data

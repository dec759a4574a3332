"""Logged requests as CloudEvents 1.0, with the types and attributes of KServe's own logger.

Request and answer are two events of one id, the request's, as KServe has them, and so are those of shadow
revisions. CloudEvents wants `source` and `id` together to be unique, so the sources name the revision and end in
`#request` or `#response`. A receiver that sees a pair of them twice has been sent it twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from ml_platform.inference.predictionlog.spool import Record, SegmentHeader

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"
JSON = "application/json"

_encode = msgspec.json.Encoder().encode
_CONTENT_TYPE = "datacontenttype"
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')

Event = dict[str, Any]
"""The attributes, and `data`."""


def events_of(header: SegmentHeader, record: Record) -> tuple[Event, Event]:
    """The request and its answer."""
    path = "/".join(quote(part, safe="") for part in (header.team, header.environment))
    source = f"/{path}/v1/models/{quote(header.endpoint, safe='')}/revisions/{header.revision_id}"
    common = {
        "specversion": "1.0",
        "id": record.request_id,
        _CONTENT_TYPE: JSON,
        "inferenceservicename": header.endpoint,
        "namespace": header.team,
        "component": "predictor",
        "endpoint": header.environment,
        "deploymentid": header.deployment_id,
        "revisionid": header.revision_id,
        "modelname": header.model_name,
        "modelversion": header.model_version,
    }
    request = {
        **common,
        "type": REQUEST,
        "source": f"{source}#request",
        "time": _time(record.time_us - record.latency_us),
        "data": _asked(header, record),
    }
    answer = (
        {"predictions": record.predictions} if record.predictions is not None else {"error": record.error}
    )
    response = {
        **common,
        "type": RESPONSE,
        "source": f"{source}#response",
        "time": _time(record.time_us),
        "status": record.status,
        "latencyus": min(record.latency_us, 2**31 - 1),  # an Integer of CloudEvents has 32 bits
        "data": answer,
    }
    return request, response


def structured(event: Event) -> bytes:
    """The event in the JSON format; NaN, which a feature may be, is null."""
    return _encode(event)


def binary(event: Event) -> tuple[dict[str, str], bytes]:
    """The event's headers and body in the binary mode of the HTTP binding."""
    headers = {"content-type": event[_CONTENT_TYPE], **dict(_headers(event))}
    return headers, _encode(event["data"])


def _headers(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in event.items():
        if name not in {"data", _CONTENT_TYPE}:
            yield f"ce-{name}", quote(str(value), safe=_PRINTABLE)


def _asked(header: SegmentHeader, record: Record) -> dict[str, Any]:
    names = [name for name, _ in header.columns]
    asked: dict[str, Any] = {"instances": [dict(zip(names, row, strict=True)) for row in record.rows]}
    if record.keys is not None:
        asked["entities"] = record.keys
    if record.params is not None:
        asked["parameters"] = msgspec.json.decode(record.params)
    return asked


def _time(microseconds: int) -> str:
    moment = datetime.fromtimestamp(microseconds / 1e6, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

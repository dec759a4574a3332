"""A receiver of OpenLineage's events, and their check against the classes that OpenLineage makes of its schema.

`openlineage-python` holds the published JSON schema as generated classes: which fields there are, which of them
are required, and of which types. An event is held against those, field by field; what they do not know is
refused.
"""

import importlib
import json
import pkgutil
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit
from uuid import UUID

import attr
from openlineage.client import generated
from openlineage.client.generated.base import BaseFacet, RunEvent


def _facets() -> dict[str, type[Any]]:
    """Every class of a facet by the address of its schema."""
    found = {}
    for module in pkgutil.iter_modules(generated.__path__):
        for value in vars(importlib.import_module(f"{generated.__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, BaseFacet):
                found[value._get_schema()] = value
    return found


FACETS = _facets()


def check(event: Mapping[str, Any]) -> None:
    """Raises AssertionError that names the place unless it is a run event as OpenLineage publishes it."""
    _object(RunEvent, event, "event")
    assert set(event) >= {"eventType", "eventTime", "run", "job", "producer", "schemaURL"}
    assert event["schemaURL"] == RunEvent._get_schema()
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    UUID(event["run"]["runId"])
    _uri(event["producer"], "event.producer")


def _object(kind: type[Any], value: Any, path: str) -> None:
    assert isinstance(value, Mapping), f"{path} is no object"
    hints = get_type_hints(kind)
    fields = {field.name: field for field in attr.fields(kind)}
    assert not set(value) - set(fields), f"{path}: unknown {set(value) - set(fields)}"
    for name, field in fields.items():
        if name in value:
            _value(hints[name], value[name], f"{path}.{name}")
        else:
            assert field.default is not attr.NOTHING, f"{path}.{name} is missing"
    if issubclass(kind, BaseFacet):
        _uri(value["_producer"], f"{path}._producer")


def _value(kind: Any, value: Any, path: str) -> None:
    if get_origin(kind) in (Union, types.UnionType):
        [kind] = [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) is list:
        assert isinstance(value, list), f"{path} is no list"
        for number, item in enumerate(value):
            _value(get_args(kind)[0], item, f"{path}[{number}]")
    elif get_origin(kind) is dict:
        assert isinstance(value, Mapping), f"{path} is no object"
        for name, facet in value.items():
            found = FACETS.get(facet.get("_schemaURL"))
            assert found is not None, f"{path}.{name} has no published schema: {facet}"
            assert issubclass(found, get_args(kind)[1]), f"{path}.{name} does not belong there"
            _object(found, facet, f"{path}.{name}")
    elif attr.has(kind):
        _object(kind, value, path)
    elif issubclass(kind, Enum):
        assert value in {one.value for one in kind}, f"{path} is {value!r}"
    else:
        assert isinstance(value, kind), f"{path} is {value!r}, which is no {kind}"
        assert not (kind is int and isinstance(value, bool)), f"{path} is {value!r}"


def _uri(text: Any, path: str) -> None:
    assert isinstance(text, str), f"{path} is no text"
    assert urlsplit(text).scheme, f"{path} is no URI"


class Receiver:
    """What arrived, in its order; `status` says what is answered to an event."""

    def __init__(self) -> None:
        self.url = ""
        self.status: Callable[[dict[str, Any]], int] = lambda _event: 201
        self.tokens: set[str | None] = set()
        self.asked = 0
        self._events: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those that were answered with success."""
        with self._lock:
            return list(self._events)

    def of_run(self, run_id: str) -> list[str]:
        return [event["eventType"] for event in self.events if event["run"]["runId"] == run_id]

    def take(self, event: dict[str, Any], authorization: str | None) -> int:
        with self._lock:
            self.asked += 1
            status = self.status(event)
            self.tokens.add(authorization)
            if status < 300:
                self._events.append(event)
        return status


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A real HTTP server on a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.take(json.loads(body), self.headers.get("authorization"))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The test says what went wrong."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/api/v1/lineage"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)

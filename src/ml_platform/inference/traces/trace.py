"""What is noted of one traced request while it is on its way, and whose call it is."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from ml_platform.inference.live import LiveRevision

DECODE, LOAD, FEATURES, QUEUE, MODEL, ENCODE = "decode", "load", "features", "queue", "model", "encode"
EXPLAIN = "explain"
WAKE = ""
"""Nobody's time: the answer is there, and the request has yet to be woken."""

Mark = tuple[str, int]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_TRACESTATE = re.compile(r"[\x20-\x7e\t]{1,512}\Z")
_SAMPLED = 1


class Parent(msgspec.Struct, frozen=True, array_like=True):
    """Whose call the request is, as `traceparent` and `tracestate` say."""

    trace_id: str
    span_id: str
    flags: int
    state: str

    @property
    def sampled(self) -> bool:
        return bool(self.flags & _SAMPLED)


def parent_of(headers: Mapping[bytes, bytes]) -> Parent | None:
    """The caller's span by W3C's Trace Context; None without one that is well formed."""
    given = headers.get(b"traceparent")
    found = None if given is None else _TRACEPARENT.match(given)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return None
    state = headers.get(b"tracestate", b"").decode("latin-1").strip()
    kept = state if _TRACESTATE.match(state) else ""
    return Parent(trace_id.decode(), span_id.decode(), int(flags, 16), kept)


class Trace:
    """Of one request. A stage lasts until the next one begins or, the last, until the answer was sent.

    `asked` is the revision that was asked where that is no prediction, and so is not the call's own.
    """

    __slots__ = ("_received", "_started", "asked", "batch", "marks", "parent", "path", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str, parent: Parent | None, path: str, started: int) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent = parent
        self.path = path
        self.marks: list[Mark] = []
        self.batch = (0, 0)
        self.asked: LiveRevision | None = None
        self._started = self._received = started

    @property
    def traceparent(self) -> bytes:
        """What names the request's own span to others."""
        return f"00-{self.trace_id}-{self.span_id}-01".encode()

    def mark(self, stage: str) -> None:
        """A stage begins."""
        self.marks.append((stage, time.perf_counter_ns() - self._started))

    def decoded(self) -> None:
        """The rows are there; their decoding began when the last of the body had come."""
        self.marks.append((DECODE, self._received - self._started))

    def watch(self, receive: Receive) -> Receive:
        """The same, and notes when the body came."""

        async def watched() -> MutableMapping[str, Any]:
            message = await receive()
            self._received = time.perf_counter_ns()
            return message

        return watched

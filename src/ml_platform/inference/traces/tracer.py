"""Which requests are traced, and what is kept of them.

A request that is not traced costs its decision and nothing else. Of one that is, the times are kept at which
its stages began; names, attributes and identifiers are added elsewhere (`spans`).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping

import msgspec

from ml_platform.inference.live import LiveRevision
from ml_platform.inference.settings import Settings
from ml_platform.inference.traces.trace import Mark, Parent, Trace, parent_of

BATCH = 200
"""So many requests are shipped at once, or fewer twice a second."""

_SECOND = 1_000_000_000
_PATH = 256
_PROBE = re.compile(r"/(health|ping|metrics|live|ready|ServerLive|ServerReady|ModelReady|internal/\w+)\Z")


class Served(msgspec.Struct, frozen=True, array_like=True):
    """Who answered."""

    team: str
    environment: str
    endpoint: str
    deployment_id: str
    revision_id: str
    model_name: str
    model_version: str
    runtime: str


class Traced(msgspec.Struct, frozen=True, array_like=True):
    """A traced request that has been answered.

    `started` is in nanoseconds since 1970, `took` in nanoseconds, and `marks` are counted from `started`.
    `batch` is what the model was given at once: rows and requests.
    """

    trace_id: str
    span_id: str
    parent: Parent | None
    started: int
    took: int
    marks: list[Mark]
    method: str
    route: str
    path: str
    status: int
    request_id: str
    rows: int
    batch: tuple[int, int]
    served: Served | None


class Tracer:
    """Of one worker; `ship` is given what has come together."""

    def __init__(self, settings: Settings, ship: Callable[[list[Traced]], None]) -> None:
        self._ratio = settings.traces_ratio
        self._bound = int(max(self._ratio, 0) * 2**64)
        self._follow = settings.traces_follow
        self._pause = int(_SECOND / settings.traces_per_second)
        self._next = 0
        self._ship = ship
        self._done: list[Traced] = []
        self._random = random.Random()  # noqa: S311 - identifiers, no secrets; seeded by the system

    def begin(self, headers: Mapping[bytes, bytes], path: str, started: int) -> Trace | None:
        """What to note a request in, if it is traced; `started` is now, by the performance counter."""
        parent = parent_of(headers) if b"traceparent" in headers else None
        if parent is None:
            if not self._chosen(started, None):
                return None
            trace_id = f"{self._random.getrandbits(128) or 1:032x}"
        else:
            trace_id = parent.trace_id
            chosen = parent.sampled if self._follow else self._chosen(started, trace_id)
            if not chosen:
                return None
        if _PROBE.search(path):
            return None
        return Trace(trace_id, f"{self._random.getrandbits(64) or 1:016x}", parent, path, started)

    def finish(
        self,
        trace: Trace,
        took: int,
        *,
        method: str,
        route: str,
        status: int,
        request_id: str,
        rows: int,
        revision: LiveRevision | None,
    ) -> None:
        """The request has been answered, `took` nanoseconds after it began."""
        traced = Traced(
            trace_id=trace.trace_id,
            span_id=trace.span_id,
            parent=trace.parent,
            started=time.time_ns() - took,
            took=took,
            marks=trace.marks.copy(),  # what was given up may still run, and be marked
            method=method,
            route=route,
            path="" if revision is None else trace.path[:_PATH],  # another one can be anything
            status=status,
            request_id=request_id,
            rows=rows,
            batch=trace.batch,
            served=None if revision is None else revision.once(_served),
        )
        self._done.append(traced)
        if len(self._done) >= BATCH:
            self.ship()

    def ship(self) -> None:
        """Hands over what there is."""
        if self._done:
            done, self._done = self._done, []
            self._ship(done)

    def _chosen(self, started: int, trace_id: str | None) -> bool:
        """Whether a request is traced for which nobody has decided."""
        if self._ratio < 0:
            if started < self._next:
                return False
            self._next = max(self._next, started - _SECOND) + self._pause  # a second's worth may come at once
            return True
        number = self._random.getrandbits(64) if trace_id is None else int(trace_id[16:], 16)
        return number < self._bound


def _served(revision: LiveRevision) -> Served:
    endpoint, spec = revision.endpoint, revision.spec
    return Served(
        team=endpoint.team,
        environment=endpoint.environment,
        endpoint=endpoint.name,
        deployment_id=endpoint.deployment_id,
        revision_id=spec.revision_id,
        model_name=spec.model_name,
        model_version=spec.model_version,
        runtime=revision.manifest.runtime,
    )

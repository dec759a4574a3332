"""The one data plane behind all protocols: who may, where to, what comes back, what is remembered."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

from ml_platform.contracts.serving import INFERENCE_INTERNAL, FeatureStore
from ml_platform.inference.decoding import UNSET, Decoded, Row
from ml_platform.inference.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from ml_platform.inference.explaining.explainer import Explainer
from ml_platform.inference.featurestores.gate import StoreGate
from ml_platform.inference.limits import Limits
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.predictionlog.spool import Record
from ml_platform.inference.revisions import RevisionManager
from ml_platform.inference.routing import Key, Route
from ml_platform.inference.runtimes.base import PLAIN, Manner
from ml_platform.inference.settings import Settings
from ml_platform.inference.shadowing import Shadows
from ml_platform.inference.traces.trace import ENCODE, FEATURES, LOAD, WAKE, Trace
from ml_platform.inference.traces.tracer import Tracer
from ml_platform.inference.traffic import HttpTally

Headers = Mapping[bytes, bytes]
Body = TypeVar("Body")
EntityIn = Callable[[Body, str], str | None]

DEFAULT_ENVIRONMENT = "production"
_BEARER = b"bearer "
_ANONYMOUS = Key("anonymous", None, frozenset({"predict"}), None)


class Call:
    """One request on its way: filled in as far as it gets, then counted and logged from here."""

    __slots__ = (
        "error",
        "fallback",
        "keys",
        "params",
        "predictions",
        "request_id",
        "revision",
        "rows",
        "started",
        "trace",
        "unit",
    )

    def __init__(self, request_id: str, started: int) -> None:
        self.request_id = request_id
        self.started = started
        self.revision: LiveRevision | None = None
        self.rows: Sequence[Row] = ()
        self.keys: Sequence[dict[str, Any] | None] | None = None
        self.params: str | None = None
        self.predictions: list[Any] | None = None
        self.error: str | None = None
        self.fallback: str | None = None
        self.trace: Trace | None = None
        self.unit: str | None = None


class DataPlane:
    """Authorises, routes, predicts and accounts. Knows nothing of HTTP but header names."""

    def __init__(
        self, settings: Settings, revisions: RevisionManager, limits: Limits, tracer: Tracer | None = None
    ) -> None:
        self.settings = settings
        self.tracer = tracer
        self._limits = limits
        self._shadows = Shadows()
        self._revisions = revisions
        self._anonymous = _ANONYMOUS if settings.anonymous else None
        self._prefix = os.urandom(6).hex()
        self._numbers = count(1)
        self._explainer = Explainer(settings)
        self.http = HttpTally()

    @property
    def snapshot_version(self) -> int:
        return self._revisions.table.version

    def new_request_id(self) -> str:
        return f"{self._prefix}{next(self._numbers):08x}"

    def authorise(self, authorization: bytes | None, permission: str) -> Key:
        """The key of a bearer token that has the permission.

        Raises:
            Unauthenticated: there is none, or it is unknown, revoked or expired.
            Forbidden: it lacks the permission.
            TooManyRequests: it, or its team, has had its share.
        """
        if authorization is None:
            if self._anonymous is not None and permission in self._anonymous.permissions:
                return self._anonymous
            raise Unauthenticated("give an API key: 'Authorization: Bearer <key>'")
        if authorization[:7].lower() != _BEARER:
            raise Unauthenticated("the scheme of 'Authorization' must be Bearer")
        digest = hashlib.sha256(authorization[7:].strip()).hexdigest()
        table = self._revisions.table
        key = table.keys.get(digest)
        if key is None:
            raise Unauthenticated("the API key is unknown or was revoked")
        if key.expires is not None and key.expires <= time.time():
            raise Unauthenticated("the API key has expired")
        if permission not in key.permissions:
            raise Forbidden(f"the API key lacks the permission '{permission}'")
        self._limits.check(key, table)
        return key

    def route(self, key: Key, team: str | None, environment: str, name: str) -> Route:
        """The endpoint; another team's is as if it were not there. Raises NotFound."""
        table = self._revisions.table
        if team is None and key.team is None and key is self._anonymous:
            found = [route for address, route in table.routes.items() if address[1:] == (environment, name)]
            if len(found) == 1:
                return found[0]
        owner = team or key.team
        if owner is not None and (key.team is None or key.team == owner):
            route = table.routes.get((owner, environment, name))
            if route is not None:
                return route
        if owner is None:
            raise NotFound("this key belongs to no team: name it, /{team}/{environment}/v1/models/{name}")
        raise NotFound(f"there is no model '{name[:128]}' in {environment[:128]}")

    def routes(self, key: Key, team: str | None, environment: str) -> list[Route]:
        """The endpoints that a key can see in an environment."""
        owner = team or key.team
        if key.team is not None and owner != key.team:
            return []
        return [
            route
            for (route_team, route_environment, _), route in self._revisions.table.routes.items()
            if route_environment == environment and (owner is None or route_team == owner)
        ]

    def choose(
        self,
        key: Key,
        route: Route,
        headers: Headers,
        body: Body,
        entity_in: EntityIn[Body],
        call: Call | None = None,
    ) -> LiveRevision:
        """The revision that answers this request.

        `body` is the request as its protocol has it; `entity_in` finds the value of an entity key in it, for
        endpoints that are sticky by one. `call` is told by what it was kept on its revision, for the log.

        Raises:
            NotFound: the endpoint went while the request was being read.
            NotFound, Forbidden: for a revision that the caller asked for by name and cannot have.
            Unavailable: when no revision is loaded.
        """
        route = self._as_it_is_now(route)
        pinned = headers.get(b"mlops-revision")
        if pinned is not None:
            return self._pinned(key, route, pinned)
        if route.only is not None:
            return route.only
        if not route.arms:
            raise Unavailable(route.unavailable, retry_after=2)
        value = _sticky_value(route, headers, body, entity_in)
        unit = None if value is None else route.unit_of(value)
        if call is not None and unit is not None:
            call.unit = unit.hex()
        return route.choose(unit)

    def version(self, route: Route, version: str) -> LiveRevision:
        """The loaded revision of a model version, of several one that traffic reaches; raises NotFound."""
        route = self._as_it_is_now(route)
        found = [
            live
            for live in (*route.arms, *route.revisions.values())
            if live.spec.model_version == version and not live.spec.shadow
        ]
        if not found:
            raise NotFound(f"this endpoint has no version '{version[:128]}' loaded")
        return found[0]

    def _as_it_is_now(self, route: Route) -> Route:
        """A body takes its time to arrive, and meanwhile the desired state may have changed."""
        found = self._revisions.table.routes.get(route.address)
        if found is None:
            raise NotFound(f"there is no model '{route.address[2]}' any more")
        return found

    async def predict(self, call: Call, decoded: Decoded) -> list[Any]:
        """One prediction for each row, by `call.revision`; raises ServingError."""
        revision = call.revision
        assert revision is not None
        call.rows, call.keys, call.params = decoded.rows, decoded.keys, decoded.params
        manner = PLAIN if decoded.params is None else Manner(decoded.params)
        trace = call.trace
        if trace is not None:
            trace.decoded()
            trace.mark(LOAD if revision.batcher is None else WAKE)
        revision.in_flight += 1
        revision.used = call.started
        try:
            batcher = revision.batcher or await revision.residence.ready()
            if revision.lookups is not None:
                if trace is not None and decoded.keys is not None:
                    trace.mark(FEATURES)
                filled = await revision.lookups.fill(decoded)
                call.rows, call.fallback = filled.rows, filled.fallback
            call.predictions = await batcher.submit(call.rows, trace, manner)
        finally:
            revision.leave()
        if trace is not None:
            trace.mark(ENCODE)
        return call.predictions

    def feature_store(self, key: Key, team: str | None, environment: str) -> tuple[str, FeatureStore]:
        """A team's online store, and whose it is; another team's is as if it were not there.

        Raises:
            NotFound: there is none.
        """
        owner = team or key.team
        if owner is not None and (key.team is None or key.team == owner):
            store = self._revisions.feature_store(owner, environment)
            if store is not None:
                return owner, store
        if owner is None:
            raise NotFound("this key belongs to no team: name it, /{team}/{environment}/get-online-features")
        raise NotFound("there is no online feature store")

    def feature_gate(self, store: FeatureStore) -> StoreGate:
        """What stands before a store that hangs."""
        return self._revisions.gates.of(store)

    async def explain(self, call: Call, revision: LiveRevision, decoded: Decoded) -> list[dict[str, Any]]:
        """SHAP values for each row, `{"base_value": ..., "values": {column: ...}}`; raises ServingError.

        Not counted as predictions and not logged: nobody acts on them, and a canary is not judged by them.
        """
        self._explainer.check(revision, len(decoded.rows))
        revision.in_flight += 1
        try:
            rows = decoded.rows
            if revision.lookups is not None:
                filled = await revision.lookups.fill(decoded)
                rows, call.fallback = filled.rows, filled.fallback

            async def predict(given: Sequence[Row], scores: bool) -> list[Any]:
                batcher = revision.batcher or await revision.residence.ready()
                return await batcher.submit(given, None, Manner(decoded.params, scores))

            return await self._explainer.explain(revision, rows, predict)
        finally:
            revision.leave()

    async def close(self) -> None:
        """Ends what was started for requests."""
        await self._explainer.close()

    def account(self, call: Call, method: str, route: str, status: int) -> None:
        """Counts a request and, when it reached a model, logs it. Called after the answer was sent."""
        now = time.perf_counter_ns()
        microseconds = (now - call.started) // 1000
        self.http.add(method, route, status, microseconds)
        revision = call.revision
        if call.trace is not None and self.tracer is not None:
            self.tracer.finish(
                call.trace,
                now - call.started,
                method=method,
                route=route,
                status=status,
                request_id=call.request_id,
                rows=len(call.rows),
                revision=revision or call.trace.asked,
            )
        if revision is None:
            return
        revision.tally.add(status, len(call.rows), microseconds)
        if status < 400 or status >= 500:
            self._log(call, revision, status, microseconds)
        if self._revisions.table.shadows and call.predictions is not None and status < 400:
            self._mirror(call, revision, call.predictions)

    def _mirror(self, call: Call, revision: LiveRevision, predictions: list[Any]) -> None:
        endpoint = revision.endpoint
        address = (endpoint.team, endpoint.environment, endpoint.name)
        for shadow in self._revisions.table.shadows.get(address, ()):
            share = shadow.spec.shadow_share
            taken = share >= 1 or random.random() < share  # noqa: S311 - a share of traffic, not a secret
            if taken and shadow is not revision:
                self._shadows.ask(
                    shadow, revision, call.request_id, call.rows, call.keys, call.params, predictions
                )

    def _log(self, call: Call, revision: LiveRevision, status: int, microseconds: int) -> None:
        rows = call.rows
        if status >= 500:
            rows = [tuple(None if value is UNSET else value for value in row) for row in rows]
        revision.log.append(
            Record(
                call.request_id,
                time.time_ns() // 1000,
                microseconds,
                status,
                call.keys,
                rows,
                call.predictions if status < 400 else None,
                call.error,
                call.params,
                unit=call.unit,
                fallback=call.fallback,
            )
        )

    def _pinned(self, key: Key, route: Route, pinned: bytes) -> LiveRevision:
        if INFERENCE_INTERNAL not in key.permissions:
            raise Forbidden(f"'mlops-revision' needs the permission '{INFERENCE_INTERNAL}'")
        revision = route.revisions.get(pinned.decode("latin-1"))
        if revision is None:
            raise NotFound("this endpoint has no such revision loaded")
        return revision


def _sticky_value(route: Route, headers: Headers, body: Body, entity_in: EntityIn[Body]) -> str | None:
    """The value that keeps a caller on one revision, if it is there."""
    sticky = route.sticky
    if sticky is None:
        return None
    if sticky.by == "header":
        value = headers.get(sticky.name.lower().encode("latin-1", "replace"))
        return value.decode("latin-1") if value is not None else None
    return entity_in(body, sticky.name)

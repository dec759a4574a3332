"""Which revision answers: one immutable table, built from a snapshot and what is loaded, swapped whole.

The request path takes the table once and keeps to it, so a swap needs no lock and drops no request.
"""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from ml_platform.contracts.serving import ServingEndpoint, ServingKey, Snapshot, Sticky
from ml_platform.inference.live import LiveRevision

Address = tuple[str, str, str]
"""team, environment, name."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the request path needs it; `expires` in seconds since the epoch, rates in requests a second."""

    key_id: str
    team: str | None
    permissions: frozenset[str]
    expires: float | None
    rate: float | None = None
    team_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The revisions of an endpoint that answer now. `only` when there is just one, the usual case."""

    address: Address
    arms: tuple[LiveRevision, ...]
    bounds: tuple[float, ...]
    only: LiveRevision | None
    sticky: Sticky | None
    revisions: Mapping[str, LiveRevision]
    unavailable: str

    def unit_of(self, value: str) -> bytes:
        """A sticky value as eight bytes: by them it is dealt out, and they alone are kept of it."""
        salt = self.sticky.salt if self.sticky is not None else ""
        seed = f"{'/'.join(self.address)}\0{salt}\0{value}".encode(errors="surrogatepass")
        return hashlib.blake2b(seed, digest_size=8).digest()

    def choose(self, unit: bytes | None) -> LiveRevision:
        """By weight: at random, or always the same for one unit."""
        if self.only is not None:
            return self.only
        # Of a share of traffic, not of a secret.
        point = random.random() if unit is None else int.from_bytes(unit) / 2**64  # noqa: S311
        return self.arms[min(bisect_right(self.bounds, point * self.bounds[-1]), len(self.arms) - 1)]


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Everything that a request needs to find its key and its revision."""

    version: int
    keys: Mapping[str, Key]
    routes: Mapping[Address, Route]
    shadows: Mapping[Address, tuple[LiveRevision, ...]]

    @property
    def serving(self) -> frozenset[str]:
        """The ids of the revisions that traffic can reach."""
        return frozenset(arm.spec.revision_id for route in self.routes.values() for arm in route.arms)


EMPTY = RoutingTable(version=-1, keys={}, routes={}, shadows={})


def build_table(
    snapshot: Snapshot, live: Mapping[str, LiveRevision], reasons: Mapping[str, str], previous: RoutingTable
) -> RoutingTable:
    """The table for a snapshot, given the revisions that are loaded and why others are not.

    Traffic goes to those with a weight that are loaded. While none of them is, it stays where it was; an
    endpoint that was nowhere yet is answered by a warm revision of weight 0, if it has one.
    """
    routes, shadows = {}, {}
    for endpoint in snapshot.endpoints:
        address = (endpoint.team, endpoint.environment, endpoint.name)
        routes[address] = _route(endpoint, address, live, reasons, previous.routes.get(address))
        mirrored = [r.revision_id for r in endpoint.revisions if r.shadow and r.revision_id in live]
        if mirrored:
            shadows[address] = tuple(live[revision_id] for revision_id in mirrored)
    return RoutingTable(
        version=snapshot.version,
        keys={key.token_sha256: _key(key) for key in snapshot.keys},
        routes=routes,
        shadows=shadows,
    )


def _route(
    endpoint: ServingEndpoint,
    address: Address,
    live: Mapping[str, LiveRevision],
    reasons: Mapping[str, str],
    previous: Route | None,
) -> Route:
    loaded = {r.revision_id: live[r.revision_id] for r in endpoint.revisions if r.revision_id in live}
    candidates = [r for r in endpoint.revisions if r.revision_id in loaded and not r.shadow]
    weighted = [(loaded[r.revision_id], r.weight) for r in candidates if r.weight > 0]
    wanted = any(r.weight > 0 and not r.shadow for r in endpoint.revisions)
    if not weighted and wanted and previous is not None and previous.arms:
        arms, bounds = previous.arms, previous.bounds
    else:
        if not weighted and wanted:
            weighted = [(loaded[r.revision_id], 1.0) for r in candidates[-1:]]
        arms = tuple(arm for arm, _ in weighted)
        bounds = tuple(accumulate(weight for _, weight in weighted))
    return Route(
        address=address,
        arms=arms,
        bounds=bounds,
        only=arms[0] if len(arms) == 1 else None,
        sticky=endpoint.sticky,
        revisions=loaded,
        unavailable=_why(endpoint, reasons),
    )


def _why(endpoint: ServingEndpoint, reasons: Mapping[str, str]) -> str:
    if not any(r.weight > 0 for r in endpoint.revisions):
        return "no revision of this model takes traffic"
    failed = [reasons[r.revision_id] for r in endpoint.revisions if r.revision_id in reasons]
    return f"the model could not be loaded: {failed[0]}" if failed else "the model is being loaded"


def _key(key: ServingKey) -> Key:
    expires = key.expires_at.timestamp() if key.expires_at is not None else None
    return Key(
        key_id=key.key_id,
        team=key.team,
        permissions=frozenset(key.permissions),
        expires=expires,
        rate=key.requests_per_second,
        team_rate=key.team_requests_per_second,
    )

"""The parent's memory of the traffic: windows for the canary, totals for Prometheus, over all workers."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ml_platform.contracts.serving import InferenceMetrics, RevisionMetrics, WorkerStatus
from ml_platform.inference.channel import HttpDelta, TrafficDelta
from ml_platform.inference.traffic import bucket_bounds

_TIERS = ((1, 600), (60, 120), (600, 144))
"""Ten minutes by second, two hours by minute, a day by ten minutes: seconds of a slot, and how many are kept."""

Identity = tuple[str, str, str, str, str, str]
"""team, environment, endpoint, revision, model name, model version."""


@dataclass(slots=True)
class Sums:
    """Counts over some span of time."""

    at: int = 0
    requests: int = 0
    predictions: int = 0
    errors: int = 0
    client_errors: int = 0
    microseconds: int = 0
    latencies: dict[int, int] = field(default_factory=dict)
    compared: int = 0
    different: int = 0
    distance: float = 0.0
    skipped: int = 0
    fallbacks: dict[str, int] = field(default_factory=dict)
    packed: bytes = b""

    def pack(self) -> None:
        """Keeps the latencies of a span that is over in a tenth of the memory; it can be added to another's."""
        self.packed = array("H", self.latencies).tobytes() + array("I", self.latencies.values()).tobytes()
        self.latencies = {}

    def unpacked(self) -> dict[int, int]:
        """The latencies of a span that is over."""
        middle = len(self.packed) // 3  # two bytes of each bucket, then four of each count
        return dict(zip(array("H", self.packed[:middle]), array("I", self.packed[middle:]), strict=True))

    def add(self, other: Sums | TrafficDelta) -> None:
        self.requests += other.requests
        self.predictions += other.predictions
        self.errors += other.errors
        self.client_errors += other.client_errors
        self.microseconds += other.microseconds
        add_counts(self.latencies, other.latencies)
        if isinstance(other, Sums) and other.packed:
            add_counts(self.latencies, other.unpacked())
        self.compared += other.compared
        self.different += other.different
        self.distance += other.distance
        self.skipped += other.skipped
        for policy, number in other.fallbacks.items():
            self.fallbacks[policy] = self.fallbacks.get(policy, 0) + number


@dataclass(slots=True)
class History:
    """One revision: the last ten minutes by second, two hours by minute, the last day, and everything."""

    tiers: tuple[deque[Sums], ...] = field(
        default_factory=lambda: tuple(deque(maxlen=kept) for _, kept in _TIERS)
    )
    total: Sums = field(default_factory=Sums)

    def add(self, delta: TrafficDelta, now: int) -> None:
        self.total.add(delta)
        for (span, _), slots in zip(_TIERS, self.tiers, strict=True):
            _slot(slots, now - now % span).add(delta)

    def drop(self, now: float) -> None:
        """Lets go of what no window reaches any more."""
        for (span, kept), slots in zip(_TIERS, self.tiers, strict=True):
            while slots and slots[0].at < now - span * kept:
                slots.popleft()

    def slots(self, window: float) -> deque[Sums]:
        """The finest slots that reach back so far."""
        return next(
            (slots for (span, kept), slots in zip(_TIERS, self.tiers, strict=True) if window <= span * kept),
            self.tiers[-1],
        )


@dataclass(slots=True)
class Loads:
    """How often a revision's model was loaded, could not be, and had to leave, over all workers and time.

    `restarts` counts processes of an isolated model that had to be replaced, by reason.
    """

    loads: int = 0
    failures: int = 0
    evictions: int = 0
    restarts: dict[str, int] = field(default_factory=dict)

    def add(self, other: Loads, sign: int = 1) -> None:
        self.loads += sign * other.loads
        self.failures += sign * other.failures
        self.evictions += sign * other.evictions
        for reason, count in other.restarts.items():
            self.restarts[reason] = self.restarts.get(reason, 0) + sign * count


class TrafficAggregate:
    """Adds up what the workers report."""

    def __init__(self) -> None:
        self.started = time.time()
        self.revisions: dict[Identity, History] = {}
        self.loads: dict[str, Loads] = {}
        self._reported: dict[int, tuple[int, dict[str, Loads]]] = {}
        self.http_counts: dict[tuple[str, str, int], int] = {}
        self.http_latencies: dict[str, dict[int, int]] = {}
        self.http_microseconds: dict[str, int] = {}

    def add(self, traffic: Iterable[TrafficDelta], http: HttpDelta | None) -> None:
        now = int(time.time())
        for delta in traffic:
            identity = (
                delta.team,
                delta.environment,
                delta.endpoint,
                delta.revision_id,
                delta.model_name,
                delta.model_version,
            )
            self.revisions.setdefault(identity, History()).add(delta, now)
        if http is not None:
            for method, route, status, count in http.counts:
                key = (method, route, status)
                self.http_counts[key] = self.http_counts.get(key, 0) + count
            for route, latencies in http.latencies.items():
                add_counts(self.http_latencies.setdefault(route, {}), latencies)
            for route, microseconds in http.microseconds.items():
                self.http_microseconds[route] = self.http_microseconds.get(route, 0) + microseconds

    def note(self, status: WorkerStatus) -> None:
        """Takes over what a worker counts since it started; another process in its place counts anew."""
        pid, before = self._reported.get(status.worker, (status.pid, {}))
        if pid != status.pid:
            before = {}
        now = {
            r.revision_id: Loads(r.loads, r.load_failures, r.evictions, dict(r.restarts))
            for r in status.revisions
        }
        for revision_id, counts in now.items():
            total = self.loads.setdefault(revision_id, Loads())
            total.add(counts)
            if revision_id in before:
                total.add(before[revision_id], -1)
        self._reported[status.worker] = status.pid, now

    def forget(self, identities: set[tuple[str, str, str, str]]) -> None:
        """Drops what no window reaches any more, and revisions that are unknown and have been quiet for a day."""
        now = time.time()
        for identity, history in list(self.revisions.items()):
            history.drop(now)
            if identity[:4] not in identities and not history.tiers[-1]:
                del self.revisions[identity]
        known = {revision_id for *_, revision_id in identities}
        self.loads = {rid: loads for rid, loads in self.loads.items() if rid in known}

    def window(self, identity: Identity, seconds: float) -> Sums:
        """What a revision did within the trailing window, by the finest slots that reach back so far."""
        oldest = time.time() - seconds
        total = Sums()
        for sums in reversed(self.revisions[identity].slots(seconds)):
            if sums.at < oldest:
                break
            total.add(sums)
        return total

    def metrics(self, window: float) -> InferenceMetrics:
        covered = min(window, max(time.time() - self.started, 0.001))
        revisions = []
        for identity in self.revisions:
            sums = self.window(identity, window)
            team, environment, endpoint, revision_id, model_name, model_version = identity
            p50, p95, p99 = (percentile(sums.latencies, q) for q in (0.5, 0.95, 0.99))
            revisions.append(
                RevisionMetrics(
                    team=team,
                    environment=environment,
                    endpoint=endpoint,
                    revision_id=revision_id,
                    model_name=model_name,
                    model_version=model_version,
                    requests=sums.requests,
                    predictions=sums.predictions,
                    errors=sums.errors,
                    client_errors=sums.client_errors,
                    error_rate=sums.errors / sums.requests if sums.requests else 0.0,
                    requests_per_second=sums.requests / covered,
                    latency_ms_p50=p50,
                    latency_ms_p95=p95,
                    latency_ms_p99=p99,
                    compared=sums.compared,
                    different=sums.different,
                    mean_distance=sums.distance / sums.compared if sums.compared else None,
                    skipped=sums.skipped,
                )
            )
        return InferenceMetrics(window_seconds=window, covered_seconds=covered, revisions=tuple(revisions))


def percentile(latencies: dict[int, int], quantile: float) -> float | None:
    """The quantile in milliseconds: the middle of the bucket in which it lies; None without data."""
    total = sum(latencies.values())
    if total == 0:
        return None
    rank, seen = quantile * total, 0
    for bucket in sorted(latencies):
        seen += latencies[bucket]
        if seen >= rank:
            low, high = bucket_bounds(bucket)
            return (low + high) / 2000
    raise AssertionError("unreachable: the ranks end at the total")


def add_counts(into: dict[int, int], more: dict[int, int]) -> None:
    for bucket, count in more.items():
        into[bucket] = into.get(bucket, 0) + count


def _slot(slots: deque[Sums], at: int) -> Sums:
    if not slots or slots[-1].at != at:
        if slots:
            slots[-1].pack()
        slots.append(Sums(at=at))
    return slots[-1]

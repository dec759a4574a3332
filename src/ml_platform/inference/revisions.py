"""Brings a worker from what it serves to what the snapshot wants, without letting go of what works."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

import msgspec

from ml_platform.contracts.bundles import BundleError, BundleManifest, Param
from ml_platform.contracts.featurepolicy import FeaturePolicy, check_policy
from ml_platform.contracts.serving import (
    FeatureStore,
    RevisionState,
    RevisionStatus,
    ServingEndpoint,
    ServingRevision,
    Snapshot,
)
from ml_platform.inference import routing
from ml_platform.inference.decoding import InputColumn, InputDecoder
from ml_platform.inference.features_api import OpenOnlineFeatures
from ml_platform.inference.featurestores.gate import StoreGates
from ml_platform.inference.featurestores.lastknown import LastKnown
from ml_platform.inference.live import LiveRevision, log_header
from ml_platform.inference.lookups import FeatureLookups
from ml_platform.inference.params import Params
from ml_platform.inference.predictionlog.writer import PredictionLog
from ml_platform.inference.residency import FIRST_RETRY, LAST_RETRY, Residence, Residency
from ml_platform.inference.runtimes.loading import RuntimeLoader
from ml_platform.inference.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A revision as desired; equal ones need no second load."""

    address: routing.Address
    revision_id: str
    digest: str
    uri: str
    store: FeatureStore | None
    policy: FeaturePolicy | None


@dataclass(slots=True, eq=False)
class _Entry:
    """A wanted revision on its way from its bundle to traffic.

    `after` is the number of loads that must have succeeded before traffic may reach it: none for one that
    is loaded by its first request. `pending` until it was tried once.
    """

    wanted: _Wanted
    endpoint: ServingEndpoint
    spec: ServingRevision
    after: int
    fresh: bool
    live: LiveRevision | None = None
    model: Residence | None = None
    task: asyncio.Task[None] | None = None
    pending: bool = True
    reason: str | None = None

    @property
    def available(self) -> bool:
        return self.model is not None and self.model.loads >= self.after

    @property
    def state(self) -> RevisionState:
        if self.model is None:
            return "failed" if self.reason is not None else "loading"
        if self.model.state == "idle" and not self.available:
            return "loading"
        return self.model.state


class RevisionManager:
    """Prepares and retires revisions, and keeps `table` up to date. Runs on the event loop.

    Which models are loaded ahead of their first request: in a snapshot that is the first, all of them when
    they are few enough (`load`), else those of endpoints that have several revisions, and each only while
    there is room. What arrives later is being rolled out: it is loaded whatever must go for it, and no
    traffic reaches it before. The same holds for one that is to take traffic again.

    Args:
        changed: called whenever the status has changed.
    """

    def __init__(
        self,
        settings: Settings,
        loader: RuntimeLoader,
        log: PredictionLog,
        open_features: OpenOnlineFeatures,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._loader = loader
        self._log = log
        self._open_features = open_features
        self._changed = changed
        self.gates = StoreGates()
        self._known = LastKnown(settings.features_memory_bytes, settings.features_memory_entities)
        self.residency = Residency(settings, loader, self._noticed)
        self._snapshot: Snapshot | None = None
        self._entries: dict[str, _Entry] = {}
        self._decoders: WeakValueDictionary[
            tuple[tuple[InputColumn, ...], tuple[Param, ...]], InputDecoder
        ] = WeakValueDictionary()
        self._routed: tuple[dict[str, LiveRevision], dict[str, str]] = ({}, {})
        self._live: list[LiveRevision] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()
        self._settled.set()
        self.table = routing.EMPTY

    @property
    def version(self) -> int:
        return self.table.version

    @property
    def live(self) -> list[LiveRevision]:
        return list(self._live)

    def apply(self, snapshot: Snapshot) -> None:
        """Makes a snapshot the desired state: keys and weights at once, new revisions once they are loaded."""
        first, weights = self._snapshot is None, _weights(self._snapshot)
        self._snapshot = snapshot
        known, self._entries = self._entries, {}
        eager = self._is_eager(snapshot)
        for endpoint in snapshot.endpoints:
            for spec in endpoint.revisions:
                wanted = _wanted(snapshot, endpoint, spec)
                entry = known.get(spec.revision_id)
                if entry is None or _differs(entry, wanted):
                    ahead = not first or eager or len(endpoint.revisions) > 1
                    entry = _Entry(wanted, endpoint, spec, after=int(ahead), fresh=not first)
                    entry.task = asyncio.get_running_loop().create_task(self._bring(entry))
                elif spec.weight > 0 and not weights.get(spec.revision_id):
                    self._warm(entry)
                self._entries[spec.revision_id] = entry
                entry.endpoint, entry.spec = endpoint, spec
                if entry.live is not None:
                    entry.live.spec = spec  # what was tried as a candidate may be a shadow now
        for entry in known.values():
            if self._entries.get(entry.wanted.revision_id) is not entry and entry.task is not None:
                entry.task.cancel()
        self._watch()
        self._rebuild()

    def feature_store(self, team: str, environment: str) -> FeatureStore | None:
        """The online store of a team in an environment."""
        if self._snapshot is None:
            return None
        stores = {s.environment: s for s in self._snapshot.feature_stores if s.team == team}
        return stores.get(environment) or stores.get(None)

    def status(self) -> tuple[RevisionStatus, ...]:
        serving = self.table.serving
        return tuple(_status(entry, rid in serving) for rid, entry in self._entries.items())

    async def settled(self, seconds: float) -> None:
        """Waits until every revision has been tried once, or the time is up."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), seconds)

    async def close(self) -> None:
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._closing, return_exceptions=True)
        self.residency.stop()
        await asyncio.gather(*(live.close() for live in self.live), return_exceptions=True)
        self.gates.stop()
        self._loader.close()

    def _is_eager(self, snapshot: Snapshot) -> bool:
        mode = self._settings.load
        if mode != "auto":
            return mode == "eager"
        return sum(len(e.revisions) for e in snapshot.endpoints) <= self._settings.eager_models

    def _warm(self, entry: _Entry) -> None:
        """Loads a revision that is to take traffic again before it does, if its model was let go of."""
        model = entry.model
        if model is None or model.live.batcher is not None:
            return
        if entry.task is not None:
            model.urgent = True
            return
        entry.after = model.loads + 1
        entry.task = asyncio.get_running_loop().create_task(self._load_ahead(entry, model, urgent=True))

    def _watch(self) -> None:
        """Marks what a rollout is looking at: splits, and what has arrived and had no traffic yet."""
        for entry in self._entries.values():
            weighted = sum(revision.weight > 0 for revision in entry.endpoint.revisions)
            if entry.spec.weight > 0:
                entry.fresh = False
            if entry.model is not None:
                entry.model.watched = entry.fresh or (weighted > 1 and entry.spec.weight > 0)

    async def _bring(self, entry: _Entry) -> None:
        """Prepares until it succeeds: storage, or a store of features, may come back."""
        pause = FIRST_RETRY
        while entry.model is None:
            try:
                entry.live, entry.model = await self._prepare(entry)
            except Exception as error:
                # A bundle is foreign matter: whatever it does to a reader is a reason to report.
                expected = isinstance(error, BundleError)
                entry.reason = (str(error) if expected else f"{type(error).__name__}: {error}")[:2000]
                level = logging.WARNING if expected else logging.ERROR
                name = entry.wanted.revision_id
                _log.log(
                    level, "revision %s cannot be prepared: %s", name, entry.reason, exc_info=not expected
                )
                entry.pending = False
                self._rebuild()
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_RETRY)
        entry.reason = None
        self._watch()
        if entry.after:
            await self._load_ahead(entry, entry.model, urgent=entry.fresh)
        else:
            self._ended(entry)

    async def _load_ahead(self, entry: _Entry, model: Residence, *, urgent: bool) -> None:
        """Loads before there are requests; what fails is tried again by itself, what has no room may wait."""
        await self.residency.load(model, urgent=urgent)
        while urgent and model.state == "idle" and not entry.available:
            await asyncio.sleep(FIRST_RETRY)  # all others were answering for so long that none could go
            await self.residency.load(model, urgent=urgent)
        if model.state == "idle":
            entry.after = min(entry.after, model.loads)
        self._ended(entry)

    def _ended(self, entry: _Entry) -> None:
        entry.task = None
        entry.pending = False
        self._rebuild()

    async def _prepare(self, entry: _Entry) -> tuple[LiveRevision, Residence]:
        wanted = entry.wanted
        prepared = await self._loader.prepare(wanted.uri, wanted.digest)
        manifest = prepared.manifest
        live = LiveRevision(
            endpoint=entry.endpoint,
            spec=entry.spec,
            manifest=manifest,
            decoder=self._decoder(prepared.columns, manifest),
            lookups=await self._features(wanted, manifest, prepared.columns),
            log=self._log.revision(log_header(entry.endpoint, entry.spec, manifest)),
        )
        self._live.append(live)
        return live, self.residency.add(live, wanted.uri, prepared)

    def _decoder(self, columns: tuple[InputColumn, ...], manifest: BundleManifest) -> InputDecoder:
        """One for all that take the same columns, as versions of a model do: it is small, and stays in cache."""
        declared, features = manifest.signature.params or (), manifest.features
        found = self._decoders.get((columns, declared)) if features is None else None
        if found is None:
            params = Params(declared) if declared else None
            found = InputDecoder(columns, features, self._settings.max_rows, params)
            if features is None:
                self._decoders[columns, declared] = found
        return found

    async def _features(
        self, wanted: _Wanted, manifest: BundleManifest, columns: tuple[InputColumn, ...]
    ) -> FeatureLookups | None:
        policy = wanted.policy or self._settings.default_feature_policy() or FeaturePolicy()
        if manifest.features is None:
            if wanted.policy is not None:
                raise BundleError("features: the model declares no features, and there is a policy for them")
            return None
        if wanted.store is None:
            raise BundleError("features: the team has no online feature store in this environment")
        try:
            check_policy(policy, manifest.signature.inputs, manifest.features)
        except ValueError as error:
            raise BundleError(str(error)) from error
        lookups = FeatureLookups(
            wanted.store,
            manifest.features,
            columns,
            self._open_features,
            self.gates.of(wanted.store),
            self._known,
            policy,
            manifest.signature,
        )
        try:
            await lookups.prepare()
        except ValueError as error:
            raise BundleError(f"features: {error}") from error
        return lookups

    def _noticed(self) -> None:
        """A model was loaded, let go of, or failed: mostly nothing that concerns where requests go."""
        if self._routable() == self._routed:
            self._changed()
        else:
            self._rebuild()

    def _routable(self) -> tuple[dict[str, LiveRevision], dict[str, str]]:
        live = {rid: e.live for rid, e in self._entries.items() if e.live is not None and e.available}
        reasons = {
            rid: reason
            for rid, entry in self._entries.items()
            if (reason := entry.reason or (entry.model and entry.model.reason))
        }
        return live, reasons

    def _rebuild(self) -> None:
        assert self._snapshot is not None
        self._routed = live, reasons = self._routable()
        self.table = routing.build_table(self._snapshot, live, reasons, self.table)
        self._retire()
        if any(entry.pending for entry in self._entries.values()):
            self._settled.clear()
        else:
            self._settled.set()
        self._changed()

    def _retire(self) -> None:
        """Closes what is neither wanted nor still answering, once its last request has ended."""
        answering = {id(arm) for route in self.table.routes.values() for arm in route.arms}
        current = {id(entry.live) for entry in self._entries.values()}
        for live in self.live:
            if id(live) not in current and id(live) not in answering:
                self._live.remove(live)
                task = asyncio.get_running_loop().create_task(live.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)


def _wanted(snapshot: Snapshot, endpoint: ServingEndpoint, revision: ServingRevision) -> _Wanted:
    address = (endpoint.team, endpoint.environment, endpoint.name)
    stores = {s.environment: s for s in snapshot.feature_stores if s.team == endpoint.team}
    store = stores.get(endpoint.environment) or stores.get(None)
    return _Wanted(
        address,
        revision.revision_id,
        revision.bundle_digest,
        revision.bundle_uri,
        store,
        revision.features,
    )


def _differs(entry: _Entry, wanted: _Wanted) -> bool:
    """Whether a revision has to be prepared anew.

    Of its team's store only the feature views that it reads concern it, and those only while they are there:
    one that was deleted is missed by requests that ask for its values, and by no others.
    """
    if entry.live is None or entry.wanted.store is None or wanted.store is None:
        return entry.wanted != wanted
    features = entry.live.manifest.features
    reads = {reference.partition(":")[0] for reference in features.columns.values()} if features else set()
    now = {view.name: view for view in wanted.store.views if view.name in reads}
    before = {view.name: view for view in entry.wanted.store.views if view.name in now}
    return before != now or _without_views(entry.wanted) != _without_views(wanted)


def _without_views(wanted: _Wanted) -> _Wanted:
    return replace(wanted, store=msgspec.structs.replace(wanted.store, views=()) if wanted.store else None)


def _weights(snapshot: Snapshot | None) -> Mapping[str, float]:
    endpoints = snapshot.endpoints if snapshot is not None else ()
    return {revision.revision_id: revision.weight for e in endpoints for revision in e.revisions}


def _status(entry: _Entry, serving: bool) -> RevisionStatus:
    model = entry.model
    if model is None:
        return RevisionStatus(
            revision_id=entry.wanted.revision_id, state=entry.state, reason=entry.reason, serving=serving
        )
    return RevisionStatus(
        revision_id=entry.wanted.revision_id,
        state=entry.state,
        reason=model.reason,
        load_seconds=model.seconds,
        serving=serving,
        memory_bytes=model.memory if model.live.batcher is not None else 0,
        loads=model.loads,
        load_failures=model.failures,
        evictions=model.evictions,
        restarts=dict(model.health.restarts),
        breaker=model.health.breaker if model.live.batcher is not None else "closed",
    )

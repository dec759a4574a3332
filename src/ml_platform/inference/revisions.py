"""Brings a worker from what it serves to what the snapshot wants, without letting go of what works."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ml_platform.contracts.bundles import BundleError, BundleManifest
from ml_platform.contracts.serving import (
    FeatureStore,
    RevisionState,
    RevisionStatus,
    ServingEndpoint,
    ServingRevision,
    Snapshot,
)
from ml_platform.inference import routing
from ml_platform.inference.batching import Batcher
from ml_platform.inference.decoding import InputDecoder
from ml_platform.inference.features_api import OpenOnlineFeatures
from ml_platform.inference.live import LiveRevision, log_header
from ml_platform.inference.lookups import FeatureLookups
from ml_platform.inference.predictionlog.writer import PredictionLog
from ml_platform.inference.runtimes.base import Runtime
from ml_platform.inference.runtimes.loading import RuntimeLoader
from ml_platform.inference.settings import Settings

_log = logging.getLogger(__name__)
_FIRST_RETRY = 2.0
_LAST_RETRY = 60.0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A revision as desired; equal ones need no second load."""

    address: routing.Address
    revision_id: str
    digest: str
    uri: str
    store: FeatureStore | None


@dataclass(slots=True)
class _Progress:
    state: RevisionState
    reason: str | None = None
    seconds: float | None = None


class RevisionManager:
    """Loads and retires revisions, and keeps `table` up to date. Runs on the event loop.

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
        self._lookups = ThreadPoolExecutor(2, thread_name_prefix="features")
        self._snapshot: Snapshot | None = None
        self._wanted: dict[str, _Wanted] = {}
        self._live: dict[_Wanted, LiveRevision] = {}
        self._progress: dict[_Wanted, _Progress] = {}
        self._loads: dict[_Wanted, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()
        self._settled.set()
        self.table = routing.EMPTY

    @property
    def version(self) -> int:
        return self.table.version

    @property
    def live(self) -> list[LiveRevision]:
        return list(self._live.values())

    def apply(self, snapshot: Snapshot) -> None:
        """Makes a snapshot the desired state: keys and weights at once, new revisions once they are loaded."""
        self._snapshot = snapshot
        pairs = [(endpoint, revision) for endpoint in snapshot.endpoints for revision in endpoint.revisions]
        self._wanted = {r.revision_id: _wanted(snapshot, e, r) for e, r in pairs}
        current = set(self._wanted.values())
        for wanted in [w for w in self._loads if w not in current]:
            self._loads.pop(wanted).cancel()
        self._progress = {w: p for w, p in self._progress.items() if w in current}
        for endpoint, revision in pairs:
            wanted = self._wanted[revision.revision_id]
            if wanted not in self._live and wanted not in self._loads:
                self._progress[wanted] = _Progress("loading")
                task = asyncio.get_running_loop().create_task(self._load(wanted, endpoint, revision))
                self._loads[wanted] = task
        self._rebuild()

    def status(self) -> tuple[RevisionStatus, ...]:
        serving = self.table.serving
        return tuple(
            RevisionStatus(
                revision_id=revision_id,
                state=self._progress[wanted].state,
                reason=self._progress[wanted].reason,
                load_seconds=self._progress[wanted].seconds,
                serving=revision_id in serving,
            )
            for revision_id, wanted in self._wanted.items()
        )

    async def settled(self, seconds: float) -> None:
        """Waits until every revision has been tried once, or the time is up."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), seconds)

    async def close(self) -> None:
        for task in self._loads.values():
            task.cancel()
        await asyncio.gather(*self._loads.values(), *self._closing, return_exceptions=True)
        await asyncio.gather(*(live.close() for live in self.live), return_exceptions=True)
        self._lookups.shutdown(wait=False, cancel_futures=True)
        self._loader.close()

    async def _load(self, wanted: _Wanted, endpoint: ServingEndpoint, revision: ServingRevision) -> None:
        """Tries until it succeeds; storage, the index of packages or a store may come back."""
        pause = _FIRST_RETRY
        while True:
            try:
                live = await self._attempt(wanted, endpoint, revision)
            except Exception as error:
                # A bundle is foreign matter: whatever it does to a loader is a reason to report.
                expected = isinstance(error, BundleError)
                reason = str(error) if expected else f"{type(error).__name__}: {error}"
                _log.log(
                    logging.WARNING if expected else logging.ERROR,
                    "revision %s cannot be loaded: %s",
                    wanted.revision_id,
                    reason,
                    exc_info=not expected,
                )
                self._progress[wanted] = _Progress("failed", reason[:2000])
                self._rebuild()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LAST_RETRY)
            else:
                self._live[wanted] = live
                self._progress[wanted] = _Progress("ready", seconds=live.load_seconds)
                self._loads.pop(wanted, None)
                self._rebuild()
                return

    async def _attempt(
        self, wanted: _Wanted, endpoint: ServingEndpoint, revision: ServingRevision
    ) -> LiveRevision:
        started = time.perf_counter()
        runtime, manifest = await self._loader.load(wanted.uri, wanted.digest)
        try:
            lookups = await self._features(wanted.store, manifest, runtime)
        except BaseException:
            await runtime.close()
            raise
        settings = self._settings
        return LiveRevision(
            endpoint=endpoint,
            spec=revision,
            manifest=manifest,
            decoder=InputDecoder(runtime.columns, manifest.features, settings.max_rows),
            batcher=Batcher(
                runtime,
                max_queued_rows=settings.max_queued_rows,
                max_batch_rows=settings.max_batch_rows,
                timeout=settings.request_timeout,
            ),
            lookups=lookups,
            log=self._log.revision(log_header(endpoint, revision, manifest)),
            load_seconds=time.perf_counter() - started,
        )

    async def _features(
        self, store: FeatureStore | None, manifest: BundleManifest, runtime: Runtime
    ) -> FeatureLookups | None:
        if manifest.features is None:
            return None
        if store is None:
            raise BundleError("features: the team has no online feature store in this environment")
        lookups = FeatureLookups(
            store, manifest.features, runtime.columns, self._open_features, self._lookups
        )
        try:
            await lookups.prepare()
        except ValueError as error:
            raise BundleError(f"features: {error}") from error
        return lookups

    def _rebuild(self) -> None:
        assert self._snapshot is not None
        live = {rid: self._live[wanted] for rid, wanted in self._wanted.items() if wanted in self._live}
        reasons = {
            rid: reason
            for rid, wanted in self._wanted.items()
            if (reason := self._progress[wanted].reason) is not None
        }
        self.table = routing.build_table(self._snapshot, live, reasons, self.table)
        self._retire()
        if any(progress.state == "loading" for progress in self._progress.values()):
            self._settled.clear()
        else:
            self._settled.set()
        self._changed()

    def _retire(self) -> None:
        """Closes what is neither wanted nor still answering, once its last request has ended."""
        answering = {id(arm) for route in self.table.routes.values() for arm in route.arms}
        current = set(self._wanted.values())
        for wanted, live in list(self._live.items()):
            if wanted not in current and id(live) not in answering:
                del self._live[wanted]
                task = asyncio.get_running_loop().create_task(live.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)


def _wanted(snapshot: Snapshot, endpoint: ServingEndpoint, revision: ServingRevision) -> _Wanted:
    address = (endpoint.team, endpoint.environment, endpoint.name)
    stores = {s.environment: s for s in snapshot.feature_stores if s.team == endpoint.team}
    store = stores.get(endpoint.environment) or stores.get(None)
    return _Wanted(address, revision.revision_id, revision.bundle_digest, revision.bundle_uri, store)

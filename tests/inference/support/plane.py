"""One worker's data plane in this process, without HTTP around it."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ml_platform.contracts.serving import RevisionStatus, ServingEndpoint, ServingRevision, Snapshot
from ml_platform.inference.bundlestore import BundleStore
from ml_platform.inference.dataplane import Call, DataPlane
from ml_platform.inference.features import open_online_features
from ml_platform.inference.limits import Limits
from ml_platform.inference.predictionlog.writer import PredictionLog
from ml_platform.inference.residency import Residence
from ml_platform.inference.revisions import RevisionManager
from ml_platform.inference.runtimes.loading import RuntimeLoader
from ml_platform.inference.settings import Settings

from .control import revision, snapshot


class Plane:
    """`ask` is a request as a protocol makes it; `apply` is what a worker does with a new snapshot."""

    def __init__(self, state: Path, root: Path, **options: Any) -> None:
        # An isolated model starts slowly on a busy machine.
        options = {"cold_wait": 60.0, "pyfunc_nice": 0, **options}
        self.settings = Settings(
            state_dir=str(state), storage_roots=str(root), anonymous=True, workers=1, **options
        )
        log = PredictionLog(
            self.settings.spool,
            roll_seconds=3600,
            roll_bytes=2**30,
            spool_bytes=2**30,
            buffer_bytes=2**20,
        )
        loader = RuntimeLoader(self.settings, BundleStore(self.settings.bundle_cache, self.settings.roots))
        self.manager = RevisionManager(self.settings, loader, log, open_online_features, lambda: None)
        limits = Limits(self.settings.state / "limits.cells", 0, 1)
        self.plane = DataPlane(self.settings, self.manager, limits)

    async def apply(self, *endpoints: ServingEndpoint, settle: bool = True) -> Snapshot:
        wanted = snapshot(self.manager.version + 1, *endpoints)
        self.manager.apply(wanted)
        if settle:
            await self.manager.settled(60)
        return wanted

    async def ask(self, name: str, value: float = 1.0) -> Any:
        return (await self.ask_for(name, value))[0]

    async def ask_for(self, name: str, value: Any = 1.0) -> tuple[Any, str]:
        """The prediction, and the revision that gave it."""
        plane = self.plane
        key = plane.authorise(None, "predict")
        route = plane.route(key, None, "production", name)
        call = Call(plane.new_request_id(), time.perf_counter_ns())
        live = plane.choose(key, route, {}, b"", lambda *_: None)
        call.revision = live
        instance = value if isinstance(value, list) else [value]
        decoded = live.decoder.decode(json.dumps({"instances": [instance]}).encode())
        return (await plane.predict(call, decoded))[0], live.spec.revision_id

    def status(self, revision_id: str) -> RevisionStatus:
        return next(status for status in self.manager.status() if status.revision_id == revision_id)

    def states(self) -> dict[str, str]:
        return {status.revision_id: status.state for status in self.manager.status()}

    def model(self, revision_id: str) -> Residence:
        live = next(live for live in self.manager.live if live.spec.revision_id == revision_id)
        assert isinstance(live.residence, Residence)
        return live.residence


@contextlib.asynccontextmanager
async def running(state: Path, root: Path, **options: Any) -> AsyncIterator[Plane]:
    plane = Plane(state, root, **options)
    try:
        yield plane
    finally:
        await plane.manager.close()


async def until(check: Any, what: str, seconds: float = 60) -> None:
    """Lets the loop go on until the check gives something true."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.005)


def only(bundle: Any, name: str) -> ServingRevision:
    return revision(bundle, f"rev-{name}")

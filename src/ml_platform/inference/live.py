"""A revision that can answer: everything that it takes, but for its model all the time in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ml_platform.contracts.bundles import BundleManifest
from ml_platform.contracts.serving import ServingEndpoint, ServingRevision
from ml_platform.inference.batching import Batcher
from ml_platform.inference.decoding import InputDecoder
from ml_platform.inference.lookups import FeatureLookups
from ml_platform.inference.predictionlog.spool import SegmentHeader
from ml_platform.inference.predictionlog.writer import RevisionLog
from ml_platform.inference.traffic import Tally

Made = TypeVar("Made")


class Residence(Protocol):
    """How a revision's model comes into memory and leaves it (`residency`)."""

    async def ready(self) -> Batcher:
        """The queue of the loaded model; loads it first when it must, and raises Unavailable if it cannot."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class LiveRevision:
    """Made once when a revision's bundle has arrived and been read.

    `batcher` is None while the model is not in memory; `residence` then brings it there. `used` is when a
    request last came for it, in nanoseconds of the performance counter.
    `headers` are the response headers that name the revision; `in_flight` counts the predictions that are
    under way, for which a retired revision waits before it lets go of its model.
    """

    endpoint: ServingEndpoint
    spec: ServingRevision
    manifest: BundleManifest
    decoder: InputDecoder
    lookups: FeatureLookups | None
    log: RevisionLog
    batcher: Batcher | None = None
    residence: Residence = field(init=False)
    used: int = 0
    tally: Tally = field(default_factory=Tally)
    headers: tuple[tuple[bytes, bytes], ...] = field(init=False)
    in_flight: int = 0
    released: asyncio.Event | None = None
    _made: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.headers = (
            (b"mlops-revision", self.spec.revision_id.encode()),
            (b"mlops-model-version", self.spec.model_version.encode()),
        )

    def once(self, make: Callable[[LiveRevision], Made]) -> Made:
        """What a protocol compiles from the signature: made when it is first asked for, then kept."""
        made: Made | None = self._made.get(make)
        if made is None:
            made = self._made[make] = make(self)
        return made

    def leave(self) -> None:
        """Ends one of the predictions that `in_flight` counts."""
        self.in_flight -= 1
        if self.released is not None and not self.in_flight:
            self.released.set()

    async def close(self) -> None:
        """Lets what is running end, then releases the model and its features."""
        if self.in_flight:
            self.released = asyncio.Event()
            await self.released.wait()
        await self.residence.close()
        if self.lookups is not None:
            await self.lookups.close()


def log_header(
    endpoint: ServingEndpoint, revision: ServingRevision, manifest: BundleManifest
) -> SegmentHeader:
    return SegmentHeader(
        team=endpoint.team,
        environment=endpoint.environment,
        endpoint=endpoint.name,
        deployment_id=endpoint.deployment_id,
        revision_id=revision.revision_id,
        model_name=revision.model_name,
        model_version=revision.model_version,
        columns=tuple((column.name, column.type) for column in manifest.signature.inputs),
    )

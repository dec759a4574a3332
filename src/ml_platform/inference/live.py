"""A revision that is loaded: everything that answering with it takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ml_platform.contracts.bundles import BundleManifest
from ml_platform.contracts.serving import ServingEndpoint, ServingRevision
from ml_platform.inference.batching import Batcher
from ml_platform.inference.decoding import InputDecoder
from ml_platform.inference.lookups import FeatureLookups
from ml_platform.inference.predictionlog.spool import SegmentHeader
from ml_platform.inference.predictionlog.writer import RevisionLog
from ml_platform.inference.traffic import Tally


@dataclass(slots=True, eq=False)
class LiveRevision:
    """Made once when a revision is loaded; only `tally` and `headers` change or are derived.

    `headers` are the response headers that name the revision.
    """

    endpoint: ServingEndpoint
    spec: ServingRevision
    manifest: BundleManifest
    decoder: InputDecoder
    batcher: Batcher
    lookups: FeatureLookups | None
    log: RevisionLog
    load_seconds: float
    tally: Tally = field(default_factory=Tally)
    headers: tuple[tuple[bytes, bytes], ...] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = (
            (b"mlops-revision", self.spec.revision_id.encode()),
            (b"mlops-model-version", self.spec.model_version.encode()),
        )

    async def close(self) -> None:
        """Lets what is running end, then releases the model and its features."""
        await self.batcher.close()
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

"""What the stages work with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_platform.kit.clock import Clock, utc_now
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.deployments.interfaces import (
    DeployableVersion,
    FeatureLookups,
    InferencePlane,
    ModelCatalogue,
    ModelSignatures,
    ModelTools,
    Notifier,
    PredictionComparison,
    SupplyChain,
    TeamQuotas,
)
from ml_platform.services.deployments.settings import Prices, RolloutSettings
from ml_platform.services.deployments.smoke_keys import SmokeKeys
from ml_platform.services.governance import PersonalDataCheck, RoleDirectory


@dataclass
class RolloutParts:
    """The adapters and settings of rollouts, as composed.

    `features` is None while no feature store is connected; a model that declares a view is then stopped.
    Bundles are made below `work`, a directory of this machine, and kept in `storage`.
    `quotas` is None where nobody sets any.
    `personal_data` is None where nobody looks at what models are trained on.
    `comparison` is None where no prediction log is kept; canaries are then judged by traffic alone.
    """

    factory: WorkFactory
    catalogue: ModelCatalogue
    tools: ModelTools
    plane: InferencePlane
    notifier: Notifier
    roles: RoleDirectory
    smoke_keys: SmokeKeys
    supply_chain: SupplyChain
    signatures: ModelSignatures
    storage: ObjectStorage
    work: Path
    inference_url: Callable[[], str]
    features: FeatureLookups | None = None
    comparison: PredictionComparison | None = None
    quotas: TeamQuotas | None = None
    personal_data: PersonalDataCheck | None = None
    settings: RolloutSettings = field(default_factory=RolloutSettings)
    prices: Prices = field(default_factory=Prices)
    clock: Clock = utc_now


@dataclass(frozen=True)
class StageContext:
    """One rollout as a stage sees it: plain facts, read before; no transaction is open."""

    parts: RolloutParts
    rollout_id: str
    team_id: str
    team_name: str
    deployment_id: str
    deployment_name: str
    revision_id: str
    model_name: str
    model_version: int
    environment: str
    config: dict[str, Any]
    evidence: dict[str, Any]
    artifact_digest: str | None
    serving: tuple[str, ...]
    """The model versions that serve now, written `name/version`."""

    @property
    def actor(self) -> Actor:
        return Actor.system("rollout", team_id=self.team_id, team_name=self.team_name)

    def resolve(self, model_id: str | None = None) -> DeployableVersion:
        """A version of the catalogue; by default the one that is rolled out."""
        wanted = model_id or f"{self.model_name}/{self.model_version}"
        with self.parts.factory.begin(self.actor, write=False) as work:
            return self.parts.catalogue.resolve(work, wanted)

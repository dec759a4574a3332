"""What is asked about before anything is tried, by the stage `validate` and by a plan alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_platform.contracts.deployments import Environment, RolloutPurpose
from ml_platform.contracts.governance import RiskLevel
from ml_platform.services.deployments.interfaces import DeployableVersion
from ml_platform.services.deployments.sizes import Size


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version on its way to an endpoint.

    `risk` is None while nobody has answered it, `rollout_id` while it is only planned.
    """

    version: DeployableVersion
    environment: Environment
    endpoint: str
    risk: RiskLevel | None
    size: Size
    purpose: RolloutPurpose = RolloutPurpose.TRAFFIC
    rollout_id: str | None = None

    @property
    def production(self) -> bool:
        return self.environment is Environment.PRODUCTION


@dataclass(frozen=True, slots=True)
class Finding:
    """What a gate saw, and why it stops the candidate, if it does."""

    evidence: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None

"""How large what runs is: copies, and what each of them may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_platform.contracts.deployments import DeployRequest, ReplicaResources


@dataclass(frozen=True, slots=True)
class Size:
    """`most` is how many copies there may be under load; None is as far as the cluster goes."""

    replicas: int
    most: int | None
    resources: ReplicaResources

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Size":
        """As the configuration of a rollout or of a revision says."""
        replicas = int(config.get("replicas") or 1)
        most = config.get("max_replicas") if config.get("auto_scale") else replicas
        return cls(replicas, most, ReplicaResources.model_validate(config.get("resources") or {}))

    @classmethod
    def asked(cls, body: DeployRequest) -> "Size":
        return cls(body.replicas, body.max_replicas if body.auto_scale else body.replicas, body.resources)

    @property
    def reserved(self) -> int:
        """The copies that a quota counts: as many as there may be, where that is known."""
        return max(self.replicas, self.most or 0)

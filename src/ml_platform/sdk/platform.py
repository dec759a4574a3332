"""The SDK's entry point."""

from types import TracebackType
from typing import Any, Self

import httpx

from ml_platform.sdk.config import Connection, resolve
from ml_platform.sdk.data import Data
from ml_platform.sdk.deployments import Approvals, Deployment, Deployments
from ml_platform.sdk.experiments import Experiment, Experiments
from ml_platform.sdk.features import Features
from ml_platform.sdk.identity import Audit, Identity
from ml_platform.sdk.jobs import Jobs
from ml_platform.sdk.models import Model, Models
from ml_platform.sdk.transport import Transport


class Platform:
    """A connection to the platform.

    Args:
        url: its address; default `MLOPS_API_URL`, else the profile that `mlops up` or `mlops login` wrote.
        key: an API key; default `MLOPS_API_KEY`, else the profile's.
        team: the team to work in; default `MLOPS_TEAM`, else the key's own.

    Raises:
        NotConfiguredError: no address or no key is known.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        team: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = Transport(resolve(url, key, team), transport=transport)
        self.identity = Identity(self._transport)
        self.audit = Audit(self._transport)
        self.data = Data(self._transport)
        self.features = Features(self._transport)
        self.experiments = Experiments(self._transport)
        self.jobs = Jobs(self._transport)
        self.models = Models(self._transport)
        self.deployments = Deployments(self._transport)
        self.approvals = Approvals(self._transport)

    @property
    def connection(self) -> Connection:
        """Where it is, and with which key and team."""
        return self._transport.connection

    def __repr__(self) -> str:
        connection = self._transport.connection
        return f"Platform(url={connection.url!r}, team={connection.team!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def create_experiment(self, name: str, description: str | None = None) -> Experiment:
        """Makes an experiment; a name that the team has already is a ConflictError."""
        return self.experiments.create(name, description)

    def get_experiment(self, id_or_name: str) -> Experiment:
        return self.experiments.get(id_or_name)

    def deploy_model(
        self,
        model_id: str,
        environment: str = "staging",
        scaling_policy: str | None = None,
        replicas: int = 1,
        **options: Any,
    ) -> Deployment:
        """Starts deploying a registered model and returns at once.

        Args:
            model_id: `name` (its newest version), `name/version` or `name@alias`.
            environment: `dev`, `staging` or `production`.
            scaling_policy: `auto` or `manual`.
            replicas: how many copies serve.
            **options: as the REST API names them, e.g. `justification`, `canary`, `name`.
        """
        return self.deployments.deploy(
            model_id, environment=environment, scaling_policy=scaling_policy, replicas=replicas, **options
        )

    def deploy(self, model: Model | str, environment: str = "staging", **options: Any) -> Deployment:
        """Deploys a model and waits for the rollout, or for the point at which people must decide."""
        model_id = model.model_id if isinstance(model, Model) else model
        deployment = self.deployments.deploy(model_id, environment=environment, **options)
        return deployment.wait()

    def close(self) -> None:
        """Gives the connections back."""
        self._transport.close()

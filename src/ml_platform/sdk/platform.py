"""The SDK's entry point."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from ml_platform.contracts.declared import DeclaredComparison
from ml_platform.contracts.deployments import DeploymentPlan
from ml_platform.sdk import declared
from ml_platform.sdk.config import Connection, resolve
from ml_platform.sdk.data import Data, Dataset
from ml_platform.sdk.deployments import Approvals, Deployment, Deployments
from ml_platform.sdk.evaluation import Evaluation, evaluate
from ml_platform.sdk.experiments import Experiment, Experiments
from ml_platform.sdk.features import Features, FeatureView, TrainingSet
from ml_platform.sdk.governance import Governance
from ml_platform.sdk.identity import Audit, Identity
from ml_platform.sdk.jobs import Jobs
from ml_platform.sdk.lineage import Lineage, lineage_of
from ml_platform.sdk.models import Model, Models
from ml_platform.sdk.monitoring import Alerts, Drift
from ml_platform.sdk.policies import Policies
from ml_platform.sdk.services import Services
from ml_platform.sdk.training import train
from ml_platform.sdk.transport import Transport
from ml_platform.sdk.trials import Trials


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
        self.trials = Trials(self._transport)
        self.approvals = Approvals(self._transport)
        self.governance = Governance(self._transport)
        self.policies = Policies(self._transport)
        self.drift = Drift(self._transport)
        self.alerts = Alerts(self._transport)
        self.services = Services(self._transport)

    def compare(self, file: str | Path | Mapping[str, Any]) -> list[DeclaredComparison]:
        """A file of deployments beside what is live; changes nothing."""
        return declared.compare(self.deployments, declared.read_state(file))

    def plan(
        self, file: str | Path | Mapping[str, Any]
    ) -> list[tuple[DeclaredComparison, DeploymentPlan | None]]:
        """What applying a file of deployments would meet: which gate stops, who approves. Changes nothing."""
        return declared.plan(self.deployments, declared.read_state(file))

    def apply(
        self, file: str | Path | Mapping[str, Any]
    ) -> list[tuple[DeclaredComparison, Deployment | None]]:
        """Starts a rollout of each deployment that is not as the file says, and leaves the others alone."""
        return declared.apply(self.deployments, declared.read_state(file))

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

    def train(
        self, features: TrainingSet | FeatureView | Dataset, model_config: Mapping[str, Any]
    ) -> Experiment:
        """Trains a model on features, registers it when it passes its gate, and waits for that.

        Args:
            features: a training set, a feature view (joined to its own dataset, point in time), or a dataset.
            model_config: `label` is the column to predict. `algorithm` is `lightgbm` (the default),
                `logistic_regression` or `ridge`, with `hyperparameters`, `task`, `test_fraction`, `seed`,
                `columns` (default: all features) and `exclude`. A `script` and the `source` folder that it
                stands in take the place of these; they get `config`. `name` is the model's, `experiment` the
                experiment's; `gate` is `{"metric", "threshold"}`; `requirements`, `instance_type`,
                `num_gpus`, `timeout_seconds` and `memory_bytes` are as in `experiment.train`.

        Returns:
            The experiment; its `best_model` is the best version that its jobs have registered.

        Raises:
            InvalidInputError: `model_config` is not understood.
            JobFailedError: the script failed; the message holds the tail of its log.
            ConflictError: the gate held the model back; the message says why.
        """
        return train(self.experiments, self.features, features, model_config)

    def evaluate(
        self, experiment: Experiment | Model | str, test_data: Dataset | str | None = None
    ) -> Evaluation:
        """How good a model is.

        Args:
            experiment: whose `best_model` is meant, or a model.
            test_data: a dataset that holds the model's columns and the label; default: the holdout that the
                model's gate judged it on.

        Returns:
            Its metrics; `passes_threshold` compares them with criteria.

        Raises:
            NotFoundError: there is no registered model, or nothing that it was judged on.
        """
        model = self.models.get(experiment) if isinstance(experiment, str) else experiment
        return evaluate(
            self._transport, model.best_model if isinstance(model, Experiment) else model, test_data
        )

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

    def lineage(self, kind: str, id: str, **options: Any) -> Lineage:  # noqa: A002 - as the API calls it
        """What something was made of, and what was made of it.

        Args:
            kind: `dataset`, `feature_view`, `training_set`, `source`, `environment`, `job`, `run`, `model`,
                `revision`, `deployment`, `predictions`, `prediction`, `ground_truth`, `drift_check` or
                `retraining`.
            id: its id; of datasets, feature views and models also the name, as `customers@2` and `churn/3`;
                of a prediction its request id.
            **options: `direction` (`upstream`, `downstream`, `both`), `depth`, `limit` (nodes), `predictions`
                (whether they are counted in the prediction log), and `since` for the log.

        Raises:
            NotFoundError: the team has no such thing.
        """
        return lineage_of(self._transport, kind, id, **options)

    def close(self) -> None:
        """Gives the connections back."""
        self._transport.close()

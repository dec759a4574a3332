"""What monitoring needs of others: what serves, its reference, the logs, training, rollouts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session

from ml_platform.contracts.quality import GroundTruthRecord
from ml_platform.services.access import Work
from ml_platform.services.monitoring.statistics import AnswerKind


@dataclass(frozen=True, slots=True)
class ServedDeployment:
    """A deployment, and the model version that gets most of its traffic (None when nothing serves)."""

    deployment_id: str
    team_id: str
    team_name: str
    environment: str
    name: str
    model_name: str | None = None
    model_version: int | None = None
    bundle_uri: str | None = None
    bundle_digest: str | None = None

    @property
    def serves(self) -> bool:
        return self.model_name is not None


class Deployments(Protocol):
    def get(self, work: Work, deployment_id: str) -> ServedDeployment:
        """One of the team of `work`; raises NotFoundError."""
        ...

    def list_serving(self, session: Session) -> Sequence[ServedDeployment]:
        """Every deployment of the installation that serves."""
        ...

    def request_rollout(
        self, work: Work, deployment_id: str, model_id: str, *, justification: str
    ) -> str | None:
        """Asks for a rollout of another version with the deployment's own settings; answers its id.

        It passes the gates of any other rollout. None while another one is under way.
        """
        ...


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A model version as monitoring sees it.

    Attributes:
        columns: the inputs of its signature; None when it has none.
        reference: Parquet rows that stand for what it was trained on, with the label.
        job_id: the job that made it.
    """

    model_name: str
    version: int
    label: str | None
    columns: tuple[str, ...] | None
    reference: Path | None
    job_id: str | None


class ModelVersions(Protocol):
    def get(self, work: Work, model_name: str, version: int) -> ServedVersion:
        """Raises NotFoundError, or ArtifactChangedError for a reference that is not what it was."""
        ...


class ReferenceScores(Protocol):
    def score(self, deployment: ServedDeployment, reference: Path, target: Path) -> str | None:
        """Writes what the served model answers to its reference, as the prediction log would hold it.

        The Parquet file `target` gets one column, `prediction` (numbers) or `prediction_json`. Answers
        why there is none, or None when it was written.
        """
        ...


class PredictionLog(Protocol):
    """The prediction log, in the layout and with the columns that the inference plane promises."""

    def is_complete(self, until: datetime) -> bool:
        """Whether everything answered before `until` stands in its files."""
        ...

    def files(self, deployment: ServedDeployment, since: datetime, until: datetime) -> list[Path]:
        """Files that may hold its predictions of that time; their rows may be of other times too."""
        ...

    def feature_column(self, name: str) -> str:
        """How the files call a model's input."""
        ...

    def refresh(self) -> None:
        """Has what was answered until now written to the files, where that can be done at once."""
        ...


class GroundTruthStore(Protocol):
    """Labels that arrived after the predictions, as Parquet beside the prediction log.

    The columns are `request_id`, `instance`, `entity_names` (JSON, sorted), `entity_key` (their values as text,
    joined by `KEY_SEPARATOR`), `time`, `label` (numbers and booleans), `label_json`, `received_at`, `position`.
    """

    def put(
        self,
        deployment: ServedDeployment,
        digest: str,
        records: Sequence[GroundTruthRecord],
        received_at: datetime,
    ) -> None:
        """Stores an upload under its digest, whole or not at all; one that is there already stays."""
        ...

    def files(self, deployment: ServedDeployment, digests: Sequence[str]) -> list[Path]:
        """The files of uploads; raises NotFoundError when one is gone."""
        ...


@dataclass(frozen=True, slots=True)
class ServedBundle:
    uri: str
    digest: str


class AnswerKinds(Protocol):
    """What the revisions of a deployment answer."""

    def bundles(self, work: Work, deployment_id: str) -> Mapping[str, ServedBundle]:
        """By revision, those that are retired too."""
        ...

    def describe(self, bundle: ServedBundle) -> AnswerKind | None:
        """None when the bundle is gone or was changed."""
        ...


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a training job ended. Without a `model_id` nothing was registered, and `reason` says why."""

    succeeded: bool
    model_id: str | None
    reason: str | None


class TrainingJobs(Protocol):
    def resubmit(self, work: Work, job_id: str) -> str:
        """Submits a job again as it was asked for; references without a version mean the newest one now."""
        ...

    def outcome(self, work: Work, job_id: str) -> JobOutcome | None:
        """None while it is under way."""
        ...

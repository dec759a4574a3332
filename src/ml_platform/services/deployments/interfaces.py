"""What deployments need of others: model versions, what reads and builds models, the inference plane."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.orm import Session

from ml_platform.contracts.bundles import Column, FeatureRequest
from ml_platform.contracts.serving import FeatureStore, InferenceMetrics, RevisionState, ServingKey
from ml_platform.services.access import Work


@dataclass(frozen=True, slots=True)
class Gate:
    """What a version had to reach when it was registered, and has to reach again."""

    metric: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version comes from, as far as the platform recorded it; `data` are the inputs of its job."""

    run_id: str | None = None
    job_id: str | None = None
    data: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeployableVersion:
    """A registered model version as a rollout sees it.

    Attributes:
        source: the MLflow model directory, in our own storage.
        digest: of that directory when it was registered.
        reference: labelled Parquet rows: held-out data for the gate, a sample for parity and smoke test.
    """

    version_id: str
    model_name: str
    version: int
    source: Path
    digest: str
    has_signature: bool
    label: str | None
    reference: Path | None
    gate: Gate | None
    metrics: dict[str, Any] = field(default_factory=dict)
    feature_view: str | None = None
    model_card: dict[str, Any] = field(default_factory=dict)
    created_by: str = ""
    artifact_signature: dict[str, Any] | None = None
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that all deployments of a team may take together."""

    deployments: int
    replicas: int
    cpu: float
    memory_mb: int


class TeamQuotas(Protocol):
    def of_team(self, work: Work, *, lock: bool = False) -> Quota:
        """The quota of the team of `work`; with `lock` it is held, and nobody else gets it, until the work is over."""
        ...


class ModelCatalogue(Protocol):
    def resolve(self, work: Work, model_id: str) -> DeployableVersion:
        """A version by `name`, `name/version` or `name@alias`; raises NotFoundError."""
        ...

    def set_champion(self, work: Work, model_name: str, version: int) -> None:
        """This version took over production and is now the one to beat."""
        ...


@dataclass(frozen=True, slots=True)
class Inspection:
    digest: str
    has_signature: bool
    signature_problem: str | None
    input_example: bool
    columns: tuple[str, ...]
    requirements: tuple[str, ...]
    flavours: tuple[str, ...]
    inputs: tuple[Column, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScanFinding:
    path: str
    severity: str  # dangerous, unreadable, code
    name: str
    detail: str


Slices = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By column and value: `rows`, and `accuracy` (with rates of the positive class) or `rmse`."""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    metrics: dict[str, float]
    rows: int
    slices: Slices = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BuiltBundle:
    """A bundle and how it came to be.

    Attributes:
        reason: why the model was not converted.
        converter: who converted it, with versions.
    """

    path: Path
    digest: str
    runtime: str
    parity: dict[str, Any] | None
    reason: str | None
    warnings: tuple[str, ...]
    reused: bool
    converter: str | None = None


@dataclass(frozen=True, slots=True)
class BundleTrial:
    """What a bundle did on a server of its own, started for it alone.

    Attributes:
        answers: to the rows, in the form in which callers get them.
        same: whether the rows got the same answers a second time.
        milliseconds: of single calls with one row.
        pairs: the answers to a row and to its moved form, as many as there was time for.
        memory_bytes: what the model takes, processes of its own included.
    """

    answers: Sequence[Any]
    same: bool
    milliseconds: Sequence[float]
    pairs: Sequence[tuple[Any, Any]]
    memory_bytes: int


class ModelTools(Protocol):
    """Reads, evaluates and builds models; never runs any of their code in this process.

    Each raises an AppError that says what is wrong with the model.
    """

    def inspect(self, source: Path) -> Inspection: ...

    def scan(self, source: Path) -> Sequence[ScanFinding]: ...

    def evaluate(self, source: Path, data: Path, label: str) -> EvaluationResult: ...

    def sample(self, source: Path, reference: Path | None, label: str | None, limit: int) -> list[Any]:
        """A few rows, as a caller would send them; empty when there are none."""
        ...

    def build(
        self,
        version: DeployableVersion,
        destination: Path,
        *,
        features: FeatureRequest | None,
    ) -> BuiltBundle:
        """Builds the bundle at `destination`, which does not exist yet and is complete when it does."""
        ...

    def try_out(
        self,
        bundle: BuiltBundle,
        rows: Sequence[Any],
        *,
        plain: Sequence[Any],
        moved: Sequence[Any],
        calls: int,
    ) -> BundleTrial:
        """Asks the bundle on the runtime that will serve it, in a process of its own."""
        ...

    def take(self, bundle: Path, digest: str) -> BuiltBundle:
        """One that was built before; raises as `verify` does."""
        ...

    def verify(self, bundle: Path, digest: str) -> None:
        """Raises unless the bundle is still what its digest says."""
        ...


@dataclass(frozen=True, slots=True)
class Advisory:
    """A published advisory that affects a package; `severity` is CRITICAL, HIGH, MODERATE, LOW or UNKNOWN."""

    advisory_id: str
    aliases: tuple[str, ...]
    package: str
    version: str
    severity: str
    summary: str
    fixed_in: str | None


@dataclass(frozen=True, slots=True)
class AdvisoryReport:
    """What is known of the requirements; with `scanned` False nothing is, and `note` says why."""

    scanned: bool
    note: str | None = None
    source: str | None = None
    source_modified: str | None = None
    packages: int = 0
    not_pinned: tuple[str, ...] = ()
    found: tuple[Advisory, ...] = ()


@dataclass(frozen=True, slots=True)
class SecretFinding:
    """Where something lies that looks like a secret; never the secret itself."""

    path: str
    line: int
    kind: str


class ModelSignatures(Protocol):
    """Signatures of model files by this installation's key."""

    @property
    def key_sha256(self) -> str: ...

    def problem(self, signature: Mapping[str, Any] | None, name: str, files: Mapping[str, str]) -> str | None:
        """Why these files (path and SHA-256) are not what was signed under this name; None when they are."""
        ...


class SupplyChain(Protocol):
    """What comes with a model, by reading alone."""

    def check_advisories(self, requirements: Sequence[str]) -> AdvisoryReport:
        """Raises UnavailableError when the source that was named cannot be read."""
        ...

    def find_secrets(self, directory: Path) -> tuple[Sequence[SecretFinding], bool]:
        """What was found, and whether all was looked at."""
        ...

    def bill_of_materials(self, version: DeployableVersion, requirements: Sequence[str]) -> dict[str, Any]:
        """CycloneDX JSON."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """Which of a model's columns are looked up, by which keys, and in which online store."""

    request: FeatureRequest
    project: str
    path: str
    kind: str = "sqlite"


class FeatureLookups(Protocol):
    """Online features of models that declare a feature view."""

    def lookup_for(self, team_id: str, view: str, columns: Sequence[str]) -> FeatureSource:
        """How the view fills those of the model's columns that it has.

        Raises an AppError when the view does not exist, was never materialised, or fills none of them.
        """
        ...


class FeatureStores(Protocol):
    """The online stores that an inference server may read."""

    def feature_stores(self, session: Session) -> Sequence[FeatureStore]:
        """One for each team that has feature views, with all of them."""
        ...


class KeyRing(Protocol):
    def serving_keys(self, session: Session) -> Sequence[ServingKey]:
        """Every key that the inference plane may accept, hashed, with its permissions."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the inference endpoint answered. `body` is parsed JSON, or None."""

    status: int
    body: Any
    milliseconds: float
    revision_id: str | None = None
    request_id: str | None = None


class InferencePlane(Protocol):
    """The running inference server; every call raises UnavailableError when it does not answer."""

    def revision_state(self, revision_id: str) -> tuple[RevisionState | None, str | None]:
        """The state over all workers and, when it failed, why."""
        ...

    def applied_version(self) -> int:
        """The version of the desired state that every worker goes by."""
        ...

    def metrics(self, window_seconds: float) -> InferenceMetrics: ...

    def predict(
        self,
        team: str,
        environment: str,
        name: str,
        instances: Sequence[Any],
        *,
        token: str,
        revision_id: str | None,
        timeout: float,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer:
        """One request to the real endpoint, answered by this revision whatever its weight, or as traffic goes."""
        ...

    def explain(
        self,
        team: str,
        environment: str,
        name: str,
        instances: Sequence[Any],
        *,
        token: str,
        revision_id: str | None,
        timeout: float,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer:
        """The same, asked why."""
        ...


@dataclass(frozen=True, slots=True)
class AnswersCompared:
    """How far a canary's answers lie from the old revision's; `psi` is None where a side has no answers.

    `distinct` are the entities, or the inputs, that the answers are about: what was answered to one counts as one.
    `chance` is the PSI that so few hardly ever show while nothing differs, over so many `bins`; `empty` answers
    have no value: NaN, infinity, null.
    """

    rows: int
    baseline_rows: int
    psi: float | None
    bins: int = 0
    empty: int = 0
    baseline_empty: int = 0
    distinct: int = 0
    baseline_distinct: int = 0
    chance: float = 0.0


@dataclass(frozen=True, slots=True)
class QualityCompared:
    """A canary beside the old revision in the light of the labels that arrived so far.

    `metric` is accuracy (larger is better) or rmse (smaller is better); None where a side has no labels.
    """

    metric: str | None
    labels: int
    value: float | None
    baseline_labels: int
    baseline: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    answers: AnswersCompared
    quality: QualityCompared


class PredictionComparison(Protocol):
    """The prediction log of an endpoint, read for two sides of a canary, and later for what serves."""

    def compare(
        self, work: Work, deployment_id: str, candidate: str, baseline: Collection[str], since: datetime
    ) -> Compared:
        """What both sides answered since then; raises UnavailableError when the log cannot be read."""
        ...

    def count_empty(
        self, work: Work, deployment_id: str, revisions: Collection[str], since: datetime, until: datetime
    ) -> tuple[int, int]:
        """The answers of a window, and how many have no value; raises UnavailableError as well."""
        ...


class Notifier(Protocol):
    def send(self, title: str, body: str, *, severity: str = "info") -> int:
        """Tells whoever is configured; answers how many were told. Raises UnavailableError."""
        ...

"""What the registry needs of others: MLflow's logged models and registry, and somebody who evaluates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that a run logged. `source` names it to the model store again."""

    source: str
    name: str
    run_id: str | None
    experiment_id: str


class ModelStore(Protocol):
    """MLflow's side of a model, in a team's workspace. Errors are the platform's own (`kit.errors`)."""

    def find_logged_model(self, team: str, run_id: str, artifact_path: str | None) -> LoggedModel | None:
        """The newest model of the run, or the one with this name or in this folder."""
        ...

    def download_model(self, team: str, source: str, destination: Path) -> Path:
        """Copies the model's folder into `destination`; returns where it lies."""
        ...

    def ensure_version(self, team: str, name: str, source: str, *, key: str, description: str | None) -> int:
        """Registers a logged model as the next version of `name`; with a known `key`, that version."""
        ...

    def set_alias(self, team: str, name: str, alias: str, version: int) -> None: ...

    def delete_alias(self, team: str, name: str, alias: str) -> None: ...


@dataclass(frozen=True, slots=True)
class InspectedModel:
    """What a model directory says of itself; `signature` is None when it has none that can be served.

    `files` holds the SHA-256 of each file by its path.
    """

    digest: str
    size_bytes: int
    signature: Mapping[str, Any] | None
    signature_problem: str | None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    metrics: Mapping[str, float]
    task: str
    rows: int


class ModelInspector(Protocol):
    """Looks at model directories without running any of it here: evaluation happens in children."""

    def inspect(self, directory: Path) -> InspectedModel:
        """BadInputError when it is no model that can be taken."""
        ...

    def evaluate(self, directory: Path, data: Path, label: str) -> EvaluatedModel:
        """Metrics on labelled Parquet rows; BadInputError when the model cannot be evaluated on them."""
        ...


class ModelSigner(Protocol):
    """The key of this installation, which vouches for what was registered here."""

    @property
    def public_key(self) -> str:
        """PEM."""
        ...

    @property
    def key_sha256(self) -> str:
        """Of the PEM: names the key."""
        ...

    def sign(self, name: str, files: Mapping[str, str]) -> dict[str, Any]:
        """The signature of a model, as OpenSSF model signing writes it."""
        ...

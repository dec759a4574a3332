"""From a logged model to a registered version: fetch, evaluate, judge, store, record.

`prepare` does everything slow outside of any transaction; `record` writes the rows in the caller's. Both
may be done again after a crash at any place: what was registered under a key is found by it.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_platform.contracts.models import CHAMPION, Gate, GateResult, ModelVersion
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.kit.errors import AppError, ConflictError
from ml_platform.kit.ids import new_id
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Work
from ml_platform.services.registry.gate import judge, refused
from ml_platform.services.registry.interfaces import (
    EvaluatedModel,
    InspectedModel,
    LoggedModel,
    ModelInspector,
    ModelSigner,
    ModelStore,
)
from ml_platform.services.registry.repository import RegistryRepository
from ml_platform.services.registry.service import RegistryService, check_unchanged
from ml_platform.services.registry.tables import ModelAliasRow, ModelVersionRow, RegisteredModelRow


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is to be registered. `key` stands for the wish: the same key gives the same version.

    Without a `model_card` the version begins with that of the newest version before it: what was said of the
    model's use, and which checks it declares, goes on until somebody writes otherwise. `holdout` are the rows (features and label) on which the gate evaluates; they stay with the version as
    its reference.
    """

    team_id: str
    team_name: str
    name: str
    key: str
    logged: LoggedModel
    created_by: str
    job_id: str | None = None
    holdout: Path | None = None
    label: str | None = None
    gate: Gate | None = None
    feature_view: str | None = None
    description: str | None = None
    model_card: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A candidate that passed, stored and numbered; only its rows are missing."""

    candidate: Candidate
    version: int
    inspected: InspectedModel
    evaluated: EvaluatedModel | None
    gate: GateResult | None
    source_uri: str
    reference_uri: str | None


class Registrar:
    """Registers models."""

    def __init__(
        self,
        models: ModelStore,
        inspector: ModelInspector,
        signer: ModelSigner,
        storage: ObjectStorage,
        work_root: Path,
        clock: Clock = utc_now,
    ) -> None:
        self._models = models
        self._inspector = inspector
        self._signer = signer
        self._storage = storage
        self._work_root = work_root
        self._clock = clock

    def find_logged_model(self, team: str, run_id: str, artifact_path: str | None) -> LoggedModel | None:
        return self._models.find_logged_model(team, run_id, artifact_path)

    def prepare(self, candidate: Candidate, champion: ModelVersion | None) -> Prepared | GateResult:
        """Everything but the rows; the gate's result when the candidate did not pass.

        Raises:
            BadInputError: the logged model is none that can be taken.
        """
        with self._folder() as folder:
            directory = self._models.download_model(candidate.team_name, candidate.logged.source, folder)
            inspected = self._inspector.inspect(directory)
            evaluated, result = self._judge(candidate, directory, inspected, champion)
            if result is not None and not result.passed:
                return result
            base = f"{candidate.team_id}/models/{candidate.name}"
            source_uri = self._storage.put_dir(f"{base}/{inspected.digest}", directory)
        reference_uri = None
        if candidate.holdout is not None and candidate.label is not None:
            key = f"{base}/reference-{_sha256(candidate.holdout)}.parquet"
            reference_uri = self._storage.put_file(key, candidate.holdout)
        version = self._models.ensure_version(
            candidate.team_name,
            candidate.name,
            candidate.logged.source,
            key=candidate.key,
            description=candidate.description,
        )
        return Prepared(candidate, version, inspected, evaluated, result, source_uri, reference_uri)

    def record(self, work: Work, prepared: Prepared) -> ModelVersion:
        """Writes the version; the first version of a model that passed a gate becomes its champion.

        Raises:
            ConflictError: this was registered already, or the name stands for another model's version.
        """
        candidate = prepared.candidate
        repository = RegistryRepository(work.session, candidate.team_id)
        known = repository.version_by_key(candidate.name, candidate.key)
        if known is not None:
            raise ConflictError(
                f"this model is registered already, as {known.model_id}", extra={"model_id": known.model_id}
            )
        self._ensure_model(work, repository, candidate)
        row = self._version_row(work, repository, prepared)
        card_of = None if row.model_card else _take_card(row, repository.newest(candidate.name))
        work.session.add(row)
        work.session.flush()
        passed = prepared.gate is not None and prepared.gate.passed
        if passed and repository.alias(candidate.name, CHAMPION) is None:
            work.session.add(
                ModelAliasRow(
                    team_id=candidate.team_id,
                    model_name=candidate.name,
                    alias=CHAMPION,
                    version=prepared.version,
                )
            )
            work.record("model.alias.set", "model_version", row.id, after={"alias": CHAMPION})
        work.record(
            "model.register",
            "model_version",
            row.id,
            after={
                "model_id": row.model_id,
                "digest": row.digest,
                "signed_by": self._signer.key_sha256,
                "gate": row.gate,
                "job_id": row.job_id,
                "card_of": card_of,
            },
        )
        return RegistryService(work).version_of(row)

    def mirror_champion(self, team: str, version: ModelVersion) -> None:
        """Shows the champion in MLflow's registry as well."""
        if CHAMPION in version.aliases:
            self._models.set_alias(team, version.name, CHAMPION, version.version)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        self._work_root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._work_root, prefix="register-") as folder:
            yield Path(folder)

    def _judge(
        self, candidate: Candidate, directory: Path, inspected: InspectedModel, champion: ModelVersion | None
    ) -> tuple[EvaluatedModel | None, GateResult | None]:
        gate, now = candidate.gate, self._clock()
        if gate is not None and inspected.signature is None:
            return None, refused(gate, inspected.signature_problem or "the model has no signature", now)
        if candidate.holdout is None or candidate.label is None:
            reason = "the job left no holdout.parquet in MLOPS_OUTPUTS on which the gate could evaluate"
            return None, refused(gate, reason, now) if gate is not None else None
        try:
            evaluated = self._inspector.evaluate(directory, candidate.holdout, candidate.label)
        except AppError as error:
            return None, refused(gate, f"the model cannot be evaluated: {error.detail}", now)
        if gate is None:
            return evaluated, None
        rows = _sha256(candidate.holdout)
        rival, rival_value, problem = champion if gate.compare_with_champion else None, None, None
        if rival is not None:
            rival_value, problem = self._evaluate_champion(rival, candidate.holdout, candidate.label, rows)
        return evaluated, judge(
            gate,
            evaluated,
            champion_id=rival.model_id if rival else None,
            champion=rival_value,
            champion_problem=problem,
            holdout_sha256=rows,
            now=now,
        )

    def _evaluate_champion(
        self, champion: ModelVersion, holdout: Path, label: str, rows: str
    ) -> tuple[EvaluatedModel | None, str | None]:
        try:
            directory = check_unchanged(champion, self._storage, self._inspector)
            known = champion.gate
            if known is not None and known.holdout_sha256 == rows and champion.label == label:
                # Its own gate was judged on these very rows: the evidence stands, nothing has changed.
                return EvaluatedModel(known.metrics, champion.task or "", known.rows or 0), None
            return self._inspector.evaluate(directory, holdout, label), None
        except AppError as error:
            return None, error.detail

    def _ensure_model(self, work: Work, repository: RegistryRepository, candidate: Candidate) -> None:
        if repository.model(candidate.name) is not None:
            return
        taken = repository.version_by_id(candidate.name)
        if taken is not None:
            raise ConflictError(
                f"{candidate.name!r} already names version {taken.version} of {taken.model_name!r}",
                hint="give the model another name",
            )
        row = RegisteredModelRow(
            id=new_id("mdl"),
            team_id=candidate.team_id,
            name=candidate.name,
            description=candidate.description,
            created_by=candidate.created_by,
            created_at=work.clock(),
        )
        work.session.add(row)
        work.record("model.create", "model", row.id, after={"name": row.name})

    def _version_row(self, work: Work, repository: RegistryRepository, prepared: Prepared) -> ModelVersionRow:
        candidate, inspected, evaluated = prepared.candidate, prepared.inspected, prepared.evaluated
        short = f"{candidate.name}_v{prepared.version}"
        free = repository.model(short) is None
        return ModelVersionRow(
            id=new_id("mdv"),
            team_id=candidate.team_id,
            model_name=candidate.name,
            version=prepared.version,
            model_id=short if free else f"{candidate.name}/{prepared.version}",
            registration_key=candidate.key,
            mlflow_run_id=candidate.logged.run_id,
            mlflow_source=candidate.logged.source,
            experiment_id=candidate.logged.experiment_id,
            job_id=candidate.job_id,
            source_uri=prepared.source_uri,
            digest=inspected.digest,
            size_bytes=inspected.size_bytes,
            artifact_signature=self._signer.sign(f"{candidate.name}/{prepared.version}", inspected.files),
            signature=dict(inspected.signature) if inspected.signature is not None else None,
            metrics=dict(evaluated.metrics) if evaluated else {},
            gate=prepared.gate.model_dump(mode="json") if prepared.gate else None,
            task=evaluated.task if evaluated else None,
            label=candidate.label,
            reference_uri=prepared.reference_uri,
            feature_view=candidate.feature_view,
            model_card=candidate.model_card,
            description=candidate.description,
            status="registered",
            created_by=candidate.created_by,
            created_at=work.clock(),
        )


def _take_card(row: ModelVersionRow, before: ModelVersionRow | None) -> str | None:
    """Gives a version the card of the one before it, with who wrote it; answers which one that was."""
    if before is None or not before.model_card:
        return None
    row.model_card = dict(before.model_card)
    row.card_written_by = before.card_written_by or before.created_by
    row.card_written_at = before.card_written_at or before.created_at
    return before.model_id


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

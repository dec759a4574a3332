"""What an answer says about each node, read kind by kind for many nodes at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ml_platform.contracts.lineage import LineageKind
from ml_platform.services.datasets.tables import DatasetRow, DatasetVersionRow
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow
from ml_platform.services.features.tables import FeatureViewRow, MaterializationRow, TrainingSetRow
from ml_platform.services.lineage.links import Ref
from ml_platform.services.monitoring.tables import DriftCheckRow, GroundTruthRow, RetrainingRow
from ml_platform.services.registry.tables import ModelVersionRow
from ml_platform.services.training.tables import JobRow, SourceRow

_KEYS_A_QUERY = 500


@dataclass(frozen=True, slots=True)
class Description:
    """`id` is what to ask for to get to this very node again."""

    id: str
    created_at: datetime | None = None
    created_by: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


Descriptions = Iterator[tuple[str, Description]]


def describe(session: Session, team_id: str, refs: Iterable[Ref]) -> dict[Ref, Description]:
    """What is known of nodes of one team; nothing for those that are gone or another team's."""
    by_kind: dict[LineageKind, list[str]] = {}
    for ref in refs:
        by_kind.setdefault(ref.kind, []).append(ref.key)
    found: dict[Ref, Description] = {}
    for kind, keys in by_kind.items():
        for start in range(0, len(keys), _KEYS_A_QUERY):
            part = keys[start : start + _KEYS_A_QUERY]
            for key, description in _OF_KIND[kind](session, team_id, part):
                found[Ref(kind, key)] = description
    return found


def _datasets(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row, dataset = DatasetVersionRow, DatasetRow
    query = (
        select(row.id, dataset.name, row.version, row.rows, row.digest, row.created_at, row.created_by)
        .join(dataset, dataset.id == row.dataset_id)
        .where(row.team_id == team_id, row.id.in_(keys))
    )
    for key, name, version, rows, digest, at, by in session.execute(query):
        details = {"dataset": name, "version": version, "rows": rows, "digest": digest}
        yield key, Description(f"{name}@{version}", at, by, details)


def _feature_views(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    """A view as it stood over one version of its dataset."""
    ids = {key.rpartition("@")[0] for key in keys}
    views = {
        row.id: row
        for row in session.scalars(
            select(FeatureViewRow).where(FeatureViewRow.team_id == team_id, FeatureViewRow.id.in_(ids))
        )
    }
    written = _materialized(session, team_id, [row.name for row in views.values()])
    for key in keys:
        view_id, _, number = key.rpartition("@")
        view = views.get(view_id)
        if view is None or not number.isdigit():
            continue
        details: dict[str, Any] = {
            "feature_view": view.name,
            "dataset": f"{view.dataset}@{number}",
            "features": sorted(view.features),
            "current": view.dataset_version == int(number),
        }
        # A view of the same name that was deleted before has materialisations, too.
        at = written.get((view.name, int(number)))
        details["materialized_at"] = at.isoformat() if at is not None and at >= view.created_at else None
        yield key, Description(f"{view.name}@{number}", view.created_at, view.created_by, details)


def _materialized(session: Session, team_id: str, names: Sequence[str]) -> dict[tuple[str, int], datetime]:
    row = MaterializationRow
    query = (
        select(row.feature_view, row.dataset_version, func.max(row.finished_at))
        .where(row.team_id == team_id, row.feature_view.in_(names), row.status == "succeeded")
        .group_by(row.feature_view, row.dataset_version)
    )
    return {(name, version): at for name, version, at in session.execute(query) if at is not None}


def _training_sets(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = TrainingSetRow
    for found in session.scalars(select(row).where(row.team_id == team_id, row.id.in_(keys))):
        details = {
            "entities": found.entities,
            "features": found.features,
            "label": found.label,
            "rows": found.rows,
            "digest": found.digest,
        }
        yield found.id, Description(found.id, found.created_at, found.created_by, details)


def _sources(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = SourceRow
    query = select(row.id, row.sha256, row.size_bytes, row.created_at, row.created_by)
    for key, sha256, size, at, by in session.execute(query.where(row.team_id == team_id, row.id.in_(keys))):
        yield key, Description(key, at, by, {"sha256": sha256, "size_bytes": size})


def _environments(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = JobRow
    query = (
        select(row.requirements_digest, func.min(row.created_at), func.count())
        .where(row.team_id == team_id, row.requirements_digest.in_(keys))
        .group_by(row.requirements_digest)
    )
    for key, at, jobs in session.execute(query):
        assert key is not None  # it is one of `keys`
        yield key, Description(key, at, None, {"requirements_sha256": key, "jobs": jobs})


def _jobs(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = JobRow
    query = select(
        *(row.id, row.status, row.experiment_name, row.requirements_file, row.model_id),
        *(row.created_at, row.created_by, row.finished_at),
    ).where(row.team_id == team_id, row.id.in_(keys))
    for key, status, experiment, requirements, model_id, at, by, finished in session.execute(query):
        details = {
            "status": status,
            "experiment": experiment,
            "requirements_file": requirements,
            "model_id": model_id,
            "finished_at": finished.isoformat() if finished else None,
        }
        yield key, Description(key, at, by, details)


def _runs(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    """MLflow keeps runs; what is known here is whose they were."""
    job, version = JobRow, ModelVersionRow
    by_version = select(version.mlflow_run_id, version.experiment_id).where(
        version.team_id == team_id, version.mlflow_run_id.in_(keys)
    )
    found = {
        key: Description(key, details={"experiment_id": experiment})
        for key, experiment in session.execute(by_version)
        if key is not None
    }
    by_job = select(job.run_id, job.experiment_id, job.experiment_name, job.created_at, job.created_by)
    for key, experiment, name, at, by in session.execute(
        by_job.where(job.team_id == team_id, job.run_id.in_(keys))
    ):
        if key is not None:
            found[key] = Description(key, at, by, {"experiment_id": experiment, "experiment": name})
    yield from found.items()


def _models(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = ModelVersionRow
    query = select(
        *(row.id, row.model_name, row.version, row.digest, row.status, row.task, row.metrics),
        *(row.created_at, row.created_by),
    ).where(row.team_id == team_id, row.id.in_(keys))
    for key, name, version, digest, status, task, metrics, at, by in session.execute(query):
        details = {"digest": digest, "status": status, "task": task, "metrics": metrics}
        yield key, Description(f"{name}/{version}", at, by, details)


def _revisions(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = RevisionRow
    for found in session.scalars(select(row).where(row.team_id == team_id, row.id.in_(keys))):
        details = {
            "model": f"{found.model_name}/{found.model_version}",
            "status": found.status,
            "weight": found.weight,
            "runtime": found.runtime,
            "bundle_digest": found.bundle_digest,
            "rollout_id": found.rollout_id,
        }
        yield found.id, Description(found.id, found.created_at, None, details)


def _deployments(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = DeploymentRow
    for found in session.scalars(select(row).where(row.team_id == team_id, row.id.in_(keys))):
        details = {"name": found.name, "environment": found.environment, "status": found.status}
        yield found.id, Description(found.id, found.created_at, found.created_by_name, details)


def _ground_truth(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = GroundTruthRow
    query = (
        select(row.deployment_id, func.count(), func.sum(row.records), func.max(row.created_at))
        .where(row.team_id == team_id, row.deployment_id.in_(keys))
        .group_by(row.deployment_id)
    )
    for key, uploads, records, last in session.execute(query):
        details = {"uploads": uploads, "records": int(records), "last_at": last.isoformat()}
        yield key, Description(key, None, None, details)


def _drift_checks(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = DriftCheckRow
    query = select(row.id, row.verdict, row.rows, row.created_at, row.requested_by, row.drifted_features)
    for key, verdict, rows, at, by, drifted in session.execute(
        query.where(row.team_id == team_id, row.id.in_(keys))
    ):
        details = {"verdict": verdict, "rows": rows, "drifted_features": drifted}
        yield key, Description(key, at, by, details)


def _retrainings(session: Session, team_id: str, keys: Sequence[str]) -> Descriptions:
    row = RetrainingRow
    for found in session.scalars(select(row).where(row.team_id == team_id, row.id.in_(keys))):
        details = {
            "status": found.status,
            "reason": found.reason,
            "model_id": found.model_id,
            "rollout_id": found.rollout_id,
        }
        yield found.id, Description(found.id, found.created_at, found.requested_by, details)


def _logged(_session: Session, _team_id: str, _keys: Sequence[str]) -> Descriptions:
    """Predictions stand in the log, not in the database."""
    return iter(())


_K = LineageKind
_OF_KIND: dict[LineageKind, Callable[[Session, str, Sequence[str]], Descriptions]] = {
    _K.DATASET: _datasets,
    _K.FEATURE_VIEW: _feature_views,
    _K.TRAINING_SET: _training_sets,
    _K.SOURCE: _sources,
    _K.ENVIRONMENT: _environments,
    _K.JOB: _jobs,
    _K.RUN: _runs,
    _K.MODEL: _models,
    _K.REVISION: _revisions,
    _K.DEPLOYMENT: _deployments,
    _K.PREDICTIONS: _logged,
    _K.PREDICTION: _logged,
    _K.GROUND_TRUTH: _ground_truth,
    _K.DRIFT_CHECK: _drift_checks,
    _K.RETRAINING: _retrainings,
}

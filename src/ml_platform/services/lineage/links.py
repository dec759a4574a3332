"""Edges that follow from rows of the other slices: which column leads to which."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, and_, cast, select
from sqlalchemy.orm import InstrumentedAttribute

from ml_platform.contracts.lineage import LineageDirection, LineageKind
from ml_platform.services.datasets.tables import DatasetRow, DatasetVersionRow
from ml_platform.services.deployments.tables import RevisionRow
from ml_platform.services.features.tables import FeatureViewRow
from ml_platform.services.lineage.tables import LineageEdgeRow
from ml_platform.services.monitoring.tables import DriftCheckRow, GroundTruthRow, RetrainingRow
from ml_platform.services.registry.tables import ModelVersionRow
from ml_platform.services.training.tables import JobRow

Key = ColumnElement[str] | InstrumentedAttribute[str] | InstrumentedAttribute[str | None]
UPSTREAM, DOWNSTREAM = LineageDirection.UPSTREAM, LineageDirection.DOWNSTREAM
VIEW_KEY = FeatureViewRow.id.concat("@").concat(cast(FeatureViewRow.dataset_version, String))
"""A feature view over one version of its dataset: nothing else of a view ever changes."""


class Ref(NamedTuple):
    """A node: its kind and the key that it has in the database."""

    kind: LineageKind
    key: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.key}"


class Edge(NamedTuple):
    source: Ref
    target: Ref
    relation: str


@dataclass(frozen=True)
class Link:
    """An edge for each row of a table, or of a join.

    Attributes:
        ends: the directions in which one looks at the other side and no further. What made something
            happen is worth knowing; what that was made of in its turn is another story.
    """

    source: LineageKind
    target: LineageKind
    relation: str
    source_key: Key
    target_key: Key
    team: InstrumentedAttribute[str]
    joins: Sequence[tuple[type[Any], ColumnElement[bool]]] = ()
    where: ColumnElement[bool] | None = None
    ends: frozenset[LineageDirection] = frozenset()

    def query(
        self, team_id: str, keys: Sequence[str], direction: LineageDirection, limit: int
    ) -> Select[str, str]:
        """Pairs of source and target at these keys, newest neighbours first."""
        near, far = self.source_key, self.target_key
        if direction is UPSTREAM:
            near, far = far, near
        pair: Select[Any, Any] = select(self.source_key, self.target_key)
        query = pair.select_from(self.team.class_)
        for table, condition in self.joins:
            query = query.join(table, condition)
        query = query.where(self.team == team_id, near.in_(keys), far.is_not(None))
        if self.where is not None:
            query = query.where(self.where)
        return query.distinct().order_by(far.desc(), near).limit(limit)


_VERSION_OF_REVISION = and_(
    ModelVersionRow.team_id == RevisionRow.team_id,
    ModelVersionRow.model_name == RevisionRow.model_name,
    ModelVersionRow.version == RevisionRow.model_version,
)
_DATASET_OF_VIEW = and_(
    DatasetRow.team_id == FeatureViewRow.team_id, DatasetRow.name == FeatureViewRow.dataset
)
_VERSION_OF_VIEW = and_(
    DatasetVersionRow.dataset_id == DatasetRow.id,
    DatasetVersionRow.version == FeatureViewRow.dataset_version,
)
_VIEW_OF_REVISION = and_(
    RevisionRow.team_id == FeatureViewRow.team_id, RevisionRow.feature_view == FeatureViewRow.name
)
_K = LineageKind

LINKS = (
    Link(
        *(_K.DATASET, _K.FEATURE_VIEW, "source", DatasetVersionRow.id, VIEW_KEY, FeatureViewRow.team_id),
        joins=((DatasetRow, _DATASET_OF_VIEW), (DatasetVersionRow, _VERSION_OF_VIEW)),
    ),
    Link(_K.SOURCE, _K.JOB, "code", JobRow.source_id, JobRow.id, JobRow.team_id),
    Link(_K.ENVIRONMENT, _K.JOB, "environment", JobRow.requirements_digest, JobRow.id, JobRow.team_id),
    Link(
        *(_K.JOB, _K.JOB, "retried as", JobRow.retry_of, JobRow.id, JobRow.team_id),
        ends=frozenset({UPSTREAM, DOWNSTREAM}),
    ),
    Link(_K.JOB, _K.RUN, "run", JobRow.id, JobRow.run_id, JobRow.team_id),
    Link(
        *(_K.JOB, _K.RUN, "run", ModelVersionRow.job_id, ModelVersionRow.mlflow_run_id),
        ModelVersionRow.team_id,
    ),
    Link(
        *(_K.RUN, _K.MODEL, "registered as", ModelVersionRow.mlflow_run_id, ModelVersionRow.id),
        ModelVersionRow.team_id,
    ),
    Link(
        *(_K.JOB, _K.MODEL, "registered as", ModelVersionRow.job_id, ModelVersionRow.id),
        ModelVersionRow.team_id,
        where=ModelVersionRow.mlflow_run_id.is_(None),
    ),
    Link(
        *(_K.MODEL, _K.REVISION, "deployed as", ModelVersionRow.id, RevisionRow.id, RevisionRow.team_id),
        joins=((ModelVersionRow, _VERSION_OF_REVISION),),
    ),
    Link(
        *(_K.FEATURE_VIEW, _K.REVISION, "looked up by", VIEW_KEY, RevisionRow.id, FeatureViewRow.team_id),
        joins=((RevisionRow, _VIEW_OF_REVISION),),
    ),
    Link(
        *(_K.REVISION, _K.DEPLOYMENT, "serves", RevisionRow.id, RevisionRow.deployment_id),
        RevisionRow.team_id,
    ),
    Link(
        *(_K.DEPLOYMENT, _K.GROUND_TRUTH, "labelled by", GroundTruthRow.deployment_id),
        *(GroundTruthRow.deployment_id, GroundTruthRow.team_id),
    ),
    Link(
        *(_K.DEPLOYMENT, _K.DRIFT_CHECK, "checked by", DriftCheckRow.deployment_id, DriftCheckRow.id),
        DriftCheckRow.team_id,
        # Of the many checks those that something came of.
        joins=((RetrainingRow, RetrainingRow.check_id == DriftCheckRow.id),),
        ends=frozenset({UPSTREAM}),
    ),
    Link(
        *(_K.DRIFT_CHECK, _K.RETRAINING, "triggered", RetrainingRow.check_id, RetrainingRow.id),
        RetrainingRow.team_id,
    ),
    Link(
        *(_K.DEPLOYMENT, _K.RETRAINING, "triggered", RetrainingRow.deployment_id, RetrainingRow.id),
        RetrainingRow.team_id,
        where=RetrainingRow.check_id.is_(None),
        ends=frozenset({UPSTREAM}),
    ),
    Link(
        *(_K.JOB, _K.RETRAINING, "repeated by", RetrainingRow.source_job_id, RetrainingRow.id),
        RetrainingRow.team_id,
        ends=frozenset({UPSTREAM}),
    ),
    Link(
        *(_K.RETRAINING, _K.JOB, "triggered", RetrainingRow.id, RetrainingRow.job_id),
        RetrainingRow.team_id,
        ends=frozenset({DOWNSTREAM}),
    ),
)


def recorded(
    team_id: str, kind: LineageKind, keys: Sequence[str], direction: LineageDirection, limit: int
) -> Select[LineageEdgeRow]:
    """Recorded edges at nodes of one kind, newest first."""
    row = LineageEdgeRow
    near_kind, near = (
        (row.target_kind, row.target_id) if direction is UPSTREAM else (row.source_kind, row.source_id)
    )
    return (
        select(row)
        .where(row.team_id == team_id, near_kind == kind.value, near.in_(keys))
        .order_by(row.id.desc())
        .limit(limit)
    )

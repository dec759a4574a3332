"""What model versions were trained on, by their lineage, and what was found there of personal data."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.lineage import LineageKind
from ml_platform.contracts.personaldata import PersonalDataFinding, PersonalDataStatus
from ml_platform.services.datasets import PersonalDataFinder, columns_of, findings_of
from ml_platform.services.datasets.repository import DatasetRepository
from ml_platform.services.datasets.tables import DatasetRow, DatasetVersionRow
from ml_platform.services.features.repository import FeatureRepository
from ml_platform.services.features.tables import TrainingSetRow
from ml_platform.services.governance import TrainingColumn, TrainingFacts
from ml_platform.services.lineage.links import UPSTREAM, Edge, Ref
from ml_platform.services.lineage.walk import Found, LineageWalk
from ml_platform.services.registry.tables import ModelVersionRow

_DEPTH, _MOST = 5, 500  # a model, its run, its job, a training set, a view, a dataset
Read = dict[str, set[str] | None]
"""By id of a version of a dataset: the columns that training could read; None for all of them."""


class LineageTrainingData:
    """Implements `TrainingData`."""

    def __init__(self, finder: PersonalDataFinder) -> None:
        self._finder = finder

    def of(self, session: Session, team_id: str, model: str, version: int) -> TrainingFacts:
        row = session.scalars(
            select(ModelVersionRow).where(
                ModelVersionRow.team_id == team_id,
                ModelVersionRow.model_name == model,
                ModelVersionRow.version == version,
            )
        ).first()
        if row is None:
            return TrainingFacts()
        read = _by_lineage(session, team_id, row.id) or _by_view(session, team_id, row)
        return _facts(session, team_id, read)

    def named(self, column: str) -> Sequence[PersonalDataFinding]:
        return [
            PersonalDataFinding(
                column=item.column,
                kind=item.kind,
                status=PersonalDataStatus.FOUND,
                found_by=item.found_by,
                share=None,
                confidence=item.confidence,
            )
            for item in self._finder.named(column)
        ]


def _by_lineage(session: Session, team_id: str, version_id: str) -> Read:
    """Data that its job was given: whole versions, or what a training set took from them."""
    root = Ref(LineageKind.MODEL, version_id)
    found = LineageWalk(session, team_id, depth=_DEPTH, most=_MOST).run(root, root, UPSTREAM)
    read: Read = {}
    for job in _sources(found, [root], LineageKind.JOB) | _sources(
        found, _sources(found, [root], LineageKind.RUN), LineageKind.JOB
    ):
        for dataset in _sources(found, [job], LineageKind.DATASET):
            read[dataset.key] = None
        for taken in _sources(found, [job], LineageKind.TRAINING_SET):
            _add_training_set(session, team_id, found, taken, read)
    return read


def _add_training_set(session: Session, team_id: str, found: Found, taken: Ref, read: Read) -> None:
    row = session.get(TrainingSetRow, taken.key)
    if row is None or row.team_id != team_id:
        return
    views = _sources(found, [taken], LineageKind.FEATURE_VIEW)
    for dataset in _sources(found, [taken, *views], LineageKind.DATASET):
        columns = read.setdefault(dataset.key, set())
        if columns is not None:
            columns.update(row.columns)


def _by_view(session: Session, team_id: str, row: ModelVersionRow) -> Read:
    """Of a version that no job of ours made: its feature view as it is now."""
    view = FeatureRepository(session, team_id).view(row.feature_view) if row.feature_view else None
    if view is None:
        return {}
    repository = DatasetRepository(session, team_id)
    dataset = repository.dataset(view.dataset)
    version = repository.version(dataset.id, view.dataset_version) if dataset is not None else None
    return {version.id: {*view.entities, *view.features}} if version is not None else {}


def _facts(session: Session, team_id: str, read: Read) -> TrainingFacts:
    query = (
        select(DatasetVersionRow, DatasetRow.name)
        .join(DatasetRow, DatasetRow.id == DatasetVersionRow.dataset_id)
        .where(DatasetVersionRow.team_id == team_id, DatasetVersionRow.id.in_(list(read)))
        .order_by(DatasetRow.name, DatasetVersionRow.version)
    )
    rows = [(version, f"{name}@{version.version}") for version, name in session.execute(query)]
    findings = findings_of(session, [version for version, _ in rows])
    columns: list[TrainingColumn] = []
    for version, name in rows:
        only = read[version.id]
        taken = set(columns_of(version)) if only is None else only
        columns += [TrainingColumn(name, item) for item in findings[version.id] if item.column in taken]
    return TrainingFacts(tuple(name for _, name in rows), tuple(columns), known=bool(rows))


def _sources(found: Found, targets: Collection[Ref], kind: LineageKind) -> set[Ref]:
    wanted = set(targets)
    edges: Collection[Edge] = found.edges
    return {edge.source for edge in edges if edge.target in wanted and edge.source.kind is kind}

"""What one can do with features."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ml_platform.contracts.datasets import (
    Feature,
    FeatureView,
    FeatureViewCreate,
    Materialization,
    OnlineFeatures,
    OnlineRequest,
    TrainingSet,
    TrainingSetCreate,
)
from ml_platform.contracts.personaldata import PersonalDataKind
from ml_platform.kit.clock import rfc3339
from ml_platform.kit.errors import BadInputError, ConflictError, NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.kit.storage import ObjectStorage
from ml_platform.kit.strictjson import finite
from ml_platform.services.access import Work
from ml_platform.services.datasets import DatasetService, DatasetStore, kinds_of
from ml_platform.services.datasets.service import parse_reference
from ml_platform.services.features.interfaces import FeatureEngine, ViewDefinition
from ml_platform.services.features.repository import FeatureRepository
from ml_platform.services.features.tables import FeatureViewRow, MaterializationRow, TrainingSetRow

MATERIALIZE = "features.materialize"
VIEWS_CHANGED = "inference.changed"
_MOST_VIEWS = 1_000


class FeatureService:
    """Features of the actor's team."""

    def __init__(
        self, work: Work, engine: FeatureEngine, datasets: DatasetStore, storage: ObjectStorage
    ) -> None:
        self._work = work
        self._engine = engine
        self._datasets = DatasetService(work, datasets)
        self._storage = storage

    # -- feature views

    def create_view(self, body: FeatureViewCreate) -> FeatureView:
        """Defines a view over one version of a dataset."""
        if self._repository.view(body.name) is not None:
            raise ConflictError(
                f"feature view {body.name!r} exists already",
                hint="use it as it is (platform.features.get in the SDK), give another name, or delete it first",
            )
        name, number = parse_reference(body.dataset)
        dataset, version = self._datasets.find(name, number)
        entities = {entity.name: entity.type for entity in body.entities}
        wanted = self._wanted(body, [c["name"] for c in version.columns_schema["columns"]])
        row = FeatureViewRow(
            id=new_id("fv"),
            team_id=self._work.team_id,
            name=body.name,
            dataset=dataset.name,
            dataset_version=version.version,
            entities=entities,
            timestamp_field=body.timestamp_field,
            features=wanted,
            ttl_seconds=body.ttl_seconds,
            description=body.description,
            materialized_at=None,
            online_entities=None,
            created_at=self._work.clock(),
            created_by=self._work.actor.name,
        )
        row.features = dict(self._engine.apply(self._work.team_id, self.definition(row)))
        self._work.session.add(row)
        self._work.emit(VIEWS_CHANGED, {"reason": "feature_view"})
        self._work.record(
            "feature_view.create",
            "feature_view",
            row.id,
            after={"name": row.name, "dataset": f"{row.dataset}@{row.dataset_version}"},
        )
        return self._views([row])[0]

    def _wanted(self, body: FeatureViewCreate, columns: list[str]) -> dict[str, str | None]:
        special = {entity.name for entity in body.entities} | {body.timestamp_field}
        if body.features is not None:
            return {feature.name: feature.type for feature in body.features}
        unknown = sorted(set(body.exclude) - set(columns))
        if unknown:
            raise BadInputError.of("exclude", f"the dataset has no column {unknown[0]!r}")
        return {name: None for name in columns if name not in special and name not in body.exclude}

    def definition(self, row: FeatureViewRow) -> ViewDefinition:
        """The view over the Parquet file of its dataset's version, which is exported once."""
        return ViewDefinition(
            name=row.name,
            entities=dict(row.entities),
            source=self.dataset_file(row.dataset, row.dataset_version)[1],
            timestamp_field=row.timestamp_field,
            features=dict(row.features),
            ttl_seconds=row.ttl_seconds,
            description=row.description or "",
        )

    def dataset_file(self, dataset: str, version: int | None) -> tuple[int, Path]:
        """A version of a dataset (None: the newest) as a Parquet file, exported once; with its number."""
        row, found = self._datasets.find(dataset, version)
        key = f"{row.team_id}/dataset-files/{row.id}-v{found.version}.parquet"
        if not self._storage.exists(key):
            with tempfile.TemporaryDirectory(prefix="mlops-source-") as folder:
                target = Path(folder) / "source.parquet"
                self._datasets.export(dataset, found.version, target)
                self._storage.put_file(key, target)
        return found.version, self._storage.path(self._storage.uri(key))

    def get_view(self, name: str) -> FeatureView:
        return self._views([self._view_row(name)])[0]

    def list_views(self, after: str | None, limit: int) -> list[tuple[str, FeatureView]]:
        """Ids and views."""
        rows = self._repository.views(after=after, limit=limit)
        return [(row.id, view) for row, view in zip(rows, self._views(rows), strict=True)]

    def delete_view(self, name: str) -> FeatureView:
        """Removes the definition and its online values."""
        row = self._view_row(name)
        self._engine.delete(self._work.team_id, name)
        self._work.session.delete(row)
        self._work.emit(VIEWS_CHANGED, {"reason": "feature_view"})
        self._work.record("feature_view.delete", "feature_view", row.id, before={"name": row.name})
        return self._views([row])[0]

    # -- materialisation

    def submit_materializations(
        self, names: Sequence[str] | None, start: datetime | None, end: datetime | None
    ) -> list[Materialization]:
        """One for each of these views, all of them by default; ConflictError while one is under way."""
        repository = self._repository
        if names is None:
            names = [row.name for row in repository.views(after=None, limit=_MOST_VIEWS)]
        for name in names:
            self._view_row(name)
            busy = repository.under_way(name)
            if busy is not None:
                raise ConflictError(
                    f"feature view {name!r} is being materialised",
                    hint=f"ask again when it has ended: GET /api/v1/materializations/{busy.id}",
                )
        return [self.submit_materialization(name, None, start, end) for name in names]

    def submit_materialization(
        self,
        name: str,
        dataset_version: int | None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Materialization:
        """Starts writing the view's newest values online, after moving it to another version if asked.

        With `start` or `end`, the newest of those within them.
        """
        view = self._view_row(name)
        version = dataset_version or view.dataset_version
        self._datasets.find(view.dataset, version)
        row = MaterializationRow(
            id=new_id("mat"),
            team_id=self._work.team_id,
            feature_view=view.name,
            dataset_version=version,
            status="submitted",
            entities=None,
            reason=None,
            created_at=self._work.clock(),
            finished_at=None,
        )
        within: dict[str, Any] = {
            name: rfc3339(moment) for name, moment in (("start", start), ("end", end)) if moment is not None
        }
        self._work.session.add(row)
        self._work.record(
            "feature_view.materialize",
            "feature_view",
            view.id,
            after={"dataset_version": version},
            materialization_id=row.id,
            **within,
        )
        self._work.start_workflow(
            MATERIALIZE, row.id, team_id=self._work.team_id, team_name=self._work.actor.team_name, **within
        )
        return _materialization(row)

    def materialization(self, row_id: str) -> Materialization:
        row = self._repository.materialization(row_id)
        if row is None:
            raise NotFoundError.of("materialization", row_id)
        return _materialization(row)

    # -- reading

    def online(self, name: str, body: OnlineRequest) -> OnlineFeatures:
        """The newest values of some entities, as the store's own client reads them."""
        row = self._view_row(name)
        for key in body.keys:
            missing = set(row.entities) - set(key)
            if missing:
                raise BadInputError.of("keys", f"every key needs {', '.join(sorted(row.entities))}")
        names = list(body.features or row.features)
        unknown = [feature for feature in names if feature not in row.features]
        if unknown:
            raise BadInputError.of("features", f"{name!r} has no feature {unknown[0]!r}")
        references = [f"{name}:{feature}" for feature in names]
        columns = self._engine.online(self._work.team_id, [dict(key) for key in body.keys], references)
        return OnlineFeatures(columns=finite(columns))

    # -- training sets

    def create_training_set(self, body: TrainingSetCreate) -> TrainingSet:
        """Joins features to entities as they were known at each entity's time."""
        name, number = parse_reference(body.entities)
        dataset, version = self._datasets.find(name, number)
        references, views = self._references(body.features)
        set_id, began_at = new_id("ts"), self._work.clock()
        with tempfile.TemporaryDirectory(prefix="mlops-training-set-") as folder:
            entities, joined = Path(folder) / "entities.parquet", Path(folder) / "joined.parquet"
            self._datasets.export(dataset.name, version.version, entities)
            rows, columns = self._engine.training_set(
                self._work.team_id,
                entities,
                references,
                timestamp_field=body.timestamp_field,
                target=joined,
            )
            if body.label is not None and body.label not in columns:
                raise BadInputError.of("label", f"the entities have no column {body.label!r}")
            uri = self._storage.put_file(f"{self._work.team_id}/training-sets/{set_id}.parquet", joined)
            with joined.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        row = TrainingSetRow(
            id=set_id,
            team_id=self._work.team_id,
            entities=f"{dataset.name}@{version.version}",
            features=references,
            label=body.label,
            rows=rows,
            columns=columns,
            uri=uri,
            digest=digest,
            created_at=self._work.clock(),
            created_by=self._work.actor.name,
        )
        self._work.session.add(row)
        self._work.record(
            "training_set.create",
            "training_set",
            row.id,
            after={"entities": row.entities, "feature_views": views, "rows": rows, "digest": digest},
            began_at=rfc3339(began_at),
        )
        return _training_set(row)

    def _references(self, asked: list[str]) -> tuple[list[str], dict[str, int]]:
        """Every feature by its whole name, and over which version of its dataset each view stands."""
        references: list[str] = []
        views: dict[str, int] = {}
        for item in asked:
            view, colon, feature = item.partition(":")
            row = self._view_row(view)
            if colon and feature not in row.features:
                raise BadInputError.of("features", f"{view!r} has no feature {feature!r}")
            references += [item] if colon else [f"{view}:{name}" for name in row.features]
            views[row.name] = row.dataset_version
        return references, views

    def get_training_set(self, row_id: str) -> TrainingSet:
        row = self._repository.training_set(row_id)
        if row is None:
            raise NotFoundError.of("training set", row_id)
        return _training_set(row)

    def training_set_file(self, row_id: str) -> tuple[TrainingSet, Path]:
        """A training set and the file that holds it."""
        row = self._repository.training_set(row_id)
        if row is None:
            raise NotFoundError.of("training set", row_id)
        return _training_set(row), self._storage.path(row.uri)

    def list_training_sets(self, before: str | None, limit: int) -> list[TrainingSet]:
        return [_training_set(row) for row in self._repository.training_sets(before=before, limit=limit)]

    # -- parts

    def _views(self, rows: Sequence[FeatureViewRow]) -> list[FeatureView]:
        """With what the columns behind them hold of personal data."""
        places = {(row.dataset, row.dataset_version) for row in rows}
        kinds = kinds_of(self._work.session, self._work.team_id, places) if rows else {}
        return [_view(row, kinds.get((row.dataset, row.dataset_version), {})) for row in rows]

    @property
    def _repository(self) -> FeatureRepository:
        return FeatureRepository(self._work.session, self._work.team_id)

    def _view_row(self, name: str) -> FeatureViewRow:
        row = self._repository.view(name)
        if row is None:
            raise NotFoundError(
                f"feature view {name!r} was not found", hint="list what there is: mlops features list"
            )
        return row


def _view(row: FeatureViewRow, kinds: Mapping[str, list[PersonalDataKind]]) -> FeatureView:
    return FeatureView(
        name=row.name,
        dataset=row.dataset,
        dataset_version=row.dataset_version,
        entities=_features(row.entities, kinds),
        timestamp_field=row.timestamp_field,
        features=_features(row.features, kinds),
        ttl_seconds=row.ttl_seconds,
        description=row.description,
        materialized_at=row.materialized_at,
        online_entities=row.online_entities,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def _features(columns: Mapping[str, str], kinds: Mapping[str, list[PersonalDataKind]]) -> list[Feature]:
    return [
        Feature(name=name, type=kind, personal_data=kinds.get(name, [])) for name, kind in columns.items()
    ]


def _materialization(row: MaterializationRow) -> Materialization:
    return Materialization(
        materialization_id=row.id,
        feature_view=row.feature_view,
        status=row.status,
        entities=row.entities,
        reason=row.reason,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _training_set(row: TrainingSetRow) -> TrainingSet:
    return TrainingSet(
        training_set_id=row.id,
        entities=row.entities,
        features=row.features,
        label=row.label,
        rows=row.rows,
        columns=row.columns,
        digest=row.digest,
        created_at=row.created_at,
        created_by=row.created_by,
    )

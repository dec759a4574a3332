"""Data, features, models and endpoints as OpenLineage's datasets: what runs read and write."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.services.datasets.repository import DatasetRepository
from ml_platform.services.deployments.tables import DeploymentRow
from ml_platform.services.features.repository import FeatureRepository
from ml_platform.services.features.tables import TrainingSetRow
from ml_platform.services.lineage.facets import Facets
from ml_platform.services.registry.tables import ModelVersionRow


@dataclass(frozen=True, slots=True)
class Thing:
    """One of them. `rows`: how many a run wrote."""

    name: str
    facets: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None


class Things:
    """Those of one team."""

    def __init__(self, session: Session, team_id: str, facets: Facets) -> None:
        self._session = session
        self._team_id = team_id
        self._facets = facets

    def input(self, reference: str) -> list[Thing]:
        """What a job reads: `dataset:<name>@<version>` or `training_set:<id>`."""
        kind, _, given = reference.partition(":")
        if kind == "dataset":
            return self.dataset(given)
        row = FeatureRepository(self._session, self._team_id).training_set(given)
        return [self.training_set(row)] if row is not None else []

    def dataset(self, reference: str) -> list[Thing]:
        """`name@version`."""
        name, _, number = reference.rpartition("@")
        repository = DatasetRepository(self._session, self._team_id)
        dataset = repository.dataset(name)
        version = repository.version(dataset.id, int(number)) if dataset is not None else None
        if dataset is None or version is None:
            return []
        fields = [
            {"name": str(column["name"]), "type": str(column["type"])}
            for column in version.columns_schema["columns"]
        ]
        return [
            Thing(f"datasets/{dataset.name}", self._facets.dataset(number, fields, digest=version.digest))
        ]

    def feature_view(self, name: str, version: int, *, rows: int | None = None) -> Thing:
        """Over one version of its dataset; without its columns when it was deleted meanwhile."""
        view = FeatureRepository(self._session, self._team_id).view(name)
        columns = {**view.entities, **view.features} if view is not None else {}
        fields = [
            {"name": column, **({"type": str(kind)} if kind else {})} for column, kind in columns.items()
        ]
        return Thing(f"feature-views/{name}", self._facets.dataset(str(version), fields), rows)

    def behind_view(self, name: str, version: int) -> list[Thing]:
        """The data that a view stands on."""
        view = FeatureRepository(self._session, self._team_id).view(name)
        return self.dataset(f"{view.dataset}@{version}") if view is not None else []

    def training_set(self, row: TrainingSetRow) -> Thing:
        fields = [{"name": name} for name in row.columns]
        return Thing(f"training-sets/{row.id}", self._facets.dataset(row.digest, fields), row.rows)

    def model_version(self, name: str, version: int) -> list[Thing]:
        query = select(ModelVersionRow).where(
            ModelVersionRow.team_id == self._team_id,
            ModelVersionRow.model_name == name,
            ModelVersionRow.version == version,
        )
        return [self.model(row) for row in self._session.scalars(query)]

    def model(self, row: ModelVersionRow) -> Thing:
        fields = [
            {"name": str(column["name"]), "type": str(column["type"])}
            for column in (row.signature or {}).get("inputs") or []
            if "name" in column and "type" in column
        ]
        return Thing(
            f"models/{row.model_name}", self._facets.dataset(str(row.version), fields, digest=row.digest)
        )

    def endpoint(self, row: DeploymentRow, revision_id: str) -> Thing:
        return Thing(f"endpoints/{row.environment}/{row.name}", self._facets.dataset(revision_id))

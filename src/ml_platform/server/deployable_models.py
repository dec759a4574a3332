"""The registry's versions and the feature store's views, as deployments see them."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ml_platform.contracts.bundles import ColumnType, EntityKey, FeatureRequest
from ml_platform.contracts.features import FeatureLookupSpec, KeyType
from ml_platform.contracts.models import ModelVersion
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.db import Database
from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Work
from ml_platform.services.deployments import DeployableVersion, FeatureSource, Gate
from ml_platform.services.features import FeatureLookups
from ml_platform.services.features.repository import FeatureRepository
from ml_platform.services.registry import RegistryService

_TYPES: dict[KeyType, ColumnType] = {
    "STRING": "string",
    "BYTES": "string",
    "INT32": "integer",
    "INT64": "long",
    "UNIX_TIMESTAMP": "datetime",
}


class RegistryCatalogue:
    """Implements `ModelCatalogue` of deployments and `ModelDirectory` of governance."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    def resolve(self, work: Work, model_id: str) -> DeployableVersion:
        version = RegistryService(work).resolve(model_id)
        gate = version.gate
        return DeployableVersion(
            version_id=version.model_id,
            model_name=version.name,
            version=version.version,
            source=self._path(version, version.source_uri),
            digest=version.digest,
            has_signature=version.signature is not None,
            label=version.label,
            reference=self._path(version, version.reference_uri) if version.reference_uri else None,
            gate=Gate(gate.metric, gate.threshold)
            if gate is not None and gate.metric is not None and gate.threshold is not None
            else None,
            metrics=dict(version.metrics),
            feature_view=version.feature_view,
            model_card=version.model_card,
            created_by=version.created_by,
        )

    def set_champion(self, work: Work, model_name: str, version: int) -> None:
        RegistryService(work).set_champion(model_name, version)

    def require_model(self, work: Work, name: str) -> None:
        RegistryService(work).get_model(name)

    def _path(self, version: ModelVersion, uri: str) -> Path:
        try:
            return self._storage.path(uri)
        except NotFoundError as error:
            raise ConflictError(
                f"the artifact of {version.name}/{version.version} is not what was registered: {error.detail}",
                code=ErrorCode.ARTIFACT_CHANGED,
                hint="restore the object storage from a backup, or train and register a new version",
            ) from error


class OnlineFeatureSources:
    """Implements `FeatureLookups` of deployments over the features slice."""

    def __init__(self, database: Database, lookups: FeatureLookups) -> None:
        self._database = database
        self._lookups = lookups

    def lookup_for(self, team_id: str, view: str, columns: Sequence[str]) -> FeatureSource:
        with self._database.read() as session:
            row = FeatureRepository(session, team_id).view(view)
        known = set(row.features) if row is not None else set(columns)
        filled = [column for column in columns if column in known]
        if not filled:
            raise ConflictError(f"feature view {view!r} has none of the model's columns")
        spec = msgspec.convert(self._lookups.lookup_for(team_id, view, filled), FeatureLookupSpec)
        keys = {key.name: key for item in spec.views for key in item.join_keys}
        request = FeatureRequest(
            entities=tuple(EntityKey(name=key.name, type=_TYPES[key.type]) for key in keys.values()),
            columns={
                feature.output: f"{item.name}:{feature.name}"
                for item in spec.views
                for feature in item.features
            },
        )
        return FeatureSource(request=request, project=spec.project, path=spec.store_path)

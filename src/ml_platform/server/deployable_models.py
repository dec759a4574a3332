"""The registry's versions and the feature store's views, as deployments see them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ml_platform.contracts.bundles import ColumnType, EntityKey, FeatureRequest
from ml_platform.contracts.features import FeatureLookupSpec, KeyType
from ml_platform.contracts.models import Model, ModelVersion
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.db import Database
from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Work
from ml_platform.services.deployments import DeployableVersion, FeatureSource, Gate, Origin
from ml_platform.services.features import FeatureLookups
from ml_platform.services.features.repository import FeatureRepository
from ml_platform.services.governance.cards import CardFacts
from ml_platform.services.governance.interfaces import KnownModel
from ml_platform.services.registry import RegistryService
from ml_platform.services.training.tables import JobRow

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
            artifact_signature=RegistryService(work).signature(version.name, version.version).bundle,
            origin=_origin(work, version),
        )

    def set_champion(self, work: Work, model_name: str, version: int) -> None:
        RegistryService(work).set_champion(model_name, version)

    def require_model(self, work: Work, name: str) -> None:
        self.get_model(work, name)

    def list_models(self, work: Work, after: str | None, limit: int) -> list[KnownModel]:
        return [_known(model) for model in RegistryService(work).list_models(after, limit)]

    def get_model(self, work: Work, name: str) -> KnownModel:
        return _known(RegistryService(work).get_model(name))

    def card(self, work: Work, name: str, version: int) -> CardFacts:
        registry = RegistryService(work)
        found, written = registry.get_version(name, version), registry.card_of(name, version)
        facts = {
            "Task": found.task,
            "Predicts": found.label,
            "Description": found.description,
            "Features": f"feature view {found.feature_view}" if found.feature_view else None,
            "Registered": f"by {found.created_by}, {found.created_at:%Y-%m-%d %H:%M} UTC",
            "MLflow run": found.run_id,
            "Job": found.job_id,
            "SHA-256 of the artifact": found.digest,
            "Inputs": ", ".join(
                str(column.get("name")) for column in (found.signature or {}).get("inputs") or ()
            ),
        }
        return CardFacts(
            model_id=found.model_id,
            name=found.name,
            version=found.version,
            revision=written.revision,
            written_by=written.written_by,
            written_at=written.written_at,
            card=written.card,
            facts={key: value for key, value in facts.items() if value},
            metrics=found.metrics,
            gate=" ".join(found.gate.reasons) if found.gate is not None else None,
        )

    def set_card(self, work: Work, name: str, version: int, card: Mapping[str, object]) -> None:
        RegistryService(work).set_card(name, version, card)

    def _path(self, version: ModelVersion, uri: str) -> Path:
        try:
            return self._storage.path(uri)
        except NotFoundError as error:
            raise ConflictError(
                f"the artifact of {version.name}/{version.version} is not what was registered: {error.detail}",
                code=ErrorCode.ARTIFACT_CHANGED,
                hint="restore the object storage from a backup, or train and register a new version",
            ) from error


def _origin(work: Work, version: ModelVersion) -> Origin:
    job = work.session.get(JobRow, version.job_id) if version.job_id is not None else None
    inputs = job.inputs if job is not None and job.team_id == work.team_id else {}
    references = tuple(str(item["reference"]) for item in inputs.values())
    return Origin(version.run_id, version.job_id, references)


def _known(model: Model) -> KnownModel:
    return KnownModel(model.name, model.created_by, model.latest_version)


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
        return FeatureSource(
            request=request,
            project=spec.project,
            path=spec.store_path,
            kind="sqlite" if spec.store_path else "redis",
        )

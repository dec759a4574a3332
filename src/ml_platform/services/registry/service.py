"""What one can ask of the registry: which version a name means, and whether it is still what it was."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ml_platform.contracts.identity import Permission
from ml_platform.contracts.models import CHAMPION, Model, ModelSignature, ModelVersion
from ml_platform.kit.errors import AppError, BadInputError, ForbiddenError, NotFoundError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Resource, Work
from ml_platform.services.registry.errors import ArtifactChangedError
from ml_platform.services.registry.interfaces import ModelInspector
from ml_platform.services.registry.repository import RegistryRepository
from ml_platform.services.registry.tables import ModelAliasRow, ModelVersionRow, RegisteredModelRow

_SHORT = re.compile(r"(.+)_v([1-9][0-9]{0,8})")
_SLASH = re.compile(r"([^/@]+)/([1-9][0-9]{0,8})")
_ALIAS = re.compile(r"([^/@]+)@([^/@]+)")


@dataclass(frozen=True, slots=True)
class WrittenCard:
    """A model card; revision 1 is the one of the registration."""

    card: dict[str, Any]
    revision: int
    written_by: str
    written_at: datetime


class RegistryService:
    """Models of one team, in one unit of work."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._repository = RegistryRepository(work.session, work.team_id)

    def resolve(self, model_id: str) -> ModelVersion:
        """The version that is meant by `name` (the newest), `name/version`, `name@alias` or `name_v2`.

        A model that is really called `name_v2` wins over version 2 of `name`.
        """
        row = self._find(model_id)
        if row is None:
            raise NotFoundError.of("model", model_id)
        return self.version_of(row)

    def champion(self, name: str) -> ModelVersion | None:
        """The version that others are measured against."""
        alias = self._repository.alias(name, CHAMPION)
        row = self._repository.version(name, alias.version) if alias else None
        return self.version_of(row) if row is not None else None

    def find_registration(self, name: str, key: str) -> ModelVersion | None:
        """The version that was registered under a key."""
        row = self._repository.version_by_key(name, key)
        return self.version_of(row) if row is not None else None

    def get_model(self, name_or_id: str) -> Model:
        """A model with the version that was asked for."""
        version = self.resolve(name_or_id)
        row = self._repository.model(version.name)
        if row is None:
            raise NotFoundError.of("model", name_or_id)
        [model] = self._models([row])
        return model.model_copy(update={"version": version})

    def list_models(self, after: str | None, limit: int) -> list[Model]:
        return self._models(self._repository.models(after=after, limit=limit))

    def list_versions(self, name: str, before: int | None, limit: int) -> list[ModelVersion]:
        """Newest first."""
        if self._repository.model(name) is None:
            raise NotFoundError.of("model", name)
        return self._versions(self._repository.versions(name, before=before, limit=limit))

    def list_versions_of_experiment(
        self, experiment_id: str, before: str | None, limit: int
    ) -> list[tuple[str, ModelVersion]]:
        """Newest first, each with the key to page by."""
        rows = self._repository.versions_of_experiment(experiment_id, before=before, limit=limit)
        return list(zip([row.id for row in rows], self._versions(rows), strict=True))

    def get_version(self, name: str, version: int) -> ModelVersion:
        row = self._repository.version(name, version)
        if row is None:
            raise NotFoundError.of("model", f"{name}/{version}")
        return self.version_of(row)

    def signature(self, name: str, version: int) -> ModelSignature:
        """What vouches for the files of a version."""
        row = self._repository.version(name, version)
        if row is None:
            raise NotFoundError.of("model", f"{name}/{version}")
        return ModelSignature(
            model_id=row.model_id, signed_name=f"{name}/{version}", bundle=row.artifact_signature
        )

    def set_alias(self, name: str, alias: str, version: int) -> ModelVersion:
        """Points an alias of the team's own at a version."""
        self._own_alias(alias)
        self._permit(name, alias, version, "alias.set")
        return self._point(name, alias, version)

    def delete_alias(self, name: str, alias: str) -> None:
        self._own_alias(alias)
        row = self._repository.alias(name, alias)
        if row is None:
            raise NotFoundError.of("alias", f"{name}@{alias}")
        self._permit(name, alias, row.version, "alias.delete")
        self._delete(row)

    def card_of(self, name: str, version: int) -> WrittenCard:
        """A version's card as it stands, and who wrote it."""
        row = self._repository.version(name, version)
        if row is None:
            raise NotFoundError.of("model", f"{name}/{version}")
        return WrittenCard(
            card=row.model_card,
            revision=row.card_revision,
            written_by=row.card_written_by or row.created_by,
            written_at=row.card_written_at or row.created_at,
        )

    def set_card(self, name: str, version: int, card: Mapping[str, Any]) -> None:
        """Replaces the card as a whole; approvals that were given on the old one are void."""
        row = self._repository.version(name, version, lock=True)
        if row is None:
            raise NotFoundError.of("model", f"{name}/{version}")
        before = {"card": row.model_card, "revision": row.card_revision}
        row.model_card, row.card_revision = dict(card), row.card_revision + 1
        row.card_written_by, row.card_written_at = self._work.actor.name, self._work.clock()
        self._work.session.flush()
        self._work.record(
            "model.card.set",
            "model_version",
            row.id,
            before=before,
            after={"card": row.model_card, "revision": row.card_revision},
        )

    def mirror_alias(self, name: str, alias: str, version: int | None) -> None:
        """For the platform: an alias was set (or, with None, deleted) with MLflow's client, which was permitted."""
        row = self._repository.alias(name, alias)
        if version is not None:
            if row is None or row.version != version:
                self._point(name, alias, version)
        elif row is not None:
            self._delete(row)

    def set_champion(self, name: str, version: int) -> ModelVersion:
        """For the platform: this version proved itself in production and is now the one to beat."""
        return self._point(name, CHAMPION, version)

    def version_of(self, row: ModelVersionRow) -> ModelVersion:
        [version] = self._versions([row])
        return version

    def _find(self, model_id: str) -> ModelVersionRow | None:
        repository = self._repository
        if repository.model(model_id) is not None:
            return repository.newest(model_id)
        if match := _SLASH.fullmatch(model_id) or _SHORT.fullmatch(model_id):
            return repository.version(match[1], int(match[2]))
        if match := _ALIAS.fullmatch(model_id):
            alias = repository.alias(match[1], match[2])
            return repository.version(match[1], alias.version) if alias else None
        return None

    def _point(self, name: str, alias: str, version: int) -> ModelVersion:
        row = self._repository.version(name, version)
        if row is None:
            raise NotFoundError.of("model", f"{name}/{version}")
        known = self._repository.alias(name, alias)
        before = {"alias": alias, "version": known.version} if known else None
        if known is not None:
            known.version = version
        else:
            self._work.session.add(
                ModelAliasRow(team_id=self._work.team_id, model_name=name, alias=alias, version=version)
            )
        self._work.session.flush()
        after = {"alias": alias, "version": version}
        self._work.record("model.alias.set", "model_version", row.id, before=before, after=after)
        return self.version_of(row)

    def _delete(self, row: ModelAliasRow) -> None:
        self._work.session.delete(row)
        before = {"alias": row.alias, "version": row.version}
        self._work.record("model.alias.delete", "model", f"{row.model_name}@{row.alias}", before=before)

    def _permit(self, name: str, alias: str, version: int, operation: str) -> None:
        row = self._repository.version(name, version)
        facts: dict[str, str | int | bool] = {"model": name, "version": version, "alias": alias}
        if row is not None:
            facts["registered_by"] = row.created_by
            if isinstance(declared := row.model_card.get("personal_data"), bool):
                facts["personal_data"] = declared
        resource = Resource("model_alias", f"{name}@{alias}", self._work.team_id, facts)
        self._work.require(Permission.TRAIN_MODEL, resource, operation)

    def _own_alias(self, alias: str) -> None:
        if alias == CHAMPION:
            raise ForbiddenError(
                "the alias 'champion' is set by the platform only",
                hint="promote a deployment of the version in production: it becomes the champion",
            )
        if _SHORT.fullmatch(alias) or alias.isdigit():
            raise BadInputError.of("alias", "must not look like a version")

    def _models(self, rows: list[RegisteredModelRow]) -> list[Model]:
        names = [row.name for row in rows]
        latest, aliases = self._repository.latest_versions(names), self._repository.aliases(names)
        return [
            Model(
                name=row.name,
                description=row.description,
                aliases=aliases.get(row.name, {}),
                latest_version=latest.get(row.name, 0),
                created_by=row.created_by,
                created_at=row.created_at,
            )
            for row in rows
        ]

    def _versions(self, rows: list[ModelVersionRow]) -> list[ModelVersion]:
        aliases = self._repository.aliases({row.model_name for row in rows})
        return [
            _version(row, [a for a, v in aliases.get(row.model_name, {}).items() if v == row.version])
            for row in rows
        ]


class ModelFiles:
    """The stored artifacts of versions. Whatever uses one asks here, and never gets a changed one."""

    def __init__(self, storage: ObjectStorage, inspector: ModelInspector) -> None:
        self._storage = storage
        self._inspector = inspector

    def verify_digest(self, version: ModelVersion) -> Path:
        """The model's directory, after every file of it was hashed again.

        Raises:
            ArtifactChangedError: it is not what was registered.
        """
        return check_unchanged(version, self._storage, self._inspector)

    def reference(self, version: ModelVersion) -> Path | None:
        """The version's reference rows (Parquet), after they were hashed again; None without any.

        Raises:
            ArtifactChangedError: they are not what was registered.
        """
        if version.reference_uri is None:
            return None
        expected = version.reference_uri.rpartition("/reference-")[2].removesuffix(".parquet")
        try:
            if self._storage.sha256(version.reference_uri) == expected:
                return self._storage.path(version.reference_uri)
        except NotFoundError as error:
            raise _changed(version, f"its reference rows are gone: {error.detail}") from error
        raise _changed(version, "its reference rows are others than when it was registered")


def check_unchanged(version: ModelVersion, storage: ObjectStorage, inspector: ModelInspector) -> Path:
    """The directory of a version; raises ArtifactChangedError unless it is what was registered."""
    try:
        directory = storage.path(version.source_uri)
        digest = inspector.inspect(directory).digest
    except AppError as error:
        raise _changed(version, error.detail) from error
    if digest != version.digest:
        raise _changed(version, f"its digest is {digest[:12]}…, registered was {version.digest[:12]}…")
    return directory


def _changed(version: ModelVersion, detail: str) -> ArtifactChangedError:
    return ArtifactChangedError(
        f"the artifact of {version.model_id} was changed after it was registered: {detail}",
        hint="restore the object storage from a backup, or train and register a new version",
        extra={"model_id": version.model_id},
    )


def _version(row: ModelVersionRow, aliases: list[str]) -> ModelVersion:
    return ModelVersion.model_validate(
        {
            "model_id": row.model_id,
            "name": row.model_name,
            "version": row.version,
            "aliases": aliases,
            "status": row.status,
            "task": row.task,
            "label": row.label,
            "metrics": row.metrics,
            "gate": row.gate,
            "signature": row.signature,
            "digest": row.digest,
            "size_bytes": row.size_bytes,
            "source_uri": row.source_uri,
            "reference_uri": row.reference_uri,
            "feature_view": row.feature_view,
            "model_card": row.model_card,
            "description": row.description,
            "run_id": row.mlflow_run_id,
            "job_id": row.job_id,
            "experiment_id": row.experiment_id,
            "created_by": row.created_by,
            "created_at": row.created_at,
        }
    )

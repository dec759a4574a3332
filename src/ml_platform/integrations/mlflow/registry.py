"""The model registry for in-process use: registered models, versions, aliases and tags."""

# mypy: untyped-calls-exclude="mlflow"

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from ml_platform.integrations.mlflow.conversions import model_version_record, registered_model_record
from ml_platform.integrations.mlflow.errors import TrackingInvalidError, translated
from ml_platform.integrations.mlflow.records import ModelVersionRecord, RegisteredModelRecord
from ml_platform.integrations.mlflow.stores import MlflowStores


class RegistryGateway:
    """One workspace in every call; raises `TrackingError` where MLflow refuses."""

    def __init__(self, stores: MlflowStores) -> None:
        self._stores = stores

    def create_registered_model(
        self, team: str, name: str, description: str | None = None, tags: Mapping[str, str] | None = None
    ) -> RegisteredModelRecord:
        from mlflow.entities.model_registry import RegisteredModelTag

        entities = [RegisteredModelTag(key, value) for key, value in (tags or {}).items()]
        with self._writing(team), translated():
            return registered_model_record(
                self._stores.registry.create_registered_model(name, entities, description)
            )

    def get_registered_model(self, team: str, name: str) -> RegisteredModelRecord:
        with self._reading(team), translated():
            return registered_model_record(self._stores.registry.get_registered_model(name))

    def list_registered_models(
        self, team: str, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[RegisteredModelRecord], str | None]:
        with self._reading(team), translated():
            page = self._stores.registry.search_registered_models(
                filter_string=None, max_results=limit, order_by=None, page_token=cursor
            )
        return [registered_model_record(model) for model in page], page.token or None

    def create_model_version(
        self,
        team: str,
        name: str,
        model_id: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersionRecord:
        """Register a logged model as the next version of `name`.

        The run that logged it becomes the version's run.
        """
        from mlflow.entities.model_registry import ModelVersionTag

        entities = [ModelVersionTag(key, value) for key, value in (tags or {}).items()]
        with self._writing(team), translated():
            logged = self._stores.tracking.get_logged_model(model_id)
            if str(logged.status.value) != "READY":
                raise TrackingInvalidError(f"Model '{model_id}' was not logged completely", "INVALID_STATE")
            version = self._stores.registry.create_model_version(
                name,
                f"models:/{model_id}",
                run_id=logged.source_run_id,
                tags=entities,
                description=description,
                model_id=model_id,
            )
            # As MLflow's own handler does: the logged model then shows where it is registered.
            self._stores.tracking.set_model_versions_tags(
                name=name, version=version.version, model_id=model_id
            )
        return model_version_record(version)

    def get_model_version(self, team: str, name: str, version: int) -> ModelVersionRecord:
        with self._reading(team), translated():
            return model_version_record(self._stores.registry.get_model_version(name, str(version)))

    def list_model_versions(
        self, team: str, name: str, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[ModelVersionRecord], str | None]:
        """Page through a model's versions, newest first."""
        quoted = name.replace("'", "")
        with self._reading(team), translated():
            self._stores.registry.get_registered_model(name)
            page = self._stores.registry.search_model_versions(
                f"name = '{quoted}'", limit, ["version_number DESC"], cursor
            )
        return [model_version_record(version) for version in page], page.token or None

    def get_by_alias(self, team: str, name: str, alias: str) -> ModelVersionRecord:
        with self._reading(team), translated():
            return model_version_record(self._stores.registry.get_model_version_by_alias(name, alias))

    def set_alias(self, team: str, name: str, alias: str, version: int) -> None:
        with self._writing(team), translated():
            self._stores.registry.set_registered_model_alias(name, alias, str(version))

    def delete_alias(self, team: str, name: str, alias: str) -> None:
        with self._writing(team), translated():
            self._stores.registry.delete_registered_model_alias(name, alias)

    def set_model_version_tag(self, team: str, name: str, version: int, key: str, value: str) -> None:
        from mlflow.entities.model_registry import ModelVersionTag

        with self._writing(team), translated():
            self._stores.registry.set_model_version_tag(name, str(version), ModelVersionTag(key, value))

    @contextmanager
    def _reading(self, team: str) -> Iterator[None]:
        self._stores.ensure_workspace(team)
        with self._stores.reading(team):
            yield

    def _writing(self, team: str) -> AbstractContextManager[None]:
        self._stores.ensure_workspace(team)
        return self._stores.writing(team)

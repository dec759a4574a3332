"""Queries over the models of one team."""

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from ml_platform.services.registry.tables import ModelAliasRow, ModelVersionRow, RegisteredModelRow


class RegistryRepository:
    def __init__(self, session: Session, team_id: str) -> None:
        self._session = session
        self._team_id = team_id

    def model(self, name: str) -> RegisteredModelRow | None:
        return self._session.scalars(
            select(RegisteredModelRow).where(
                RegisteredModelRow.team_id == self._team_id, RegisteredModelRow.name == name
            )
        ).first()

    def models(self, *, after: str | None, limit: int) -> list[RegisteredModelRow]:
        query = (
            select(RegisteredModelRow)
            .where(RegisteredModelRow.team_id == self._team_id)
            .order_by(RegisteredModelRow.name)
            .limit(limit)
        )
        if after is not None:
            query = query.where(RegisteredModelRow.name > after)
        return list(self._session.scalars(query))

    def version(self, name: str, version: int, *, lock: bool = False) -> ModelVersionRow | None:
        return self._version(
            ModelVersionRow.model_name == name, ModelVersionRow.version == version, lock=lock
        )

    def version_by_id(self, model_id: str) -> ModelVersionRow | None:
        return self._version(ModelVersionRow.model_id == model_id)

    def version_by_key(self, name: str, key: str) -> ModelVersionRow | None:
        return self._version(ModelVersionRow.model_name == name, ModelVersionRow.registration_key == key)

    def newest(self, name: str) -> ModelVersionRow | None:
        return self._version(ModelVersionRow.model_name == name)

    def versions(self, name: str, *, before: int | None, limit: int) -> list[ModelVersionRow]:
        query = (
            select(ModelVersionRow)
            .where(ModelVersionRow.team_id == self._team_id, ModelVersionRow.model_name == name)
            .order_by(ModelVersionRow.version.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(ModelVersionRow.version < before)
        return list(self._session.scalars(query))

    def versions_of_experiment(
        self, experiment_id: str, *, before: str | None, limit: int
    ) -> list[ModelVersionRow]:
        query = (
            select(ModelVersionRow)
            .where(ModelVersionRow.team_id == self._team_id, ModelVersionRow.experiment_id == experiment_id)
            .order_by(ModelVersionRow.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(ModelVersionRow.id < before)
        return list(self._session.scalars(query))

    def latest_versions(self, names: Iterable[str]) -> dict[str, int]:
        query = (
            select(ModelVersionRow.model_name, func.max(ModelVersionRow.version))
            .where(ModelVersionRow.team_id == self._team_id, ModelVersionRow.model_name.in_(list(names)))
            .group_by(ModelVersionRow.model_name)
        )
        return {row[0]: row[1] for row in self._session.execute(query)}

    def alias(self, name: str, alias: str) -> ModelAliasRow | None:
        return self._session.get(ModelAliasRow, (self._team_id, name, alias))

    def aliases(self, names: Iterable[str]) -> dict[str, dict[str, int]]:
        """Version by alias, by model."""
        query = (
            select(ModelAliasRow)
            .where(ModelAliasRow.team_id == self._team_id, ModelAliasRow.model_name.in_(list(names)))
            .order_by(ModelAliasRow.alias)
        )
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for row in self._session.scalars(query):
            found[row.model_name][row.alias] = row.version
        return found

    def _version(self, *conditions: ColumnElement[bool], lock: bool = False) -> ModelVersionRow | None:
        query = (
            select(ModelVersionRow)
            .where(ModelVersionRow.team_id == self._team_id, *conditions)
            .order_by(ModelVersionRow.version.desc())
            .limit(1)
        )
        return self._session.scalars(query.with_for_update() if lock else query).first()

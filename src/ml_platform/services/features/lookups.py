"""What an inference server is told so that it can look a model's features up by itself."""

from typing import Any, Protocol

from ml_platform.kit.db import Database
from ml_platform.kit.errors import ConflictError
from ml_platform.services.features.interfaces import FeatureEngine
from ml_platform.services.features.repository import FeatureRepository


class FeatureLookups(Protocol):
    """What deployments need of features."""

    def lookup_for(self, team_id: str, view: str, columns: list[str]) -> dict[str, Any]:
        """The look-up of a model's input columns in a view; ConflictError when it cannot serve them."""


class OnlineLookups:
    """Implements `FeatureLookups` over the team's feature views."""

    def __init__(self, database: Database, engine: FeatureEngine) -> None:
        self._database = database
        self._engine = engine

    def lookup_for(self, team_id: str, view: str, columns: list[str]) -> dict[str, Any]:
        with self._database.read() as session:
            row = FeatureRepository(session, team_id).view(view)
        if row is None:
            raise ConflictError(f"the model declares the feature view {view!r}, which does not exist")
        if row.materialized_at is None:
            raise ConflictError(
                f"feature view {view!r} was never materialised", hint=f"mlops features materialize {view}"
            )
        missing = [column for column in columns if column not in row.features]
        if missing:
            raise ConflictError(f"feature view {view!r} lacks the model's column {missing[0]!r}")
        return self._engine.lookup(team_id, {column: f"{view}:{column}" for column in columns})

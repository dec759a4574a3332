"""Rows that callers push into a feature view's online values, past its dataset."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_platform.contracts.datasets import FeaturePushed
from ml_platform.kit.errors import NotFoundError
from ml_platform.services.access import Work
from ml_platform.services.features.interfaces import FeatureEngine, PushedView
from ml_platform.services.features.repository import FeatureRepository


class FeaturePushes:
    """Pushes of the actor's team."""

    def __init__(self, work: Work, engine: FeatureEngine) -> None:
        self._work = work
        self._engine = engine

    def push(self, name: str, columns: Mapping[str, Sequence[Any]]) -> FeaturePushed:
        """Writes the rows online, and then the event: no transaction is open while the store is written.

        The same push again writes the same again.
        """
        with self._work.database.read() as session:
            row = FeatureRepository(session, self._work.team_id).view(name)
        if row is None:
            raise NotFoundError(
                f"feature view {name[:128]!r} was not found", hint="list what there is: mlops features list"
            )
        view = PushedView(row.name, dict(row.entities), row.timestamp_field, dict(row.features))
        entities = self._engine.push(self._work.team_id, view, columns)
        self._work.record(
            "feature_view.push", "feature_view", row.id, after={"name": row.name, "entities": entities}
        )
        return FeaturePushed(feature_view=row.name, entities=entities)

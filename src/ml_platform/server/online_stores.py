"""The teams' online stores and the feature views in them, as inference servers are told."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.features import OnlineView
from ml_platform.contracts.serving import FeatureStore
from ml_platform.services.features import FeatureEngine
from ml_platform.services.features.tables import FeatureViewRow
from ml_platform.services.identity.tables import TeamRow


class OnlineStores:
    """Implements `FeatureStores` of deployments over the features slice."""

    def __init__(self, engine: FeatureEngine) -> None:
        self._engine = engine

    def feature_stores(self, session: Session) -> Sequence[FeatureStore]:
        query = (
            select(FeatureViewRow, TeamRow.name)
            .join(TeamRow, TeamRow.id == FeatureViewRow.team_id)
            .order_by(TeamRow.name, FeatureViewRow.name)
        )
        views: dict[tuple[str, str], list[OnlineView]] = {}
        for row, team in session.execute(query):
            views.setdefault((row.team_id, team), []).append(_view(row))
        return [self._store(team_id, team, found) for (team_id, team), found in views.items()]

    def of_team(self, session: Session, team_id: str, team: str) -> FeatureStore:
        """One team's, also when it has no views."""
        query = select(FeatureViewRow).where(FeatureViewRow.team_id == team_id).order_by(FeatureViewRow.name)
        return self._store(team_id, team, [_view(row) for row in session.scalars(query)])

    def _store(self, team_id: str, team: str, views: list[OnlineView]) -> FeatureStore:
        store = self._engine.store(team_id)
        return FeatureStore(
            team=team, project=store.project, kind=store.kind, path=store.path, views=tuple(views)
        )


def _view(row: FeatureViewRow) -> OnlineView:
    """In the order of the names: PostgreSQL keeps no other, and what has not changed must look the same."""
    view = {
        "name": row.name,
        "join_keys": [{"name": name, "type": kind} for name, kind in sorted(row.entities.items())],
        "features": [{"name": name, "type": kind} for name, kind in sorted(row.features.items())],
        "ttl_seconds": row.ttl_seconds,
    }
    return msgspec.convert(view, OnlineView)

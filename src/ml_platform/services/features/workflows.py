"""Materialisation as a durable workflow."""

from datetime import datetime
from typing import Any

from ml_platform.kit.durable import Flow, StepFailedError
from ml_platform.kit.errors import NotFoundError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.datasets import DatasetStore
from ml_platform.services.features.interfaces import FeatureEngine
from ml_platform.services.features.repository import FeatureRepository
from ml_platform.services.features.service import MATERIALIZE, FeatureService


class MaterializeWorkflow:
    """Writes a view's newest values online. Writing them twice is writing them once."""

    name = MATERIALIZE

    def __init__(
        self, factory: WorkFactory, engine: FeatureEngine, datasets: DatasetStore, storage: ObjectStorage
    ) -> None:
        self._factory = factory
        self._engine = engine
        self._datasets = datasets
        self._storage = storage

    def run(
        self,
        flow: Flow,
        *,
        team_id: str,
        team_name: str,
        start: str | None = None,
        end: str | None = None,
    ) -> dict[str, Any]:
        actor = Actor.system("features", team_id=team_id, team_name=team_name)
        try:
            entities = flow.step("write", self._write, actor, flow.workflow_id, start, end)
        except StepFailedError as error:
            flow.step("fail", self._finish, actor, flow.workflow_id, None, error.error.detail)
            return {"status": "failed"}
        flow.step("finish", self._finish, actor, flow.workflow_id, entities, None)
        return {"status": "succeeded", "entities": entities}

    def _write(self, actor: Actor, row_id: str, start: str | None, end: str | None) -> int:
        with self._factory.begin(actor) as work:
            repository = FeatureRepository(work.session, actor.team_id)
            row = repository.materialization(row_id)
            view = repository.view(row.feature_view) if row is not None else None
            if row is None or view is None:
                raise NotFoundError("the feature view was deleted meanwhile")
            row.status = "running"
            name, moved = view.name, view.dataset_version != row.dataset_version
            view.dataset_version = row.dataset_version
        if moved:
            with self._factory.begin(actor, write=False) as work:
                current = FeatureRepository(work.session, actor.team_id).view(name)
                assert current is not None
                service = FeatureService(work, self._engine, self._datasets, self._storage)
                definition = service.definition(current)
            self._engine.apply(actor.team_id, definition)
        return self._engine.materialize(actor.team_id, name, _moment(start), _moment(end))

    def _finish(self, actor: Actor, row_id: str, entities: int | None, reason: str | None) -> None:
        with self._factory.begin(actor) as work:
            repository = FeatureRepository(work.session, actor.team_id)
            row = repository.materialization(row_id)
            if row is None or row.finished_at is not None:
                return
            row.status = "succeeded" if reason is None else "failed"
            row.entities, row.reason, row.finished_at = entities, reason, work.clock()
            view = repository.view(row.feature_view)
            if view is not None and reason is None:
                view.materialized_at, view.online_entities = work.clock(), entities
            work.record(
                "feature_view.materialized" if reason is None else "feature_view.materialize_failed",
                "materialization",
                row.id,
                after={"entities": entities, "reason": reason},
            )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None

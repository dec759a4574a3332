"""Keeps the edges that follow from no row, out of the audit events of the changes that make them.

Every change has its audit event in its own transaction, so an edge is there exactly when the change is, and no
slice has to know of lineage.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ml_platform.contracts.lineage import LineageKind
from ml_platform.kit.clock import utc_now
from ml_platform.kit.ids import new_id
from ml_platform.services.features.tables import FeatureViewRow, TrainingSetRow
from ml_platform.services.lineage.finding import dataset_version
from ml_platform.services.lineage.links import Ref
from ml_platform.services.lineage.tables import LineageEdgeRow

_K = LineageKind
Named = tuple[Ref, str]


def record_edges(session: Session, events: Sequence[Mapping[str, Any]]) -> None:
    """Adds what these events say, in their transaction."""
    for event in events:
        action = event["action"]
        if action in ("feature_view.create", "feature_view.materialize"):
            _of_view(session, event)
        elif action == "training_set.create":
            _of_training_set(session, event)
        elif action == "job.submit":
            _of_job(session, event)


def _of_view(session: Session, event: Mapping[str, Any]) -> None:
    """Which version of its dataset a view stands on, or is about to."""
    view = session.get(FeatureViewRow, event["resource_id"])
    if view is None:
        return
    number = int((event["after"] or {}).get("dataset_version", view.dataset_version))
    source = _dataset(session, view.team_id, view.dataset, number)
    target = (Ref(_K.FEATURE_VIEW, f"{view.id}@{number}"), f"{view.name}@{number}")
    _add(session, view.team_id, [(source, target, "source")])


def _of_training_set(session: Session, event: Mapping[str, Any]) -> None:
    row = session.get(TrainingSetRow, event["resource_id"])
    if row is None:
        return
    target = (Ref(_K.TRAINING_SET, row.id), row.id)
    name, _, number = row.entities.rpartition("@")
    edges = [(_dataset(session, row.team_id, name, int(number)), target, "entities")]
    for view_name, view_version in ((event["after"] or {}).get("feature_views") or {}).items():
        query = select(FeatureViewRow.id).where(
            FeatureViewRow.team_id == row.team_id, FeatureViewRow.name == view_name
        )
        view_id = session.scalars(query).first()
        if view_id is not None:
            view = (Ref(_K.FEATURE_VIEW, f"{view_id}@{view_version}"), f"{view_name}@{view_version}")
            edges.append((view, target, "features"))
    _add(session, row.team_id, edges)


def _of_job(session: Session, event: Mapping[str, Any]) -> None:
    team_id, job = event["team_id"], event["resource_id"]
    edges = []
    for name, reference in ((event["after"] or {}).get("inputs") or {}).items():
        kind, _, given = str(reference).partition(":")
        if kind == "dataset":
            dataset, _, number = given.rpartition("@")
            source = _dataset(session, team_id, dataset, int(number))
        else:
            source = (Ref(_K.TRAINING_SET, given), given)
        edges.append((source, (Ref(_K.JOB, job), job), f"input {name}"))
    _add(session, team_id, edges)


def _dataset(session: Session, team_id: str, name: str, number: int) -> Named | None:
    key = dataset_version(session, team_id, name, number)
    return (Ref(_K.DATASET, key), f"{name}@{number}") if key is not None else None


def _add(session: Session, team_id: str, edges: Sequence[tuple[Named | None, Named, str]]) -> None:
    """An edge that is there already stays as it is."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    values = [
        {
            "id": new_id("lin"),
            "team_id": team_id,
            "source_kind": named[0].kind.value,
            "source_id": named[0].key,
            "source_name": named[1],
            "target_kind": target[0].kind.value,
            "target_id": target[0].key,
            "target_name": target[1],
            "relation": relation,
            "recorded_at": utc_now(),
        }
        for named, target, relation in edges
        if named is not None
    ]
    if values:
        session.flush()
        session.execute(insert(LineageEdgeRow).values(values).on_conflict_do_nothing())

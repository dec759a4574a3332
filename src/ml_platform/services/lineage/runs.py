"""OpenLineage's run events, made of audit events in the transaction of the change that they tell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.deployments import RolloutStatus
from ml_platform.contracts.jobs import JobStatus
from ml_platform.kit.clock import rfc3339, utc_now
from ml_platform.kit.ids import new_id
from ml_platform.services.deployments.tables import DeploymentRow, RolloutRow
from ml_platform.services.features.tables import MaterializationRow, TrainingSetRow
from ml_platform.services.identity.tables import TeamRow
from ml_platform.services.lineage.facets import SPEC, Facets, run_id
from ml_platform.services.lineage.tables import LineageEventRow
from ml_platform.services.lineage.things import Thing, Things
from ml_platform.services.registry.tables import ModelVersionRow
from ml_platform.services.training.tables import JobRow, SourceRow

START, COMPLETE, FAIL, ABORT = "START", "COMPLETE", "FAIL", "ABORT"
_JOB_ENDS = {JobStatus.SUCCEEDED: COMPLETE, JobStatus.CANCELLED: ABORT}
_ROLLOUT_ENDS = {
    f"rollout.{RolloutStatus.SUCCEEDED.value}": COMPLETE,
    f"rollout.{RolloutStatus.FAILED.value}": FAIL,
    f"rollout.{RolloutStatus.ROLLED_BACK.value}": FAIL,
    f"rollout.{RolloutStatus.CANCELLED.value}": ABORT,
}

Change = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What one event tells."""

    type: str
    at: str
    our_id: str
    job: str
    job_type: str
    inputs: Sequence[Thing]
    outputs: Sequence[Thing]
    tags: Mapping[str, object]
    error: str | None = None


class RunEvents:
    """Listens to changes and has what they tell wait for each receiver.

    Args:
        namespace: of jobs and datasets, before the team's name.
        version: of the platform.
        receivers: by their names.
    """

    def __init__(self, namespace: str, version: str, receivers: Sequence[str]) -> None:
        self._namespace = namespace
        self._facets = Facets(version)
        self._receivers = receivers

    def listen(self, session: Session, changes: Sequence[Change]) -> None:
        """Takes the audit events of one transaction."""
        for change in changes:
            for told in _told(session, change, self._facets):
                self._enqueue(session, change["team_id"], told)

    def _enqueue(self, session: Session, team_id: str, told: Told) -> None:
        event = self._event(session.get_one(TeamRow, team_id).name, told)
        for receiver in self._receivers:
            now = utc_now()
            session.add(
                LineageEventRow(
                    id=new_id("lev"),
                    receiver=receiver,
                    run_id=event["run"]["runId"],
                    event=event,
                    created_at=now,
                    not_before=now,
                    attempts=0,
                )
            )

    def _event(self, team: str, told: Told) -> dict[str, Any]:
        namespace = f"{self._namespace}/{team}"
        return {
            "eventType": told.type,
            "eventTime": told.at,
            "run": {
                "runId": run_id(told.our_id),
                "facets": self._facets.run({"id": told.our_id, **told.tags}, told.error),
            },
            "job": {
                "namespace": namespace,
                "name": told.job,
                "facets": self._facets.job(told.job_type, team),
            },
            "inputs": [
                {"namespace": namespace, "name": thing.name, "facets": thing.facets} for thing in told.inputs
            ],
            "outputs": [
                {
                    "namespace": namespace,
                    "name": thing.name,
                    "facets": thing.facets,
                    **({"outputFacets": self._facets.rows(thing.rows)} if thing.rows is not None else {}),
                }
                for thing in told.outputs
            ],
            "producer": self._facets.producer,
            "schemaURL": SPEC,
        }


def _told(session: Session, change: Change, facets: Facets) -> Iterator[Told]:
    action = change["action"]
    if action in _ROLLOUT_ENDS:
        yield from _of_rollout(session, change, facets)
    elif (tell := _TELLERS.get(action)) is not None:
        yield from tell(session, change, facets)


def _of_materialization(session: Session, change: Change, facets: Facets) -> Iterator[Told]:
    row_id = change["context"].get("materialization_id", change["resource_id"])
    row = session.get(MaterializationRow, row_id)
    if row is None:
        return
    things = Things(session, row.team_id, facets)
    view = things.feature_view(row.feature_view, row.dataset_version, rows=row.entities)
    kind = {
        "feature_view.materialize": START,
        "feature_view.materialized": COMPLETE,
        "feature_view.materialize_failed": FAIL,
    }[change["action"]]
    yield Told(
        type=kind,
        at=change["at"],
        our_id=row.id,
        job=f"materialize/{row.feature_view}",
        job_type="MATERIALIZATION",
        inputs=things.behind_view(row.feature_view, row.dataset_version),
        outputs=[view],
        tags={"requested_by": change["actor_name"] if kind == START else None},
        error=row.reason if kind == FAIL else None,
    )


def _of_training_set(session: Session, change: Change, facets: Facets) -> Iterator[Told]:
    """The join is over when it is known, so it is told from its start to its end at once."""
    row = session.get(TrainingSetRow, change["resource_id"])
    if row is None:
        return
    things = Things(session, row.team_id, facets)
    views = (change["after"] or {}).get("feature_views") or {}
    inputs = [
        *things.dataset(row.entities),
        *(things.feature_view(name, version) for name, version in views.items()),
    ]
    began = change["context"].get("began_at", change["at"])
    for kind, at, outputs in ((START, began, []), (COMPLETE, change["at"], [things.training_set(row)])):
        yield Told(
            type=kind,
            at=at,
            our_id=row.id,
            job="training-set",
            job_type="TRAINING_SET",
            inputs=inputs,
            outputs=outputs,
            tags={"requested_by": row.created_by, "label": row.label},
        )


def _of_job(session: Session, change: Change, facets: Facets) -> Iterator[Told]:
    row = session.get(JobRow, change["resource_id"])
    if row is None:
        return
    started = change["action"] == "job.start"
    never_seen = not started and (change["before"] or {}).get("status") != JobStatus.RUNNING.value
    if never_seen:  # it ended before it was seen to run, or before it could
        yield _job_told(session, row, START, row.started_at or row.created_at, facets)
    if not started:
        end = _JOB_ENDS.get(JobStatus(row.status), FAIL)
        yield _job_told(session, row, end, change["at"], facets)
    else:
        yield _job_told(session, row, START, change["at"], facets)


def _job_told(session: Session, row: JobRow, kind: str, at: datetime | str, facets: Facets) -> Told:
    things = Things(session, row.team_id, facets)
    versions = select(ModelVersionRow).where(
        ModelVersionRow.team_id == row.team_id, ModelVersionRow.job_id == row.id
    )
    source = session.get(SourceRow, row.source_id)
    return Told(
        type=kind,
        at=at if isinstance(at, str) else rfc3339(at),
        our_id=row.id,
        job=f"train/{row.experiment_name}/{row.request['script']}",
        job_type="TRAINING",
        inputs=[thing for item in row.inputs.values() for thing in things.input(item["reference"])],
        outputs=[] if kind == START else [things.model(version) for version in session.scalars(versions)],
        tags={
            "requested_by": row.created_by,
            "source_sha256": source.sha256 if source is not None else None,
            "requirements_sha256": row.requirements_digest,
            "mlflow_run_id": row.run_id,
        },
        error=None if kind in (START, COMPLETE) else row.reason or f"it {row.status}",
    )


def _of_registration(session: Session, change: Change, facets: Facets) -> Iterator[Told]:
    """A version that a person registered from a run; one of a job is told as what the job made."""
    row = session.get(ModelVersionRow, change["resource_id"])
    if row is None or row.job_id is not None:
        return
    model = Things(session, row.team_id, facets).model(row)
    for kind in (START, COMPLETE):
        yield Told(
            type=kind,
            at=change["at"],
            our_id=row.id,
            job=f"register/{row.model_name}",
            job_type="REGISTRATION",
            inputs=[],
            outputs=[] if kind == START else [model],
            tags={"requested_by": row.created_by, "mlflow_run_id": row.mlflow_run_id},
        )


def _of_rollout(session: Session, change: Change, facets: Facets) -> Iterator[Told]:
    row = session.get(RolloutRow, change["resource_id"])
    deployment = session.get(DeploymentRow, row.deployment_id) if row is not None else None
    if row is None or deployment is None:
        return
    things = Things(session, row.team_id, facets)
    kind = _ROLLOUT_ENDS.get(change["action"], START)
    yield Told(
        type=kind,
        at=change["at"],
        our_id=row.id,
        job=f"deploy/{row.environment}/{deployment.name}",
        job_type="DEPLOYMENT",
        inputs=things.model_version(row.model_name, row.model_version),
        outputs=[things.endpoint(deployment, row.revision_id)],
        tags={"requested_by": row.requested_by_name, "approval_id": row.approval_id},
        error=None if kind in (START, COMPLETE) else row.reason or f"it {row.status}",
    )


_TELLERS: dict[str, Callable[[Session, Change, Facets], Iterator[Told]]] = {
    "feature_view.materialize": _of_materialization,
    "feature_view.materialized": _of_materialization,
    "feature_view.materialize_failed": _of_materialization,
    "training_set.create": _of_training_set,
    "job.start": _of_job,
    "job.finish": _of_job,
    "model.register": _of_registration,
    "rollout.start": _of_rollout,
}

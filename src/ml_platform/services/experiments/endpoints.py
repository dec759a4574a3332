"""Routes of experiments and runs."""

from typing import Annotated, Literal

from fastapi import Path as PathParam
from fastapi import Query

from ml_platform.contracts.base import Name, Page, Text
from ml_platform.contracts.experiments import Experiment, ExperimentCreate, ExperimentName, Run
from ml_platform.contracts.identity import Permission
from ml_platform.kit.errors import BadInputError
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.experiments.interfaces import Tracking
from ml_platform.services.experiments.service import ExperimentService

router = ApiRouter(tags=["experiments"])

ExperimentRef = Annotated[
    str, PathParam(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", description="Id or name")
]
TrackingOf = Annotated[Tracking, provided(Tracking)]
MetricName = Annotated[
    str | None, Query(max_length=250, pattern=r"^[^\x00-\x1f\x7f]+$", description="Default: by start")
]


@router.post("/experiments", status_code=201)
def create_experiment(
    work: Annotated[Work, requires(Permission.TRAIN_MODEL)],
    tracking: TrackingOf,
    body: ExperimentCreate | None = None,
    name: Annotated[ExperimentName | None, Query()] = None,
    description: Annotated[Text | None, Query()] = None,
) -> Experiment:
    """Name and description stand in the body or in the query."""
    given = body or ExperimentCreate()
    chosen = given.name or name
    if chosen is None:
        raise BadInputError.of("name", "is needed, in the body or in the query")
    return ExperimentService(work, tracking).create_experiment(chosen, given.description or description)


@router.get("/experiments")
def list_experiments(
    work: Annotated[Work, requires(Permission.READ)],
    tracking: TrackingOf,
    name: Annotated[Name | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Experiment]:
    """Newest first, those made with an MLflow client too."""
    return ExperimentService(work, tracking).list_experiments(name=name, limit=limit, cursor=cursor)


@router.get("/experiments/{experiment}")
def get_experiment(
    experiment: ExperimentRef, work: Annotated[Work, requires(Permission.READ)], tracking: TrackingOf
) -> Experiment:
    return ExperimentService(work, tracking).get_experiment(experiment)


@router.get("/experiments/{experiment}/runs")
def list_runs(
    experiment: ExperimentRef,
    work: Annotated[Work, requires(Permission.READ)],
    tracking: TrackingOf,
    sort_by: MetricName = None,
    order: Literal["asc", "desc"] = "desc",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Run]:
    """Newest first, or by a metric; runs that lack the metric are then not in the list."""
    return ExperimentService(work, tracking).list_runs(
        experiment, by_metric=sort_by, descending=order == "desc", limit=limit, cursor=cursor
    )


@router.get("/runs/{run_id}")
def get_run(
    run_id: Annotated[str, PathParam(pattern=r"^[0-9a-f]{32}$")],
    work: Annotated[Work, requires(Permission.READ)],
    tracking: TrackingOf,
) -> Run:
    return ExperimentService(work, tracking).get_run(run_id)

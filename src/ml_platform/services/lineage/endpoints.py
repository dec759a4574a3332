"""Routes of lineage."""

from typing import Annotated

from fastapi import Path, Query

from ml_platform.contracts.base import Moment
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.lineage import (
    DEFAULT_DEPTH,
    DEFAULT_NODES,
    MAX_DEPTH,
    MAX_NODES,
    LineageDirection,
    LineageGraph,
    LineageKind,
)
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.lineage.predictions import LoggedPredictions
from ml_platform.services.lineage.service import Asked, LineageService

router = ApiRouter(prefix="/lineage", tags=["lineage"])

NodeId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=300,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Its id; of datasets, feature views and models also the name: `churn/3`, `customers@2`",
    ),
]


@router.get("/{kind}/{id:path}")
def get_lineage(
    work: Annotated[Work, requires(Permission.READ)],
    log: Annotated[LoggedPredictions, provided(LoggedPredictions)],
    kind: LineageKind,
    id: NodeId,  # noqa: A002 - the name in the address
    direction: LineageDirection = LineageDirection.BOTH,
    depth: Annotated[int, Query(ge=0, le=MAX_DEPTH, description="Steps to go")] = DEFAULT_DEPTH,
    limit: Annotated[int, Query(ge=1, le=MAX_NODES, description="Most nodes")] = DEFAULT_NODES,
    predictions: Annotated[bool, Query(description="Count predictions in the prediction log")] = False,
    since: Annotated[
        Moment | None, Query(description="From when on the log is read; default: 30 days ago")
    ] = None,
) -> LineageGraph:
    """What something was made of (upstream) and what was made of it (downstream).

    Nodes come nearest first. `truncated` says that there is more within `depth` than `limit` nodes; a node
    that is not `expanded` may have neighbours that are not shown: ask for its own lineage to see them.
    """
    asked = Asked(direction, depth, limit, predictions=predictions, since=since)
    return LineageService(work, log).graph(kind, id, asked)

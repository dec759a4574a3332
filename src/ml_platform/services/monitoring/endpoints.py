"""Routes of monitors, drift checks, retrainings and ground truth."""

from typing import Annotated

from fastapi import Path as PathParam
from fastapi import Query

from ml_platform.contracts.base import Page
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.monitoring import (
    DriftCheck,
    DriftCheckAccepted,
    DriftCheckSummary,
    Monitor,
    MonitorUpdate,
    Retraining,
)
from ml_platform.contracts.quality import DeploymentQuality, GroundTruth, GroundTruthUpload
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, text_cursor
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.monitoring.ground_truth import GroundTruthService
from ml_platform.services.monitoring.interfaces import (
    AnswerKinds,
    Deployments,
    GroundTruthStore,
    PredictionLog,
)
from ml_platform.services.monitoring.service import MonitoringService

router = ApiRouter(prefix="/deployments/{deployment_id}", tags=["monitoring"])

Id = Annotated[str, PathParam(max_length=64, pattern=r"^[A-Za-z0-9_]+$")]
Reading = Annotated[Work, requires(Permission.READ)]
Serving = Annotated[Deployments, provided(Deployments)]
Labels = Annotated[GroundTruthStore, provided(GroundTruthStore)]


@router.get("/monitor")
def get_monitor(deployment_id: Id, work: Reading, deployments: Serving) -> Monitor:
    return MonitoringService(work, deployments).monitor(deployment_id)


@router.put("/monitor")
def set_monitor(
    deployment_id: Id,
    body: MonitorUpdate,
    work: Annotated[Work, requires(Permission.DEPLOY_STAGING)],
    deployments: Serving,
) -> Monitor:
    """Replaces the settings; what is left out gets its default."""
    return MonitoringService(work, deployments).set_monitor(deployment_id, body)


@router.post("/drift/check", status_code=202)
def request_check(
    deployment_id: Id, work: Annotated[Work, requires(Permission.TRAIN_MODEL)], deployments: Serving
) -> DriftCheckAccepted:
    """Checks what was answered until now; `GET .../drift/checks/{check_id}` says what was found."""
    return MonitoringService(work, deployments).request_check(deployment_id)


@router.get("/drift")
def get_drift(deployment_id: Id, work: Reading, deployments: Serving) -> DriftCheck:
    """The newest report; 404 before the first."""
    return MonitoringService(work, deployments).latest(deployment_id)


@router.get("/drift/checks")
def list_checks(
    deployment_id: Id,
    work: Reading,
    deployments: Serving,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[DriftCheckSummary]:
    """Newest first."""
    before = text_cursor(cursor) if cursor else None
    rows = MonitoringService(work, deployments).list_checks(deployment_id, before=before, limit=limit + 1)
    items, following = cut(rows, limit, lambda check: check.check_id)
    return Page(items=items, next_cursor=following)


@router.get("/drift/checks/{check_id}")
def get_check(deployment_id: Id, check_id: Id, work: Reading, deployments: Serving) -> DriftCheck:
    return MonitoringService(work, deployments).check(deployment_id, check_id)


@router.get("/retrainings")
def list_retrainings(
    deployment_id: Id,
    work: Reading,
    deployments: Serving,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Retraining]:
    """Newest first."""
    before = text_cursor(cursor) if cursor else None
    service = MonitoringService(work, deployments)
    rows = service.list_retrainings(deployment_id, before=before, limit=limit + 1)
    items, following = cut(rows, limit, lambda retraining: retraining.retraining_id)
    return Page(items=items, next_cursor=following)


@router.get("/retrainings/{retraining_id}")
def get_retraining(deployment_id: Id, retraining_id: Id, work: Reading, deployments: Serving) -> Retraining:
    return MonitoringService(work, deployments).retraining(deployment_id, retraining_id)


@router.post("/ground-truth", status_code=201)
def upload_ground_truth(
    deployment_id: Id,
    body: GroundTruthUpload,
    work: Annotated[Work, requires(Permission.WRITE_DATA)],
    deployments: Serving,
    store: Labels,
) -> GroundTruth:
    """Stores what happened after predictions; all records or, when one is wrong, none."""
    return GroundTruthService(work, deployments, store).upload(deployment_id, body.records)


@router.get("/ground-truth")
def list_ground_truth(
    deployment_id: Id,
    work: Reading,
    deployments: Serving,
    store: Labels,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[GroundTruth]:
    """The uploads, newest first."""
    before = text_cursor(cursor) if cursor else None
    found = GroundTruthService(work, deployments, store).list_uploads(
        deployment_id, before=before, limit=limit + 1
    )
    items, following = cut(found, limit, lambda upload: upload.upload_id)
    return Page(items=items, next_cursor=following)


@router.get("/quality")
def get_quality(
    deployment_id: Id,
    work: Reading,
    deployments: Serving,
    store: Labels,
    log: Annotated[PredictionLog, provided(PredictionLog)],
    kinds: Annotated[AnswerKinds, provided(AnswerKinds)],
    window: Annotated[str, Query(max_length=10, description="Such as 24h or 30d; at most 366d")] = "7d",
    min_rows: Annotated[
        int, Query(ge=1, le=10**9, description="Fewer labelled predictions are not enough data")
    ] = 100,
) -> DeploymentQuality:
    """How good the predictions of a window were, by revision, as far as their labels have arrived."""
    service = GroundTruthService(work, deployments, store)
    return service.quality(deployment_id, window, min_rows, log=log, kinds=kinds)

"""Routes of deployments and rollouts, and the inference plane's own."""

from typing import Annotated

from fastapi import Path as PathParam
from fastapi import Query, Request, Response
from starlette.concurrency import run_in_threadpool

from ml_platform.contracts.base import Moment, Page, Slug
from ml_platform.contracts.deployments import (
    Deployment,
    DeploymentAccepted,
    DeploymentAsOf,
    DeploymentMetrics,
    DeploymentPlan,
    DeploymentQuota,
    DeploymentRestore,
    DeployRequest,
    Environment,
    KServeManifest,
    PredictionAnswer,
    PredictionRequest,
    Rollout,
    RolloutDetail,
    StageDeployAnswer,
    StageDeployRequest,
)
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.policies import ENTER
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, text_cursor
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.deployments.asking import ask
from ml_platform.services.deployments.history import DeploymentHistory
from ml_platform.services.deployments.measuring import metrics_of, seconds_of
from ml_platform.services.deployments.plans import Planner
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.service import DeploymentService
from ml_platform.services.deployments.snapshots import SnapshotFeed
from ml_platform.services.deployments.stages import RolloutParts
from ml_platform.services.deployments.stages.quota import quota_now

router = ApiRouter(tags=["deployments"])

ModelId = Annotated[
    str,
    PathParam(
        max_length=300,
        pattern=r"^[A-Za-z0-9._-]{1,200}([/@][A-Za-z0-9._-]{1,80})?$",
        description="`name`, `name/version`, `name@alias` or `name_v2`",
    ),
]
DeploymentId = Annotated[str, PathParam(max_length=64, pattern=r"^[A-Za-z0-9_]+$")]
Entering = Annotated[Work, requires(Permission.DEPLOY_STAGING, operation=ENTER)]
Parts = Annotated[RolloutParts, provided(RolloutParts)]
_LISTEN_SLICE = 5.0


@router.post("/models/deploy")
def deploy_by_stage(
    body: StageDeployRequest, work: Annotated[Work, requires(Permission.READ)], parts: Parts
) -> StageDeployAnswer:
    """Deploys if nothing stands in the way, else says what is missing and who can give it."""
    request = DeployRequest(
        environment=body.target_stage, replicas=body.replicas, justification=body.justification
    )
    model_id = f"{body.model_name}/{body.model_version}"
    planner = Planner(work, parts)
    plan = planner.plan(model_id, request)
    refused = planner.answer(plan)
    if refused is not None:
        return refused
    accepted = DeploymentService(work, parts).deploy(model_id, request)
    facts = accepted.model_dump(exclude={"status"})
    if plan.approval is None:
        return StageDeployAnswer(status="success", **facts)
    message = next(gate.detail for gate in plan.gates if gate.stage == "approval")
    return StageDeployAnswer(status="pending_approval", message=message, approval=plan.approval, **facts)


@router.post("/models/{model_id:path}/deploy/plan")
def plan_deployment(
    model_id: ModelId, body: DeployRequest, work: Annotated[Work, requires(Permission.READ)], parts: Parts
) -> DeploymentPlan:
    """Which gate would stop it, who must approve, and at which risk; nothing is changed."""
    return Planner(work, parts).plan(model_id, body)


@router.post("/models/{model_id:path}/deploy", status_code=202)
def deploy(
    model_id: ModelId,
    body: DeployRequest,
    work: Entering,
    parts: Parts,
) -> DeploymentAccepted:
    """Starts a rollout through the nine stages; production needs `deploy_production`."""
    return DeploymentService(work, parts).deploy(model_id, body)


@router.get("/deployments")
def list_deployments(
    work: Annotated[Work, requires(Permission.READ)],
    parts: Parts,
    environment: Annotated[Environment | None, Query()] = None,
    name: Annotated[Slug | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Deployment]:
    """Newest first."""
    rows = DeploymentService(work, parts).list_deployments(
        environment=environment,
        name=name,
        before=text_cursor(cursor) if cursor else None,
        limit=limit + 1,
    )
    items, following = cut(rows, limit, lambda deployment: deployment.deployment_id)
    return Page(items=items, next_cursor=following)


@router.get("/quota")
def get_quota(work: Annotated[Work, requires(Permission.READ)], parts: Parts) -> DeploymentQuota:
    """What the team's deployments may take, and what they take now."""
    return quota_now(work, parts.quotas)


@router.get("/deployments/{deployment_id}")
def get_deployment(
    deployment_id: DeploymentId, work: Annotated[Work, requires(Permission.READ)], parts: Parts
) -> Deployment:
    return DeploymentService(work, parts).get(deployment_id)


@router.get("/deployments/{deployment_id}/metrics")
def get_metrics(
    deployment_id: DeploymentId,
    work: Annotated[Work, requires(Permission.READ)],
    parts: Parts,
    window: Annotated[str, Query(max_length=10, description="Such as 30s, 15m, 1h")] = "1h",
) -> DeploymentMetrics:
    """Latency percentiles, request and error rates, by revision."""
    seconds = seconds_of(window)
    repository = DeploymentRepository(work.session, work.team_id)
    row = repository.deployment(deployment_id)
    revisions = repository.revisions(row.id)
    work.close()  # the inference server is asked without a transaction open
    return metrics_of(parts.plane, row.id, revisions, seconds)


@router.post("/deployments/{deployment_id}/predict")
def predict(
    deployment_id: DeploymentId,
    body: PredictionRequest,
    work: Annotated[Work, requires(Permission.PREDICT)],
    parts: Parts,
) -> PredictionAnswer:
    """Asks the endpoint, for whoever has no key at hand; applications ask the endpoint itself.

    The request is a real one: the traffic split chooses the revision, and it is counted and logged.
    """
    return ask(work, parts, deployment_id, body)


@router.post("/deployments/{deployment_id}/promote")
def promote(deployment_id: DeploymentId, work: Entering, parts: Parts) -> Deployment:
    """Ends a canary now, with all traffic on the new revision."""
    return DeploymentService(work, parts).promote(deployment_id)


@router.post("/deployments/{deployment_id}/pause")
def pause(deployment_id: DeploymentId, work: Entering, parts: Parts) -> Deployment:
    """Holds a canary at its step: nothing promotes it, and a failure still rolls it back."""
    return DeploymentService(work, parts).pause(deployment_id)


@router.post("/deployments/{deployment_id}/resume")
def resume(deployment_id: DeploymentId, work: Entering, parts: Parts) -> Deployment:
    """Lets a canary go on that was paused."""
    return DeploymentService(work, parts).resume(deployment_id)


@router.post("/deployments/{deployment_id}/rollback")
def rollback(deployment_id: DeploymentId, work: Entering, parts: Parts) -> Deployment:
    """Back to what served before, within a second: it is still warm."""
    return DeploymentService(work, parts).rollback(deployment_id)


@router.post("/deployments/{deployment_id}/retire")
def retire(deployment_id: DeploymentId, work: Entering, parts: Parts) -> Deployment:
    """Stops serving. Deploying to the same name takes the endpoint up again."""
    return DeploymentService(work, parts).retire(deployment_id)


@router.get("/deployments/{deployment_id}/as-of")
def as_of(
    deployment_id: DeploymentId,
    work: Annotated[Work, requires(Permission.READ)],
    at: Annotated[Moment, Query(description="Such as 2026-03-01T12:00:00Z")],
) -> DeploymentAsOf:
    """What was live at a moment, since when, and on whose approval; the audit log says so."""
    return DeploymentHistory(work).as_of(deployment_id, at)


@router.post("/deployments/{deployment_id}/restore", status_code=202)
def restore(
    deployment_id: DeploymentId,
    body: DeploymentRestore,
    work: Entering,
    parts: Parts,
) -> DeploymentAccepted:
    """Starts a rollout of the version that was live at a moment, through all gates."""
    model_id, request = DeploymentHistory(work).request(deployment_id, body)
    return DeploymentService(work, parts).deploy(model_id, request)


@router.get("/deployments/{deployment_id}/manifest")
def get_manifest(
    deployment_id: DeploymentId,
    work: Annotated[Work, requires(Permission.READ)],
    parts: Parts,
    rollout_id: Annotated[
        str | None,
        Query(max_length=64, pattern=r"^[A-Za-z0-9_]+$", description="Default: the newest that was built"),
    ] = None,
) -> KServeManifest:
    """The KServe `InferenceService` of a rollout's revision, as its build stage left it in the evidence."""
    return DeploymentService(work, parts).get_manifest(deployment_id, rollout_id)


@router.get("/deployments/{deployment_id}/rollouts")
def list_rollouts(
    deployment_id: DeploymentId,
    work: Annotated[Work, requires(Permission.READ)],
    parts: Parts,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Rollout]:
    """Newest first."""
    rows = DeploymentService(work, parts).list_rollouts(
        deployment_id, before=text_cursor(cursor) if cursor else None, limit=limit + 1
    )
    items, following = cut(rows, limit, lambda rollout: rollout.rollout_id)
    return Page(items=items, next_cursor=following)


@router.get("/rollouts/{rollout_id}")
def get_rollout(
    rollout_id: DeploymentId, work: Annotated[Work, requires(Permission.READ)], parts: Parts
) -> RolloutDetail:
    """The nine stages and the canary's steps: status, evidence, times, and why it stopped."""
    return DeploymentService(work, parts).get_rollout(rollout_id)


@router.post("/rollouts/{rollout_id}/cancel")
def cancel_rollout(rollout_id: DeploymentId, work: Entering, parts: Parts) -> RolloutDetail:
    """Ends a rollout wherever it is; what served before is left untouched."""
    return DeploymentService(work, parts).cancel(rollout_id)


@router.get(
    "/inference/snapshot",
    tags=["inference"],
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}, 204: {"description": "Nothing newer"}},
)
async def get_snapshot(
    request: Request,
    work: Annotated[Work, requires(Permission.SYNC_INFERENCE)],  # noqa: ARG001 - it authorises
    feed: Annotated[SnapshotFeed, provided(SnapshotFeed)],
    after: Annotated[int, Query(ge=-1, le=2**62)] = -1,
    wait: Annotated[float, Query(ge=0, le=60)] = 0,
) -> Response:
    """The desired state when its version differs from `after`, else 204 once `wait` seconds have passed.

    Waiting holds no thread. It is done in slices, so that a caller who went away is noticed.
    """
    left = wait
    while not await feed.changed(after, min(left, _LISTEN_SLICE)):
        left -= _LISTEN_SLICE
        if left <= 0 or feed.closed or await request.is_disconnected():
            return Response(status_code=204)
    data = await run_in_threadpool(feed.encoded)
    return Response(data, media_type="application/json")

"""Routes of shadows and A/B tests."""

from typing import Annotated

from fastapi import Path as PathParam
from fastapi import Query

from ml_platform.contracts.base import Page
from ml_platform.contracts.deployments import DeploymentAccepted
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.policies import ENTER
from ml_platform.contracts.trials import (
    ABTest,
    ABTestDetail,
    ABTestRequest,
    Shadow,
    ShadowReport,
    ShadowRequest,
    TrialPromotion,
)
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, text_cursor
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.deployments import RolloutParts
from ml_platform.services.trials.ab_tests import ABTestService
from ml_platform.services.trials.interfaces import TrialEvidence
from ml_platform.services.trials.shadows import ShadowService

router = ApiRouter(tags=["trials"])

Id = Annotated[str, PathParam(max_length=64, pattern=r"^[A-Za-z0-9_]+$")]
Parts = Annotated[RolloutParts, provided(RolloutParts)]
Deploying = Annotated[Work, requires(Permission.DEPLOY_STAGING, operation=ENTER)]
Reading = Annotated[Work, requires(Permission.READ)]


@router.post("/deployments/{deployment_id}/shadow", status_code=202)
def start_shadow(deployment_id: Id, body: ShadowRequest, work: Deploying, parts: Parts) -> Shadow:
    """Brings a version through the stages, to answer copies of an endpoint's requests unseen."""
    return ShadowService(work, parts).start(deployment_id, body)


@router.get("/deployments/{deployment_id}/shadows")
def list_shadows(
    deployment_id: Id, work: Reading, parts: Parts, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Shadow]:
    """Newest first."""
    before = text_cursor(cursor) if cursor else None
    rows = ShadowService(work, parts).list_shadows(deployment_id, before=before, limit=limit + 1)
    items, following = cut(rows, limit, lambda shadow: shadow.shadow_id)
    return Page(items=items, next_cursor=following)


@router.get("/shadows/{shadow_id}")
def get_shadow(shadow_id: Id, work: Reading, parts: Parts) -> Shadow:
    return ShadowService(work, parts).get(shadow_id)


@router.get("/shadows/{shadow_id}/report")
def report_shadow(
    shadow_id: Id,
    work: Reading,
    parts: Parts,
    evidence: Annotated[TrialEvidence, provided(TrialEvidence)],
    min_rows: Annotated[int, Query(ge=1, le=10**9)] = 100,
) -> ShadowReport:
    """The shadow beside what served, on the same requests; 'not_enough_data' below `min_rows` of them."""
    return ShadowService(work, parts).report(shadow_id, evidence, min_rows=min_rows)


@router.post("/shadows/{shadow_id}/stop")
def stop_shadow(shadow_id: Id, work: Deploying, parts: Parts) -> Shadow:
    """Ends it; what serves is not touched."""
    return ShadowService(work, parts).stop(shadow_id)


@router.post("/shadows/{shadow_id}/promote", status_code=202)
def promote_shadow(shadow_id: Id, body: TrialPromotion, work: Deploying, parts: Parts) -> DeploymentAccepted:
    """Starts a rollout of its version through the gates, with a canary where there is one."""
    return ShadowService(work, parts).promote(shadow_id, body)


@router.post("/deployments/{deployment_id}/ab-tests", status_code=202)
def start_ab_test(deployment_id: Id, body: ABTestRequest, work: Deploying, parts: Parts) -> ABTest:
    """Starts a test; arms that are not loaded come through the stages first."""
    return ABTestService(work, parts).start(deployment_id, body)


@router.get("/deployments/{deployment_id}/ab-tests")
def list_ab_tests(
    deployment_id: Id, work: Reading, parts: Parts, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[ABTest]:
    """Newest first."""
    before = text_cursor(cursor) if cursor else None
    rows = ABTestService(work, parts).list_tests(deployment_id, before=before, limit=limit + 1)
    items, following = cut(rows, limit, lambda test: test.ab_test_id)
    return Page(items=items, next_cursor=following)


@router.get("/ab-tests/{ab_test_id}")
def get_ab_test(ab_test_id: Id, work: Reading, parts: Parts) -> ABTestDetail:
    """The plan, what the newest look saw, and in the end what was decided and why."""
    return ABTestService(work, parts).get(ab_test_id)


@router.post("/ab-tests/{ab_test_id}/cancel")
def cancel_ab_test(ab_test_id: Id, work: Deploying, parts: Parts) -> ABTestDetail:
    """Ends a test wherever it is; what served before has all traffic again."""
    return ABTestService(work, parts).cancel(ab_test_id)


@router.post("/ab-tests/{ab_test_id}/promote", status_code=202)
def promote_ab_test(
    ab_test_id: Id, body: TrialPromotion, work: Deploying, parts: Parts
) -> DeploymentAccepted:
    """Starts a rollout of the winner's version through the gates."""
    return ABTestService(work, parts).promote(ab_test_id, body)

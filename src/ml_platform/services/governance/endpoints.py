"""Routes of risk and approvals."""

from typing import Annotated

from fastapi import Path as PathParam
from fastapi import Query

from ml_platform.contracts.base import Page, Slug
from ml_platform.contracts.governance import (
    Approval,
    ApprovalDetail,
    ApprovalStatus,
    ModelRisk,
    ReviewCreate,
    RiskAssess,
    Verdict,
    VoteCreate,
)
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.policies import ENTER
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, text_cursor
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.governance.approvals import ApprovalService
from ml_platform.services.governance.interfaces import ModelDirectory, RoleDirectory
from ml_platform.services.governance.personal_data import PersonalDataCheck
from ml_platform.services.governance.risks import RiskService

router = ApiRouter()

ApprovalId = Annotated[str, PathParam(max_length=64, pattern=r"^[A-Za-z0-9_]+$")]
Models = Annotated[ModelDirectory, provided(ModelDirectory)]
Roles = Annotated[RoleDirectory, provided(RoleDirectory)]
Check = Annotated[PersonalDataCheck, provided(PersonalDataCheck)]


@router.put("/models/{name}/risk", tags=["governance"])
def assess_risk(
    name: Slug,
    body: RiskAssess,
    work: Annotated[Work, requires(Permission.TRAIN_MODEL)],
    models: Models,
    check: Check,
) -> ModelRisk:
    """Answers the five assessments. A change voids every approval that was given on the old answers.

    Personal data in what the newest version was trained on raise the data sensitivity, whatever was answered.
    """
    return RiskService(work, models, check).assess(name, body)


@router.get("/models/{name}/risk", tags=["governance"])
def get_risk(
    name: Slug, work: Annotated[Work, requires(Permission.READ)], models: Models, check: Check
) -> ModelRisk:
    return RiskService(work, models, check).get(name)


@router.get("/approvals", tags=["governance"])
def list_approvals(
    work: Annotated[Work, requires(Permission.READ)],
    roles: Roles,
    status: Annotated[ApprovalStatus | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Approval]:
    """Newest first."""
    before = text_cursor(cursor) if cursor else None
    rows = ApprovalService(work, roles).list_approvals(status=status, before=before, limit=limit + 1)
    items, following = cut(rows, limit, lambda approval: approval.approval_id)
    return Page(items=items, next_cursor=following)


@router.get("/approvals/{approval_id}", tags=["governance"])
def get_approval(
    approval_id: ApprovalId, work: Annotated[Work, requires(Permission.READ)], roles: Roles
) -> ApprovalDetail:
    """The request with all its evidence, on one page."""
    return ApprovalService(work, roles).get(approval_id)


@router.post("/approvals/{approval_id}/approve", tags=["governance"])
def approve(
    approval_id: ApprovalId,
    body: VoteCreate,
    work: Annotated[Work, requires(Permission.APPROVE, operation=ENTER)],
    roles: Roles,
) -> ApprovalDetail:
    """Never one's own request; one vote a person."""
    return ApprovalService(work, roles).vote(approval_id, Verdict.APPROVE, body.reason)


@router.post("/approvals/{approval_id}/reject", tags=["governance"])
def reject(
    approval_id: ApprovalId,
    body: VoteCreate,
    work: Annotated[Work, requires(Permission.APPROVE, operation=ENTER)],
    roles: Roles,
) -> ApprovalDetail:
    """A rejection from a mandatory seat ends the request; another loses its seat, until no quorum is left."""
    return ApprovalService(work, roles).vote(approval_id, Verdict.REJECT, body.reason)


@router.post("/approvals/{approval_id}/abstain", tags=["governance"])
def abstain(
    approval_id: ApprovalId,
    body: VoteCreate,
    work: Annotated[Work, requires(Permission.APPROVE, operation=ENTER)],
    roles: Roles,
) -> ApprovalDetail:
    """Fills no seat, and is a vote: it cannot be changed."""
    return ApprovalService(work, roles).vote(approval_id, Verdict.ABSTAIN, body.reason)


@router.post("/approvals/{approval_id}/break-glass", tags=["governance"])
def break_glass(
    approval_id: ApprovalId,
    body: VoteCreate,
    work: Annotated[Work, requires(Permission.BREAK_GLASS, operation=ENTER)],
    roles: Roles,
) -> ApprovalDetail:
    """An emergency: the deployment goes on without the votes it needs.

    Everybody is told, and somebody else reviews it within 24 hours; while that is overdue, no version of the
    model gets into production.
    """
    return ApprovalService(work, roles).break_glass(approval_id, body.reason)


@router.post("/approvals/{approval_id}/review", tags=["governance"])
def review(
    approval_id: ApprovalId,
    body: ReviewCreate,
    work: Annotated[Work, requires(Permission.APPROVE, operation=ENTER)],
    roles: Roles,
) -> ApprovalDetail:
    """Closes the review of a broken glass; by somebody with a seat who neither asked nor broke it."""
    return ApprovalService(work, roles).review(approval_id, body.verdict, body.reason)

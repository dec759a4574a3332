"""Routes of the organisation's policies."""

from typing import Annotated

from fastapi import Path as PathParam

from ml_platform.contracts.base import Page
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.policies import (
    PolicyApply,
    PolicyCheck,
    PolicyFiles,
    PolicyOverview,
    PolicySchema,
    PolicyVersion,
    PolicyVersionDetail,
)
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, number_cursor
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.policies.interfaces import PolicyEngine
from ml_platform.services.policies.service import PolicyService
from ml_platform.services.policies.sync import PolicySync

router = ApiRouter(prefix="/policies", tags=["policies"])

Engine = Annotated[PolicyEngine, provided(PolicyEngine)]
Reading = Annotated[Work, requires(Permission.READ)]
Managing = Annotated[Work, requires(Permission.MANAGE_PLATFORM)]
Number = Annotated[int, PathParam(ge=1, le=2**31 - 1)]


@router.get("")
def get_policies(
    work: Reading, engine: Engine, sync: Annotated[PolicySync, provided(PolicySync)]
) -> PolicyOverview:
    """Every policy that is in force, and the version of the organisation's."""
    return PolicyService(work, engine).overview(sync)


@router.put("")
def apply_policies(body: PolicyApply, work: Managing, engine: Engine) -> PolicyVersion:
    """Replaces the organisation's policies as a whole; a broken set or a failing test changes nothing."""
    return PolicyService(work, engine).apply(body)


@router.post("/validate")
def validate_policies(body: PolicyFiles, work: Managing, engine: Engine) -> PolicyCheck:
    """Reads, validates and tests a set, and changes nothing."""
    return PolicyService(work, engine).check(body)


@router.get("/schema")
def get_schema(work: Reading, engine: Engine) -> PolicySchema:  # noqa: ARG001 - it authorises
    """The Cedar schema of what policies can be about."""
    return PolicySchema(cedar_schema=engine.schema)


@router.get("/versions")
def list_versions(
    work: Reading, engine: Engine, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[PolicyVersion]:
    """Every version that was ever applied, newest first."""
    before = number_cursor(cursor) if cursor else None
    rows = PolicyService(work, engine).history(before=before, limit=limit + 1)
    items, following = cut(rows, limit, lambda version: version.version)
    return Page(items=items, next_cursor=following)


@router.get("/versions/{policy_version}")
def get_version(policy_version: Number, work: Reading, engine: Engine) -> PolicyVersionDetail:
    """A version with its files and tests."""
    return PolicyService(work, engine).get(policy_version)

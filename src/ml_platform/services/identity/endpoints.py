"""Routes of users, teams, keys and sign-in."""

from typing import Annotated

from fastapi import Path as PathParam
from fastapi import Request, Response

from ml_platform.contracts.base import Page, Slug
from ml_platform.contracts.identity import (
    Key,
    KeyCreate,
    KeyCreated,
    Member,
    MemberSet,
    Permission,
    SignInLink,
    Team,
    TeamCreate,
    TeamUpdate,
    User,
    UserCreate,
    WhoAmI,
)
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, text_cursor
from ml_platform.services.access import ApiRouter, Work, requires
from ml_platform.services.identity.service import IdentityService

router = ApiRouter()

KeyId = Annotated[str, PathParam(max_length=64, pattern=r"^[A-Za-z0-9_]+$")]
_NOT_KEPT = {"cache-control": "no-store"}  # nor by us, for a repeated Idempotency-Key


@router.get("/whoami", tags=["identity"])
def who_am_i(work: Annotated[Work, requires(Permission.READ)]) -> WhoAmI:
    """Who this key belongs to, in which team, and what it may do there."""
    return IdentityService(work).who_am_i()


@router.post("/teams", status_code=201, tags=["teams"])
def create_team(body: TeamCreate, work: Annotated[Work, requires(Permission.MANAGE_PLATFORM)]) -> Team:
    return IdentityService(work).create_team(body)


@router.get("/teams", tags=["teams"])
def list_teams(
    work: Annotated[Work, requires(Permission.READ)], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Team]:
    after = text_cursor(cursor) if cursor else None
    items, following = cut(IdentityService(work).list_teams(after, limit + 1), limit, lambda t: t.team_id)
    return Page(items=items, next_cursor=following)


@router.patch("/teams/{team}", tags=["teams"])
def update_team(
    team: Slug, body: TeamUpdate, work: Annotated[Work, requires(Permission.MANAGE_PLATFORM)]
) -> Team:
    """Changes a team's description or its limit; what the body leaves out stays."""
    return IdentityService(work).update_team(team, body)


@router.get("/teams/{team}/members", tags=["teams"])
def list_members(
    team: Slug,
    work: Annotated[Work, requires(Permission.READ)],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Member]:
    after = text_cursor(cursor) if cursor else ""
    everybody = sorted(IdentityService(work).list_members(team), key=lambda member: member.user_name)
    members = [member for member in everybody if member.user_name > after]
    items, following = cut(members[: limit + 1], limit, lambda member: member.user_name)
    return Page(items=items, next_cursor=following)


@router.put("/teams/{team}/members/{user}", tags=["teams"])
def set_member(
    team: Slug, user: Slug, body: MemberSet, work: Annotated[Work, requires(Permission.READ)]
) -> Member:
    """Sets a user's roles in a team; needs `manage_team` in that team. No roles: the user leaves it."""
    return IdentityService(work).set_member(team, user, body.roles)


@router.post("/users", status_code=201, tags=["users"])
def create_user(body: UserCreate, work: Annotated[Work, requires(Permission.MANAGE_PLATFORM)]) -> User:
    return IdentityService(work).create_user(body)


@router.get("/users", tags=["users"])
def list_users(
    work: Annotated[Work, requires(Permission.MANAGE_TEAM)],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[User]:
    after = text_cursor(cursor) if cursor else None
    items, following = cut(IdentityService(work).list_users(after, limit + 1), limit, lambda u: u.user_id)
    return Page(items=items, next_cursor=following)


@router.post("/users/{user}/deactivate", tags=["users"])
def deactivate_user(user: Slug, work: Annotated[Work, requires(Permission.MANAGE_PLATFORM)]) -> User:
    """Every key and session of the user stops working at once."""
    return IdentityService(work).set_active(user, active=False)


@router.post("/users/{user}/activate", tags=["users"])
def activate_user(user: Slug, work: Annotated[Work, requires(Permission.MANAGE_PLATFORM)]) -> User:
    return IdentityService(work).set_active(user, active=True)


@router.post("/keys", status_code=201, tags=["keys"])
def create_key(
    body: KeyCreate, work: Annotated[Work, requires(Permission.READ)], response: Response
) -> KeyCreated:
    """A key for yourself, or, with `manage_team`, for another member. The token is shown this once."""
    response.headers.update(_NOT_KEPT)
    return IdentityService(work).create_key(body)


@router.get("/keys", tags=["keys"])
def list_keys(
    work: Annotated[Work, requires(Permission.READ)], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Key]:
    """Your keys in this team; with `manage_team`, everybody's."""
    after = text_cursor(cursor) if cursor else None
    items, following = cut(IdentityService(work).list_keys(after, limit + 1), limit, lambda k: k.key_id)
    return Page(items=items, next_cursor=following)


@router.delete("/keys/{key_id}", tags=["keys"])
def revoke_key(key_id: KeyId, work: Annotated[Work, requires(Permission.READ)]) -> Key:
    return IdentityService(work).revoke_key(key_id)


@router.post("/sign-in-links", status_code=201, tags=["identity"])
def create_sign_in_link(
    request: Request, response: Response, work: Annotated[Work, requires(Permission.READ)]
) -> SignInLink:
    """A one-time link that opens a browser session for you."""
    response.headers.update(_NOT_KEPT)
    return IdentityService(work).create_sign_in_link(str(request.base_url))

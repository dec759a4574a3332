"""Routes of the register of models, of reviews and of model cards."""

from typing import Annotated, Literal

from fastapi import Path as PathParam
from fastapi import Query
from fastapi.responses import Response

from ml_platform.contracts.base import Page, Slug
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.modelregister import (
    CardSet,
    GovernedModel,
    ModelCard,
    ModelReview,
    ModelReviewCreate,
    OwnerSet,
)
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, text_cursor
from ml_platform.services.access import ApiRouter, ComponentsOf, Work, WorkFactory, provided, requires
from ml_platform.services.governance.cards import page
from ml_platform.services.governance.interfaces import (
    ModelDirectory,
    ProductionUse,
    Revalidator,
    RoleDirectory,
)
from ml_platform.services.governance.model_cards import CardService
from ml_platform.services.governance.personal_data import PersonalDataCheck
from ml_platform.services.governance.register import ModelRegister

router = ApiRouter(tags=["governance"])

Models = Annotated[ModelDirectory, provided(ModelDirectory)]
Roles = Annotated[RoleDirectory, provided(RoleDirectory)]
Production = Annotated[ProductionUse, provided(ProductionUse)]
Check = Annotated[PersonalDataCheck, provided(PersonalDataCheck)]
Reading = Annotated[Work, requires(Permission.READ)]
Version = Annotated[int, PathParam(ge=1, le=2**31 - 1)]


@router.get("/governance/models")
def list_governed_models(
    work: Reading,
    models: Models,
    roles: Roles,
    production: Production,
    check: Check,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[GovernedModel]:
    """The register, by name: owner, risk, what serves, reviews."""
    register = ModelRegister(work, models, roles, production, check)
    rows = register.list_models(text_cursor(cursor) if cursor else None, limit + 1)
    items, following = cut(rows, limit, lambda model: model.model_name)
    return Page(items=items, next_cursor=following)


@router.get("/governance/models/{name}")
def get_governed_model(
    name: Slug, work: Reading, models: Models, roles: Roles, production: Production, check: Check
) -> GovernedModel:
    return ModelRegister(work, models, roles, production, check).get(name)


@router.put("/governance/models/{name}/owner")
def set_owner(
    name: Slug,
    body: OwnerSet,
    work: Annotated[Work, requires(Permission.MANAGE_TEAM)],
    models: Models,
    roles: Roles,
    production: Production,
    check: Check,
) -> GovernedModel:
    """Makes a member of the team answer for a model."""
    return ModelRegister(work, models, roles, production, check).set_owner(name, body.user)


@router.get("/governance/models/{name}/reviews")
def list_reviews(
    name: Slug,
    work: Reading,
    models: Models,
    roles: Roles,
    production: Production,
    check: Check,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ModelReview]:
    """Newest first."""
    register = ModelRegister(work, models, roles, production, check)
    rows = register.list_reviews(name, text_cursor(cursor) if cursor else None, limit + 1)
    items, following = cut(rows, limit, lambda review: review.review_id)
    return Page(items=items, next_cursor=following)


@router.post("/governance/models/{name}/reviews", status_code=201)
def create_review(
    name: Slug,
    body: ModelReviewCreate,
    work: Annotated[Work, requires(Permission.APPROVE)],
    models: Models,
    roles: Roles,
    production: Production,
    check: Check,
    components: ComponentsOf,
) -> ModelReview:
    """Reviews what serves in production; by somebody with a seat for its risk who is not its owner.

    With `dataset`, the newest version that serves is judged on those rows meanwhile, which takes seconds.
    """
    with components.get(WorkFactory).begin(work.actor, write=False) as reading:
        use = ModelRegister(reading, models, roles, production, check).may_review(name)
    revalidation = None
    if body.dataset is not None:
        revalidation = components.get(Revalidator).revalidate(work, use.versions[-1], body.dataset)
    return ModelRegister(work, models, roles, production, check).review(name, body, use, revalidation)


@router.get("/models/{name}/versions/{version}/card")
def get_card(name: Slug, version: Version, work: Reading, models: Models, check: Check) -> ModelCard:
    return CardService(work, models, check).get(name, version)


@router.get("/models/{name}/versions/{version}/card/export", response_class=Response)
def export_card(
    name: Slug,
    version: Version,
    work: Reading,
    models: Models,
    check: Check,
    form: Annotated[Literal["markdown", "html"], Query()] = "markdown",
) -> Response:
    """The card as a file of its own."""
    card = CardService(work, models, check).get(name, version)
    suffix, kind, text = "md", "text/markdown", card.markdown
    if form == "html":
        suffix, kind, text = "html", "text/html", page(text, f"{name}/{version}")
    headers = {
        "content-disposition": f'attachment; filename="{name}-{version}.{suffix}"',
        "x-content-type-options": "nosniff",
    }
    return Response(text, media_type=f"{kind}; charset=utf-8", headers=headers)


@router.put("/models/{name}/versions/{version}/card")
def set_card(
    name: Slug,
    version: Version,
    body: CardSet,
    work: Annotated[Work, requires(Permission.TRAIN_MODEL)],
    models: Models,
    check: Check,
) -> ModelCard:
    """Replaces the card as a whole. Approvals that were given on the old one are void."""
    return CardService(work, models, check).set(name, version, body.card)

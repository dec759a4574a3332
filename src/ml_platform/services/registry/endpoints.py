"""Routes of registered models."""

from typing import Annotated

from fastapi import Path as PathParam
from fastapi import Response

from ml_platform.contracts.base import Page, Slug
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.models import (
    AliasSet,
    Model,
    ModelSignature,
    ModelSigningKey,
    ModelVersion,
    ModelVersionCreate,
)
from ml_platform.kit.errors import NotFoundError
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, number_cursor, text_cursor
from ml_platform.services.access import ApiRouter, Work, provided, requires
from ml_platform.services.experiments import ExperimentRef, ExperimentService, Tracking
from ml_platform.services.registry.interfaces import ModelSigner, ModelStore
from ml_platform.services.registry.registration import Candidate, Prepared, Registrar
from ml_platform.services.registry.service import RegistryService

router = ApiRouter(tags=["models"])

ModelRef = Annotated[
    str,
    PathParam(
        max_length=200,
        pattern=r"^[a-z0-9@_/-]+$",
        description="`name` (the newest version), `name/version`, `name@alias` or `name_v<version>`",
    ),
]
Version = Annotated[int, PathParam(ge=1, le=2**31 - 1)]
Reading = Annotated[Work, requires(Permission.READ)]
Training = Annotated[Work, requires(Permission.TRAIN_MODEL)]


@router.get("/models")
def list_models(work: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Page[Model]:
    """By name."""
    rows = RegistryService(work).list_models(text_cursor(cursor) if cursor else None, limit + 1)
    items, following = cut(rows, limit, lambda model: model.name)
    return Page(items=items, next_cursor=following)


@router.get("/models/{name}/versions")
def list_versions(
    name: Slug, work: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[ModelVersion]:
    """Newest first."""
    rows = RegistryService(work).list_versions(name, number_cursor(cursor) if cursor else None, limit + 1)
    items, following = cut(rows, limit, lambda version: version.version)
    return Page(items=items, next_cursor=following)


@router.post("/models/{name}/versions", status_code=201)
def create_version(
    name: Slug,
    body: ModelVersionCreate,
    work: Training,
    registrar: Annotated[Registrar, provided(Registrar)],
) -> ModelVersion:
    """Registers a model that a run logged. What it is gets copied: later changes to the run do not matter."""
    actor = work.actor
    logged = registrar.find_logged_model(actor.team_name, body.run_id, body.artifact_path)
    if logged is None:
        raise NotFoundError(
            f"run {body.run_id} logged no such model",
            hint="log it with mlflow.<flavour>.log_model(model, name=..., signature=..., input_example=...)",
        )
    prepared = registrar.prepare(
        Candidate(
            team_id=actor.team_id,
            team_name=actor.team_name,
            name=name,
            key=f"model:{logged.source}",
            logged=logged,
            created_by=actor.name,
            label=body.label,
            feature_view=body.feature_view,
            description=body.description,
            model_card=body.model_card,
        ),
        None,
    )
    assert isinstance(prepared, Prepared)  # without a gate nothing is held back
    return registrar.record(work, prepared)


@router.get("/models/{name}/versions/{version}")
def get_version(name: Slug, version: Version, work: Reading) -> ModelVersion:
    return RegistryService(work).get_version(name, version)


@router.get("/models/{name}/versions/{version}/signature")
def get_signature(name: Slug, version: Version, work: Reading) -> ModelSignature:
    """What `model_signing verify key` takes, together with the files and the signing key."""
    return RegistryService(work).signature(name, version)


@router.get("/signing-key")
def get_signing_key(
    work: Reading,  # noqa: ARG001 - it authorises
    signer: Annotated[ModelSigner, provided(ModelSigner)],
) -> ModelSigningKey:
    """The public key by which signatures of models are checked without the platform."""
    return ModelSigningKey(public_key=signer.public_key, sha256=signer.key_sha256)


@router.put("/models/{name}/aliases/{alias}")
def set_alias(
    name: Slug,
    alias: Slug,
    body: AliasSet,
    work: Training,
    models: Annotated[ModelStore, provided(ModelStore)],
) -> ModelVersion:
    """Points an alias at a version; `champion` is the platform's own."""
    version = RegistryService(work).set_alias(name, alias, body.version)
    models.set_alias(work.actor.team_name, name, alias, body.version)
    return version


@router.delete("/models/{name}/aliases/{alias}", status_code=204)
def delete_alias(
    name: Slug, alias: Slug, work: Training, models: Annotated[ModelStore, provided(ModelStore)]
) -> Response:
    RegistryService(work).delete_alias(name, alias)
    models.delete_alias(work.actor.team_name, name, alias)
    return Response(status_code=204)


@router.get("/experiments/{experiment}/models")
def list_models_of_experiment(
    experiment: ExperimentRef,
    work: Reading,
    tracking: Annotated[Tracking, provided(Tracking)],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ModelVersion]:
    """What the experiment's runs and jobs registered, newest first."""
    experiment_id = ExperimentService(work, tracking).get_experiment(experiment).experiment_id
    rows = RegistryService(work).list_versions_of_experiment(
        experiment_id, text_cursor(cursor) if cursor else None, limit + 1
    )
    kept, following = cut(rows, limit, lambda row: row[0])
    return Page(items=[version for _, version in kept], next_cursor=following)


@router.get("/models/{model_id}")
def get_model(model_id: ModelRef, work: Reading) -> Model:
    """A model and the version that is meant: by name, `name@alias` or `name_v<version>`."""
    return RegistryService(work).get_model(model_id)


@router.get("/models/{name}/{version:int}")
def get_model_by_version(name: Slug, version: Version, work: Reading) -> Model:
    """A model and one of its versions, by the form `name/version`."""
    return RegistryService(work).get_model(f"{name}/{version}")

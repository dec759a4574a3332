"""Routes of feature views, materialisations and training sets."""

from typing import Annotated

from fastapi import Depends
from fastapi import Path as PathParam

from ml_platform.contracts.base import Page
from ml_platform.contracts.datasets import (
    FeaturePush,
    FeaturePushed,
    FeatureView,
    FeatureViewCreate,
    Identifier,
    Materialization,
    MaterializationCreate,
    OnlineFeatures,
    OnlineRequest,
    TrainingSet,
    TrainingSetCreate,
)
from ml_platform.contracts.identity import Permission
from ml_platform.kit.paging import DEFAULT_LIMIT, Cursor, Limit, cut, encode_cursor, text_cursor
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import ApiRouter, ComponentsOf, Work, requires
from ml_platform.services.datasets import DatasetStore
from ml_platform.services.features.interfaces import FeatureEngine
from ml_platform.services.features.pushing import FeaturePushes
from ml_platform.services.features.service import FeatureService

router = ApiRouter(tags=["features"])

Read = Annotated[Work, requires(Permission.READ)]
ReadData = Annotated[Work, requires(Permission.READ_DATA)]
WriteData = Annotated[Work, requires(Permission.WRITE_DATA)]
Train = Annotated[Work, requires(Permission.TRAIN_MODEL)]
RowId = Annotated[str, PathParam(max_length=64, pattern=r"^[a-z]+_[a-z0-9]+$")]


class Parts:
    """The service of a request's work."""

    def __init__(self, components: ComponentsOf) -> None:
        self._components = components

    def service(self, work: Work) -> FeatureService:
        get = self._components.get
        return FeatureService(work, get(FeatureEngine), get(DatasetStore), get(ObjectStorage))

    def pushes(self, work: Work) -> FeaturePushes:
        return FeaturePushes(work, self._components.get(FeatureEngine))


Features = Annotated[Parts, Depends()]


@router.post("/feature-views", status_code=201)
def create_feature_view(body: FeatureViewCreate, work: Train, features: Features) -> FeatureView:
    return features.service(work).create_view(body)


@router.get("/feature-views")
def list_feature_views(
    work: Read, features: Features, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[FeatureView]:
    found = features.service(work).list_views(text_cursor(cursor) if cursor else None, limit + 1)
    following = encode_cursor(found[limit - 1][0]) if len(found) > limit else None
    return Page(items=[view for _, view in found[:limit]], next_cursor=following)


@router.get("/feature-views/{name}")
def get_feature_view(name: Identifier, work: Read, features: Features) -> FeatureView:
    return features.service(work).get_view(name)


@router.delete("/feature-views/{name}")
def delete_feature_view(name: Identifier, work: Train, features: Features) -> FeatureView:
    return features.service(work).delete_view(name)


@router.post("/feature-views/{name}/materialize", status_code=202)
def materialize(
    name: Identifier, work: Train, features: Features, body: MaterializationCreate | None = None
) -> Materialization:
    """Starts writing the newest values online; poll the answer's id."""
    version = body.dataset_version if body is not None else None
    return features.service(work).submit_materialization(name, version)


@router.get("/materializations/{materialization_id}")
def get_materialization(materialization_id: RowId, work: Read, features: Features) -> Materialization:
    return features.service(work).materialization(materialization_id)


@router.post("/feature-views/{name}/online")
def read_online(name: Identifier, body: OnlineRequest, work: ReadData, features: Features) -> OnlineFeatures:
    """The newest values of some entities. For people; predictions look features up by themselves."""
    return features.service(work).online(name, body)


@router.post("/feature-views/{name}/push")
def push(name: Identifier, body: FeaturePush, work: WriteData, features: Features) -> FeaturePushed:
    """Writes rows online at once, past the dataset; what is materialised later is written over them."""
    return features.pushes(work).push(name, body.columns)


@router.post("/training-sets", status_code=201)
def create_training_set(body: TrainingSetCreate, work: Train, features: Features) -> TrainingSet:
    return features.service(work).create_training_set(body)


@router.get("/training-sets")
def list_training_sets(
    work: Read, features: Features, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[TrainingSet]:
    """Newest first."""
    found = features.service(work).list_training_sets(text_cursor(cursor) if cursor else None, limit + 1)
    items, following = cut(found, limit, lambda item: item.training_set_id)
    return Page(items=items, next_cursor=following)


@router.get("/training-sets/{training_set_id}")
def get_training_set(training_set_id: RowId, work: Read, features: Features) -> TrainingSet:
    return features.service(work).get_training_set(training_set_id)

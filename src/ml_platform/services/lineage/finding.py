"""From what a caller wrote to the node that is meant."""

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.lineage import LineageKind
from ml_platform.kit.errors import NotFoundError
from ml_platform.services.access import Work
from ml_platform.services.datasets.repository import DatasetRepository
from ml_platform.services.features.repository import FeatureRepository
from ml_platform.services.lineage.describing import describe
from ml_platform.services.lineage.links import Ref
from ml_platform.services.lineage.tables import LineageEdgeRow
from ml_platform.services.registry import RegistryService
from ml_platform.services.registry.tables import ModelVersionRow

_KEY = re.compile(r"[a-z]{2,6}_[0-9a-z]{26}(@[0-9]{1,9})?")


def find(work: Work, kind: LineageKind, given: str) -> Ref:
    """The node of the team of `work`, by its id or by its name.

    Raises:
        NotFoundError: the team has no such thing.
    """
    if kind is LineageKind.MODEL:
        version = RegistryService(work).resolve(given)
        row = ModelVersionRow
        key = work.session.scalars(
            select(row.id).where(
                row.team_id == work.team_id, row.model_name == version.name, row.version == version.version
            )
        ).one()
        return Ref(kind, key)
    if kind is LineageKind.DATASET:
        return Ref(kind, _dataset_version(work, given))
    if kind is LineageKind.FEATURE_VIEW:
        return Ref(kind, _feature_view(work, given))
    ref = Ref(kind, given)
    if not describe(work.session, work.team_id, [ref]):
        raise NotFoundError.of(kind.value.replace("_", " "), given)
    return ref


def dataset_version(session: Session, team_id: str, name: str, number: int | None) -> str | None:
    """The id of a version, by default of the newest; None when there is none."""
    repository = DatasetRepository(session, team_id)
    dataset = repository.dataset(name)
    if dataset is None:
        return None
    version = repository.version(dataset.id, dataset.latest_version if number is None else number)
    return version.id if version is not None else None


def _dataset_version(work: Work, given: str) -> str:
    name, number = _numbered(given)
    key = dataset_version(work.session, work.team_id, name, number)
    if key is None and describe(work.session, work.team_id, [Ref(LineageKind.DATASET, given)]):
        key = given
    if key is None:
        raise NotFoundError.of("dataset", given)
    return key


def _feature_view(work: Work, given: str) -> str:
    """Also one that is deleted by now, by the key that edges have kept."""
    name, number = _numbered(given)
    row = FeatureRepository(work.session, work.team_id).view(name)
    if row is not None:
        key = f"{row.id}@{row.dataset_version if number is None else number}"
        if number is None or number == row.dataset_version or _is_recorded(work, key):
            return key
    elif _KEY.fullmatch(given) and _is_recorded(work, given):
        return given
    raise NotFoundError.of("feature view", given)


def _is_recorded(work: Work, key: str) -> bool:
    row = LineageEdgeRow
    query = select(row.id).where(
        row.team_id == work.team_id,
        row.target_kind == LineageKind.FEATURE_VIEW.value,
        row.target_id == key,
    )
    return work.session.scalars(query.limit(1)).first() is not None


def _numbered(given: str) -> tuple[str, int | None]:
    name, at, number = given.rpartition("@")
    if at and re.fullmatch(r"[0-9]{1,9}", number):
        return name, int(number)
    return given, None

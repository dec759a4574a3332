"""The bundle of a version: built once, and held against the digest of that build ever after.

What lies in the object storage proves nothing by itself: whoever can change a file there can rewrite the
manifest that lists it. So the digest of each bundle that was built stands in the database.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog

from ml_platform.contracts.bundles import FeatureRequest
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.errors import AppError, ConflictError, NotFoundError, UnavailableError
from ml_platform.kit.locks import file_lock
from ml_platform.services.deployments.interfaces import BuiltBundle, DeployableVersion
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.stages.context import RolloutParts, StageContext
from ml_platform.services.deployments.tables import BundleRow

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """Where a bundle should be, the digest it was built with, and whether a revision is loaded from there."""

    uri: str
    digest: str | None
    live: bool


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A bundle, where it stands, and why one that was there was not taken, if so."""

    bundle: BuiltBundle
    uri: str
    problem: str | None


def obtain(
    context: StageContext, key: str, version: DeployableVersion, features: FeatureRequest | None
) -> StoredBundle:
    """The bundle of this key.

    One that is no longer what was built is moved aside and built anew; one that a loaded revision serves
    from stays where it is, and the new one gets a key of its own.
    """
    parts = context.parts
    parts.work.mkdir(parents=True, exist_ok=True)
    scratch = parts.work / f"bundle-{context.team_id}-{key}"
    with file_lock(scratch.with_suffix(".lock")):  # two rollouts of one version build it once
        stored_key = f"{context.team_id}/bundles/{key}"
        known = _known(context, key, stored_key)
        problem = None
        if known.digest is not None:
            try:
                return StoredBundle(
                    parts.tools.take(local_copy(parts, known.uri), known.digest), known.uri, None
                )
            except UnavailableError:
                raise
            except AppError as error:
                problem = error.detail
        elif parts.storage.exists(stored_key):
            problem = "nothing says that it was built here"
        shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
        try:
            bundle = parts.tools.build(version, scratch / key, features=features)
            free, moved = _make_room(context, known, stored_key)
            uri = parts.storage.put_dir(free, bundle.path)
            bundle = replace(bundle, path=parts.storage.path(uri))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _keep(context, key, known, StoredBundle(bundle, uri, problem), moved)
    return StoredBundle(bundle, uri, problem)


def local_copy(parts: RolloutParts, uri: str) -> Path:
    """The bundle's files on this machine; raises ConflictError when they are gone."""
    try:
        return parts.storage.path(uri)
    except NotFoundError as error:
        raise ConflictError(
            f"the bundle cannot be read: {error.detail}", code=ErrorCode.ARTIFACT_CHANGED
        ) from error


def _known(context: StageContext, key: str, stored_key: str) -> _Known:
    with context.parts.factory.begin(context.actor, write=False) as work:
        repository = DeploymentRepository(work.session, work.team_id)
        row = repository.bundle(key)
        uri = row.uri if row is not None else context.parts.storage.uri(stored_key)
        return _Known(uri, row.digest if row else None, repository.is_loaded_from(uri))


def _make_room(context: StageContext, known: _Known, stored_key: str) -> tuple[str, str | None]:
    """The key to store it under, and where what stood there went."""
    storage = context.parts.storage
    if known.live:
        number = 2
        while storage.exists(f"{stored_key}-{number}"):
            number += 1
        return f"{stored_key}-{number}", None
    key = _key_of(known.uri, stored_key)
    return key, storage.set_aside(key) if storage.exists(key) else None


def _key_of(uri: str, stored_key: str) -> str:
    """The key that a known bundle has: the one that follows from its content, or that with a number."""
    return stored_key.rpartition("/")[0] + "/" + unquote(urlsplit(uri).path).rpartition("/")[2]


def _keep(context: StageContext, key: str, known: _Known, stored: StoredBundle, moved: str | None) -> None:
    with context.parts.factory.begin(context.actor) as work:
        row = BundleRow(
            team_id=context.team_id,
            key=key,
            uri=stored.uri,
            digest=stored.bundle.digest,
            built_at=work.clock(),
        )
        work.session.merge(row)
        if stored.problem is None:
            return
        _log.warning("bundle.rebuilt", bundle=known.uri, reason=stored.problem, moved_to=moved)
        work.record(
            "bundle.rebuilt",
            "bundle",
            key,
            before={"uri": known.uri, "digest": known.digest},
            after={"uri": row.uri, "digest": row.digest},
            reason=stored.problem,
            moved_to=moved,
            model=f"{context.model_name}/{context.model_version}",
            rollout_id=context.rollout_id,
        )

"""The bundle of a version: built once, and held against the digest of that build ever after.

What lies in the object storage proves nothing by itself: whoever can change a file there can rewrite the
manifest that lists it. So the digest of each bundle that was built stands in the database.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog

from ml_platform.contracts.bundles import FeatureRequest
from ml_platform.kit.errors import AppError, UnavailableError
from ml_platform.kit.ids import new_id
from ml_platform.kit.locks import file_lock
from ml_platform.services.deployments.interfaces import BuiltBundle, DeployableVersion
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.stages.context import StageContext
from ml_platform.services.deployments.tables import BundleRow

_log = structlog.get_logger(__name__)
_DAMAGED = ".damaged"


@dataclass(frozen=True, slots=True)
class _Known:
    """Where a bundle should be, the digest it was built with, and whether a revision is loaded from there."""

    path: Path
    digest: str | None
    live: bool


def obtain(
    context: StageContext, key: str, version: DeployableVersion, features: FeatureRequest | None
) -> tuple[BuiltBundle, str | None]:
    """The bundle of this key, and why one that was there was not taken, if so.

    One that is no longer what was built is moved aside and built anew; one that a loaded revision serves
    from stays where it is, and the new one gets a directory of its own.
    """
    folder = context.parts.bundles / context.team_id / "bundles"
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / f".{key}.lock"):  # two rollouts of one version build it once
        known = _known(context, key, folder)
        problem = None
        if known.digest is not None:
            try:
                return context.parts.tools.take(known.path, known.digest), None
            except UnavailableError:
                raise
            except AppError as error:
                problem = error.detail
        elif known.path.exists():
            problem = "nothing says that it was built here"
        path, moved = _make_room(known, folder, key)
        bundle = context.parts.tools.build(version, path, features=features)
        _keep(context, key, known, bundle, problem, moved)
    return bundle, problem


def path_of(uri: str) -> Path:
    """The path of a `file://` URI."""
    return Path(unquote(urlsplit(uri).path))


def _known(context: StageContext, key: str, folder: Path) -> _Known:
    with context.parts.factory.begin(context.actor, write=False) as work:
        repository = DeploymentRepository(work.session, work.team_id)
        row = repository.bundle(key)
        path = path_of(row.uri) if row is not None else folder / key
        return _Known(path, row.digest if row else None, repository.is_loaded_from(_uri(path)))


def _make_room(known: _Known, folder: Path, key: str) -> tuple[Path, Path | None]:
    """Where to build, and where what stood there went."""
    if known.live:
        number = 2
        while (folder / f"{key}-{number}").exists():
            number += 1
        return folder / f"{key}-{number}", None
    if not known.path.exists():
        return known.path, None
    aside = folder / _DAMAGED / f"{known.path.name}-{new_id('old')}"
    aside.parent.mkdir(exist_ok=True)
    known.path.rename(aside)
    return known.path, aside


def _keep(
    context: StageContext,
    key: str,
    known: _Known,
    bundle: BuiltBundle,
    problem: str | None,
    moved: Path | None,
) -> None:
    with context.parts.factory.begin(context.actor) as work:
        row = BundleRow(
            team_id=context.team_id,
            key=key,
            uri=_uri(bundle.path),
            digest=bundle.digest,
            built_at=work.clock(),
        )
        work.session.merge(row)
        if problem is None:
            return
        _log.warning("bundle.rebuilt", bundle=str(known.path), reason=problem, moved_to=str(moved))
        work.record(
            "bundle.rebuilt",
            "bundle",
            key,
            before={"uri": _uri(known.path), "digest": known.digest},
            after={"uri": row.uri, "digest": row.digest},
            reason=problem,
            moved_to=_uri(moved) if moved is not None else None,
            model=f"{context.model_name}/{context.model_version}",
            rollout_id=context.rollout_id,
        )


def _uri(path: Path) -> str:
    return path.absolute().as_uri()

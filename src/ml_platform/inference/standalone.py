"""Serving without a control plane: a snapshot made from a directory of bundles."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from ml_platform.contracts.bundles import MANIFEST_NAME, digest_of
from ml_platform.contracts.serving import (
    FeatureStore,
    ServingEndpoint,
    ServingKey,
    ServingRevision,
    Snapshot,
    check_snapshot,
)
from ml_platform.inference.settings import Settings

TEAM = "default"
ENVIRONMENT = "production"


def snapshot_of_directory(settings: Settings) -> Snapshot:
    """One endpoint for each bundle: the directory itself, or those within it, by their names.

    Raises:
        ValueError: when there is no bundle, or nothing says who may use it.
        OSError: when a file cannot be read.
    """
    directory = Path(settings.model_dir).expanduser().resolve()
    if (directory / MANIFEST_NAME).is_file():
        bundles = [directory]
    else:
        found = (path.parent for path in directory.glob(f"*/{MANIFEST_NAME}"))
        bundles = sorted(path for path in found if not path.name.startswith("."))
    if not bundles:
        raise ValueError(f"model_dir: there is no {MANIFEST_NAME} in {directory} or its directories")
    if settings.model_name and len(bundles) > 1:
        raise ValueError("model_name: model_dir holds several bundles, named as their directories")
    if settings.bundle_digest:
        _check_digest(bundles, settings.bundle_digest)
    if not settings.keys_file and not settings.anonymous:
        raise ValueError("say who may ask for predictions: --keys-file, or --anonymous for everybody")
    snapshot = Snapshot(
        version=time.time_ns() // 1_000_000,
        keys=keys_of(settings),
        endpoints=tuple(
            endpoint_of(settings.model_name or bundle.name, bundle, _digest(bundle)) for bundle in bundles
        ),
        feature_stores=stores_of(settings),
    )
    check_snapshot(snapshot)
    return snapshot


def keys_of(settings: Settings) -> tuple[ServingKey, ...]:
    """Who may ask; raises ValueError and OSError."""
    if not settings.keys_file:
        return ()
    text = Path(settings.keys_file).expanduser().read_bytes()
    keys = msgspec.json.decode(text, type=tuple[ServingKey, ...])
    check_snapshot(Snapshot(version=0, keys=keys, endpoints=()))
    return keys


def stores_of(settings: Settings) -> tuple[FeatureStore, ...]:
    """Where features are looked up; raises ValueError and OSError."""
    if not settings.stores_file:
        return ()
    text = Path(settings.stores_file).expanduser().read_bytes()
    try:
        stores = msgspec.json.decode(text, type=tuple[FeatureStore, ...])
        check_snapshot(Snapshot(version=0, keys=(), endpoints=(), feature_stores=stores))
    except ValueError as error:
        raise ValueError(f"stores_file: {error}") from error
    return stores


def endpoint_of(name: str, bundle: Path, digest: str, before: str | None = None) -> ServingEndpoint:
    """The endpoint of a bundle; one that stood there `before` stands by for it."""
    revisions = [_revision(name, bundle, digest, 1.0)]
    if before is not None:
        revisions.append(_revision(name, bundle, before, 0.0))
    return ServingEndpoint(
        team=TEAM,
        environment=ENVIRONMENT,
        name=name,
        deployment_id=f"standalone-{name}",
        revisions=tuple(revisions),
    )


def revision_id_of(name: str, digest: str) -> str:
    return f"{name}-{digest[:12]}"


def _check_digest(bundles: list[Path], expected: str) -> None:
    """Whoever deploys says what is to be served: another bundle in its place is not."""
    if len(bundles) > 1:
        raise ValueError("bundle_digest: model_dir holds several bundles")
    found = _digest(bundles[0])
    if found != expected:
        raise ValueError(f"bundle_digest: the bundle in {bundles[0]} has the digest {found}, not {expected}")


def _digest(bundle: Path) -> str:
    return digest_of((bundle / MANIFEST_NAME).read_bytes())


def _revision(name: str, bundle: Path, digest: str, weight: float) -> ServingRevision:
    return ServingRevision(
        revision_id=revision_id_of(name, digest),
        model_name=name,
        model_version=digest[:12],
        weight=weight,
        bundle_uri=str(bundle),
        bundle_digest=digest,
    )

"""Serving without a control plane: a snapshot made from a directory of bundles."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from ml_platform.contracts.bundles import MANIFEST_NAME, digest_of
from ml_platform.contracts.serving import (
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
        bundles = sorted(path.parent for path in directory.glob(f"*/{MANIFEST_NAME}"))
    if not bundles:
        raise ValueError(f"model_dir: there is no {MANIFEST_NAME} in {directory} or its directories")
    if settings.model_name and len(bundles) > 1:
        raise ValueError("model_name: model_dir holds several bundles, named as their directories")
    if settings.bundle_digest:
        _check_digest(bundles, settings.bundle_digest)
    if not settings.keys_file and not settings.anonymous:
        raise ValueError("say who may ask for predictions: --keys-file, or --anonymous for everybody")
    keys: tuple[ServingKey, ...] = ()
    if settings.keys_file:
        text = Path(settings.keys_file).expanduser().read_bytes()
        keys = msgspec.json.decode(text, type=tuple[ServingKey, ...])
    snapshot = Snapshot(
        version=time.time_ns() // 1_000_000,
        keys=keys,
        endpoints=tuple(_endpoint(settings.model_name or bundle.name, bundle) for bundle in bundles),
    )
    check_snapshot(snapshot)
    return snapshot


def _check_digest(bundles: list[Path], expected: str) -> None:
    """Whoever deploys says what is to be served: another bundle in its place is not."""
    if len(bundles) > 1:
        raise ValueError("bundle_digest: model_dir holds several bundles")
    found = digest_of((bundles[0] / MANIFEST_NAME).read_bytes())
    if found != expected:
        raise ValueError(f"bundle_digest: the bundle in {bundles[0]} has the digest {found}, not {expected}")


def _endpoint(name: str, bundle: Path) -> ServingEndpoint:
    digest = digest_of((bundle / MANIFEST_NAME).read_bytes())
    revision = ServingRevision(
        revision_id=f"{name}-{digest[:12]}",
        model_name=name,
        model_version=digest[:12],
        weight=1.0,
        bundle_uri=str(bundle),
        bundle_digest=digest,
    )
    return ServingEndpoint(
        team=TEAM,
        environment=ENVIRONMENT,
        name=name,
        deployment_id=f"standalone-{name}",
        revisions=(revision,),
    )

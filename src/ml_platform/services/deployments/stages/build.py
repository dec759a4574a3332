"""build: the bundle that will serve, with its digest and its parity, and the manifest for a cluster."""

from dataclasses import replace

import msgspec

from ml_platform.contracts.deployments import Environment, ReplicaResources
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.errors import ConflictError
from ml_platform.kit.strictjson import digest
from ml_platform.services.deployments import bundles
from ml_platform.services.deployments.interfaces import (
    BuiltBundle,
    DeployableVersion,
    FeatureSource,
    Inspection,
)
from ml_platform.services.deployments.ledger import Outcome, failed
from ml_platform.services.deployments.manifests import MANIFEST, Served, inference_service
from ml_platform.services.deployments.stages.context import StageContext
from ml_platform.services.deployments.stages.validate import (
    ARTIFACT_CHANGED,
    artifact_problem,
    features_of,
    signature_problem,
)

_FORM = 3
"""Raised when bundles are built differently, so that old ones are not taken for new ones."""


def build(context: StageContext) -> Outcome:
    """One bundle a model digest and feature view: what was tried in staging is what production gets."""
    version = context.resolve()
    inspection = context.parts.tools.inspect(version.source)
    changed = artifact_problem(version, inspection)
    if changed is not None:
        return failed(changed, code=ARTIFACT_CHANGED)
    stored, source = bundle_of(context, version, inspection)
    bundle, problem = stored.bundle, stored.problem
    tried = context.evidence.get("test", {}).get("bundle", {})
    if problem is None and tried.get("digest") == bundle.digest:
        problem = tried["rebuilt_because"]  # the test stage was the first to ask for it
        bundle = replace(bundle, reused=tried["reused"])
    manifest = inference_service(_served(context, version, stored), context.parts.settings.kserve_runtime)
    return Outcome(
        passed=True,
        evidence={
            "bundle_uri": stored.uri,
            "bundle_digest": bundle.digest,
            "summary": _summary(bundle),
            "runtime": bundle.runtime,
            "converted_by": bundle.converter,
            "parity": bundle.parity,
            "not_converted_because": bundle.reason,
            "warnings": list(bundle.warnings)[:50],
            "reused": bundle.reused,
            "rebuilt_because": problem,
            "feature_view": version.feature_view,
            "feature_store": _store(source) if source else None,
            MANIFEST: manifest,
            "kserve_manifest_sha256": digest(manifest),
        },
    )


def bundle_of(
    context: StageContext, version: DeployableVersion, inspection: Inspection
) -> tuple[bundles.StoredBundle, FeatureSource | None]:
    """The bundle that serves a version, and its features' source."""
    source = None
    if version.feature_view is not None:
        source = features_of(context, version.feature_view, inspection)
    fields = {
        "form": _FORM,
        "model": version.digest,
        "name": version.model_name,
        "version": version.version,
        "features": msgspec.to_builtins(source.request) if source else None,
    }
    key = digest(fields)[:32]
    unsigned = signature_problem(context.parts, version, inspection)
    if unsigned is not None:  # nothing is built of what nobody vouches for
        raise ConflictError(unsigned, code=ErrorCode.ARTIFACT_CHANGED)
    return bundles.obtain(context, key, version, source.request if source else None), source


def _served(context: StageContext, version: DeployableVersion, stored: bundles.StoredBundle) -> Served:
    """What serves in the cluster is what was approved: its approval stands in the evidence by now."""
    own = f"{version.model_name}/{version.version}"
    percent = context.config["canary"]["steps"][0]
    canary = context.environment == Environment.PRODUCTION and bool(context.serving) and percent < 100
    return Served(
        team=context.team_name,
        environment=context.environment,
        deployment=context.deployment_name,
        deployment_id=context.deployment_id,
        rollout_id=context.rollout_id,
        revision_id=context.revision_id,
        model=own,
        model_digest=version.digest,
        bundle_uri=context.parts.storage.plain(stored.uri),
        bundle_digest=stored.bundle.digest,
        approval_id=context.evidence.get("approval", {}).get("approval_id"),
        replicas=context.config["replicas"],
        auto_scale=context.config["auto_scale"],
        max_replicas=context.config["max_replicas"],
        resources=ReplicaResources(**context.config.get("resources", {})),
        canary_percent=percent if canary else None,
    )


def _store(source: FeatureSource) -> dict[str, str]:
    return {"kind": source.kind, "project": source.project, "path": source.path}


def _summary(bundle: BuiltBundle) -> str:
    """One sentence for those who decide about the deployment."""
    if bundle.runtime != "onnx":
        return f"runs in a process of its own, unconverted: {bundle.reason or 'nobody noted why'}"
    found = bundle.parity or {}
    if "max_abs_difference" not in found:
        return "runs as a graph"
    return (
        f"runs as a graph that differs from the model by at most {found['max_abs_difference']:.1e} "
        f"on {found.get('rows')} rows (allowed: {found.get('tolerance', 0):.1e})"
    )

"""The KServe `InferenceService` that serves a revision in a cluster: `serving.kserve.io/v1beta1`.

Names are those of Kubernetes (RFC 1035 labels), and short enough for what KServe and Knative append to them
(`-predictor-00001-deployment` in labels of 63 characters). A name that had to be changed ends in a part of
its digest, so that no two deployments get the same. Equal facts give equal manifests.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from ml_platform.contracts.deployments import ReplicaResources

MANIFEST = "kserve_manifest"
"""Under which the build stage's evidence holds it."""

_LONGEST_NAME = 36
_LONGEST_NAMESPACE = 63
_MARKED = re.compile(r"-[0-9a-f]{8}\Z")
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A revision and how it is to be served; `canary_percent` is its first share where another one serves."""

    team: str
    environment: str
    deployment: str
    deployment_id: str
    rollout_id: str
    revision_id: str
    model: str
    model_digest: str
    bundle_uri: str
    bundle_digest: str
    approval_id: str | None
    replicas: int
    auto_scale: bool
    max_replicas: int | None
    resources: ReplicaResources
    canary_percent: int | None


def inference_service(served: Served, runtime: str) -> dict[str, Any]:
    """The manifest, as JSON: `kubectl apply -f` takes it as it is.

    KServe asks for the model by the name of the InferenceService, in one namespace per team and environment.
    The runtime refuses to serve a bundle whose digest is another than the one that stands here.
    """
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": label(served.deployment, _LONGEST_NAME),
            "namespace": label(f"{served.team}-{served.environment}", _LONGEST_NAMESPACE),
            "labels": {"app.kubernetes.io/managed-by": "ml-platform"},
            "annotations": _annotations(served),
        },
        "spec": {"predictor": _predictor(served, runtime)},
    }


def label(name: str, longest: int) -> str:
    """`name` itself where Kubernetes takes it, else a likeness of it with a part of its digest."""
    if len(name) <= longest and _LABEL.match(name) and not _MARKED.search(name):
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"m-{plain}"
    return f"{plain[: longest - 9].rstrip('-')}-{mark}"


def _annotations(served: Served) -> dict[str, str]:
    facts = {
        "team": served.team,
        "environment": served.environment,
        "deployment": served.deployment,
        "deployment-id": served.deployment_id,
        "rollout-id": served.rollout_id,
        "revision": served.revision_id,
        "model": served.model,
        "model-digest": f"sha256:{served.model_digest}",
        "bundle-digest": f"sha256:{served.bundle_digest}",
        "approval": served.approval_id or "none needed",
    }
    return {f"ml-platform/{name}": value for name, value in facts.items()}


def _predictor(served: Served, runtime: str) -> dict[str, Any]:
    predictor: dict[str, Any] = {"minReplicas": served.replicas}
    if not served.auto_scale:
        predictor["maxReplicas"] = served.replicas
    elif served.max_replicas is not None:  # else as far as the cluster goes
        predictor["maxReplicas"] = served.max_replicas
    if served.canary_percent is not None:
        predictor["canaryTrafficPercent"] = served.canary_percent
    memory = f"{served.resources.memory_mb}Mi"
    cpu = f"{round(served.resources.cpu * 1000)}m"
    limits = {"cpu": cpu, "memory": memory}
    if served.resources.gpus:
        limits["nvidia.com/gpu"] = str(served.resources.gpus)
    predictor["model"] = {
        "modelFormat": {"name": "mlops-bundle", "version": "1"},
        "runtime": runtime,
        "protocolVersion": "v1",
        "storageUri": served.bundle_uri,
        "env": [{"name": "MLOPS_INFERENCE_BUNDLE_DIGEST", "value": served.bundle_digest}],
        "resources": {
            "requests": dict(limits),
            "limits": limits,
        },
    }
    return predictor

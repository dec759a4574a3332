"""Which revisions are explained class by class: those that answer with one of several labels."""

from __future__ import annotations

import msgspec

from ml_platform.contracts.bundles import BundleManifest


def by_class(manifest: BundleManifest) -> bool:
    """Whether each class's probability is explained, since the prediction itself is a label.

    It is known of classifiers whose classes are; what another isolated model gives, its answers say (`program`).
    """
    graph = manifest.onnx
    return (
        (graph is None or graph.probabilities is not None)
        and manifest.output == "prediction"
        and manifest.classes is not None
        and len(manifest.classes) > 2
        and not manifest.signature.params
    )


def with_probabilities(manifest: BundleManifest) -> BundleManifest:
    """The same graph, answering with the probabilities of all classes."""
    assert manifest.onnx is not None
    assert manifest.onnx.probabilities is not None
    graph = msgspec.structs.replace(manifest.onnx, prediction=manifest.onnx.probabilities)
    return msgspec.structs.replace(manifest, onnx=graph)

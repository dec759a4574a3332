"""What a bundle says of its answers."""

from ml_platform.contracts.bundles import MANIFEST_NAME, BundleError, decode_manifest, digest_of
from ml_platform.kit.errors import AppError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.monitoring import ServedBundle
from ml_platform.services.monitoring.statistics import AnswerKind


def describe_answers(storage: ObjectStorage, bundle: ServedBundle) -> AnswerKind | None:
    """By the bundle's manifest; None when it is gone or is not the one that was deployed."""
    try:
        data = (storage.path(bundle.uri) / MANIFEST_NAME).read_bytes()
        manifest = decode_manifest(data)
    except (AppError, BundleError, OSError):
        return None
    if digest_of(data) != bundle.digest:
        return None
    return AnswerKind(manifest.task, manifest.output == "probability", manifest.classes)

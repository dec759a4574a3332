"""`ModelTools` of deployments over `ModelBuilder`: names, errors and bundles as rollouts want them."""

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ml_platform.contracts.bundles import (
    MANIFEST_NAME,
    BundleError,
    BundleManifest,
    FeatureRequest,
    decode_manifest,
    digest_of,
    encode_manifest,
)
from ml_platform.contracts.problems import ErrorCode
from ml_platform.integrations.modelbuild import (
    CONVERTED_BY,
    NOT_CONVERTED_BECAUSE,
    BundleTrials,
    ModelBuilder,
    ModelBuildError,
    warnings_of,
)
from ml_platform.integrations.rollouts.samples import example_rows, reference_rows
from ml_platform.kit.environments import EnvironmentFailedError
from ml_platform.kit.errors import ConflictError
from ml_platform.services.deployments import (
    BuiltBundle,
    BundleTrial,
    DeployableVersion,
    EvaluationResult,
    Inspection,
    ScanFinding,
)

_REFERENCE = "reference-"


class BuilderTools:
    """Whatever runs a model's code does so in a child, in the model's own environment."""

    def __init__(self, builder: ModelBuilder, trials: BundleTrials) -> None:
        self._builder = builder
        self._trials = trials

    def inspect(self, source: Path) -> Inspection:
        with _translated():
            info = self._builder.inspect(source)
        columns = tuple(column.name for column in info.signature.inputs) if info.signature else ()
        return Inspection(
            digest=info.digest,
            has_signature=info.signature is not None,
            signature_problem=info.signature_problem,
            input_example=info.input_example is not None,
            columns=columns,
            requirements=tuple(line for line in info.requirements.splitlines() if line.strip()),
            flavours=tuple(sorted(info.flavours)),
            inputs=info.signature.inputs if info.signature else (),
            files=dict(info.files),
        )

    def scan(self, source: Path) -> Sequence[ScanFinding]:
        with _translated():
            found = self._builder.scan(source)
        return [ScanFinding(item.path, item.severity, item.name, item.detail) for item in found]

    def evaluate(self, source: Path, data: Path, label: str) -> EvaluationResult:
        _check_reference(data)
        with _translated():
            found = self._builder.evaluate(source, data, label)
        return EvaluationResult(metrics=dict(found.metrics), rows=found.rows, slices=found.slices)

    def sample(self, source: Path, reference: Path | None, label: str | None, limit: int) -> list[Any]:
        """The reference's first rows, else the input example's."""
        with _translated():
            info = self._builder.inspect(source)
        if info.signature is None:
            return []
        if reference is not None:
            _check_reference(reference)
            return reference_rows(reference, info.signature, label, limit)
        if info.input_example is not None:
            return example_rows(source / info.input_example, limit)
        return []

    def build(
        self, version: DeployableVersion, destination: Path, *, features: FeatureRequest | None
    ) -> BuiltBundle:
        scratch = destination.with_name(f".{destination.name}.{secrets.token_hex(6)}")
        metadata = {"model": version.model_name, "version": str(version.version)}
        try:
            with _translated():
                made = self._builder.build(
                    version.source, scratch, sample=version.reference, metadata=metadata
                )
            manifest, digest = made.manifest, made.digest
            if made.model_digest != version.digest:
                raise ConflictError(
                    "the artifact changed while it was built", code=ErrorCode.ARTIFACT_CHANGED
                )
            if features is not None:
                manifest, digest = _with_features(scratch, manifest, features)
            scratch.rename(destination)  # so that the bundle is there whole or not at all
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _checked(destination, digest)
        return _built(destination, manifest, digest, reused=False)

    def try_out(
        self,
        bundle: BuiltBundle,
        rows: Sequence[Any],
        *,
        plain: Sequence[Any],
        moved: Sequence[Any],
        calls: int,
    ) -> BundleTrial:
        take(bundle.path, bundle.digest)
        with _translated():
            found = self._trials.run(bundle.path, rows, plain=plain, moved=moved, calls=calls)
        return BundleTrial(found.answers, found.same, found.milliseconds, found.pairs, found.memory_bytes)

    def take(self, bundle: Path, digest: str) -> BuiltBundle:
        return take(bundle, digest)

    def verify(self, bundle: Path, digest: str) -> None:
        take(bundle, digest)


def take(bundle: Path, digest: str) -> BuiltBundle:
    """A bundle that was built before; raises ConflictError unless all of it is what its digest says."""
    return _built(bundle, _checked(bundle, digest), digest, reused=True)


def _built(path: Path, manifest: BundleManifest, digest: str, *, reused: bool) -> BuiltBundle:
    parity = msgspec.to_builtins(manifest.parity) if manifest.parity is not None else None
    return BuiltBundle(
        path=path,
        digest=digest,
        runtime=manifest.runtime,
        parity=parity,
        reason=manifest.metadata.get(NOT_CONVERTED_BECAUSE),
        warnings=warnings_of(manifest),
        reused=reused,
        converter=manifest.metadata.get(CONVERTED_BY),
    )


def _with_features(
    bundle: Path, manifest: BundleManifest, features: FeatureRequest
) -> tuple[BundleManifest, str]:
    changed = msgspec.structs.replace(manifest, features=features)
    try:
        data = encode_manifest(changed)
    except BundleError as error:
        raise ConflictError(f"its features: {error}", code=ErrorCode.BUILD_FAILED) from error
    (bundle / MANIFEST_NAME).write_bytes(data)
    return changed, digest_of(data)


def _checked(bundle: Path, digest: str) -> BundleManifest:
    """The manifest, after its digest and that of every file were compared with what was built."""
    try:
        data = (bundle / MANIFEST_NAME).read_bytes()
        manifest = decode_manifest(data)
        same = digest_of(data) == digest and all(
            _sha256(bundle / name) == expected for name, expected in manifest.files.items()
        )
    except (OSError, BundleError) as error:
        raise ConflictError(f"the bundle cannot be read: {error}", code=ErrorCode.ARTIFACT_CHANGED) from error
    if not same:
        raise ConflictError(
            f"the bundle is not the one that was built: {bundle.name} was changed in the storage",
            code=ErrorCode.ARTIFACT_CHANGED,
            hint="deploy again: it is built anew from the model's registered artifact",
        )
    return manifest


def _check_reference(path: Path) -> None:
    """Stored reference rows carry their digest in their name."""
    if path.name.startswith(_REFERENCE) and _sha256(path) != path.stem.removeprefix(_REFERENCE):
        raise ConflictError(
            "the reference rows are others than when the version was registered",
            code=ErrorCode.ARTIFACT_CHANGED,
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ModelBuildError as error:
        raise ConflictError(error.detail, code=ErrorCode.BUILD_FAILED, extra=_log(error.log)) from error
    except EnvironmentFailedError as error:
        raise ConflictError(
            f"the model's environment cannot be made: {error.detail}",
            code=ErrorCode.ENVIRONMENT_FAILED,
            extra=_log(error.log),
        ) from error


def _log(text: str) -> dict[str, str]:
    return {"log": text[-4000:]} if text else {}

"""Asks a bundle's graph for its answers to the reference, in a child, as the prediction log would hold them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform.contracts.bundles import (
    MANIFEST_NAME,
    BundleError,
    BundleManifest,
    decode_manifest,
    digest_of,
)
from ml_platform.integrations.modelbuild import ModelBuildError
from ml_platform.integrations.modelbuild.children import ChildLimits, ask_platform, workspace
from ml_platform.integrations.modelbuild.evaluating import write_rows
from ml_platform.kit.errors import AppError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.monitoring import ServedDeployment


class GraphScores:
    """Answers of models that are served as graphs. Others would need their own environment: they have none.

    Args:
        storage: where bundles stand.
        work_root: a directory for work in progress.
    """

    def __init__(self, storage: ObjectStorage, work_root: Path, *, limits: ChildLimits | None = None) -> None:
        self._storage = storage
        self._work_root = work_root
        self._limits = limits or ChildLimits()

    def score(self, deployment: ServedDeployment, reference: Path, target: Path) -> str | None:
        if deployment.bundle_uri is None:
            return "nothing serves"
        try:
            bundle = self._storage.path(deployment.bundle_uri)
            data = (bundle / MANIFEST_NAME).read_bytes()
            manifest = decode_manifest(data)
        except (AppError, BundleError, OSError) as error:
            return f"the bundle cannot be read ({type(error).__name__})"
        if digest_of(data) != deployment.bundle_digest:
            return "the bundle was changed"
        if manifest.onnx is None:
            return "the model is not served as a graph"
        try:
            self._write(bundle, manifest, reference, target)
        except ModelBuildError as error:
            return error.detail
        return None

    def _write(self, bundle: Path, manifest: BundleManifest, reference: Path, target: Path) -> None:
        with workspace(self._work_root) as folder:
            rows = write_rows(folder, self._limits, manifest.signature, reference, None)
            if not rows.ok:
                raise ModelBuildError(rows.reason)
            answers = folder / "answers.npz"
            request = {
                "op": "graph",
                "bundle": str(bundle),
                "rows": str(folder / "rows.npz"),
                "answers": str(answers),
            }
            answer = ask_platform(folder, self._limits, request)
            if not answer.ok:
                raise ModelBuildError(answer.reason)
            with np.load(answers, allow_pickle=False) as arrays:
                probability = manifest.output == "probability"
                values = arrays["probabilities"][:, 1] if probability else arrays["prediction"]
        pq.write_table(_as_logged(values), target)


def _as_logged(values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> pa.Table:
    """Numbers and booleans stand in `prediction`, everything else as JSON in `prediction_json`."""
    if values.dtype.kind in "biuf":
        return pa.table({"prediction": pa.array(values.astype(np.float64).reshape(len(values)))})
    texts = [json.dumps(str(value), ensure_ascii=False) for value in values.reshape(len(values))]
    return pa.table({"prediction_json": pa.array(texts, pa.string())})

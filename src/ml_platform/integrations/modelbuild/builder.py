"""Builds bundles: a graph where the model converts with verified parity, else the model as it is."""

import hashlib
import importlib.metadata
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from ml_platform.contracts.bundles import (
    BACKGROUND_FILE,
    FOLDED_FILE,
    MANIFEST_NAME,
    MAX_BACKGROUND_ROWS,
    ONNX_FILE,
    PYFUNC_DIRECTORY,
    PYFUNC_REQUIREMENTS,
    Background,
    BundleError,
    BundleManifest,
    Column,
    FoldedGraph,
    OnnxGraph,
    Parity,
    Scalar,
    Signature,
    check_manifest,
    decode_manifest,
    digest_of,
    encode_manifest,
)
from ml_platform.integrations.modelbuild.children import (
    Answer,
    ChildLimits,
    ask_model,
    ask_platform_each,
    finite,
    workspace,
)
from ml_platform.integrations.modelbuild.errors import (
    BuildFailedError,
    EvaluationFailedError,
    ModelBuildError,
    ModelRefusedError,
)
from ml_platform.integrations.modelbuild.evaluating import (
    Evaluation,
    evaluate_graph,
    evaluate_model,
    rows_request,
    write_rows,
)
from ml_platform.integrations.modelbuild.mlmodel import ModelInfo, inspect_model
from ml_platform.integrations.modelbuild.pickles import Finding, scan_pickles
from ml_platform.kit.environments import EnvironmentCache, EnvironmentFailedError, normalise_requirements

SAMPLE_ROWS = 2_000
TOLERANCE = 1e-4
"""Between double and single precision; what a probability may differ by."""

_EVALUATIONS_KEPT = 256
CONVERTIBLE = ("sklearn", "lightgbm", "xgboost", "catboost", "pytorch")
CONVERTERS = ("skl2onnx", "onnxmltools", "onnx", "onnxruntime")
_TORCH_CONVERTERS = ("onnx", "onnxruntime")
_ONNXSCRIPT = "onnxscript==0.7.2"
"""What PyTorch's exporter is written in. It is never needed here, so its version stands here."""

CONVERTED_BY = "converted_by"
NOT_CONVERTED_BECAUSE = "not_converted_because"
WARNINGS = "warnings"
"""Keys in a manifest's metadata: a bundle that is used again still says how it came to be (warnings by line)."""


@dataclass(frozen=True)
class BuildResult:
    """A bundle that was built and answered.

    Attributes:
        digest: of the bundle: SHA-256 of its `bundle.json`.
        reason: why it is not a graph; None when it is.
        warnings: where the graph is less strict than the model, and the like.
        model_digest: of the model directory that it was built from.
    """

    directory: Path
    digest: str
    runtime: Literal["onnx", "pyfunc"]
    manifest: BundleManifest
    parity: Parity | None
    reason: str | None
    warnings: tuple[str, ...]
    model_digest: str
    seconds: float


class ModelBuilder:
    """Turns MLflow model directories into bundles, and evaluates both.

    Args:
        environments: where models' own environments are made.
        work_root: a directory for work in progress.
        limits: of each child that touches a model.
        tolerance: the largest difference in a prediction that a graph may have.
    """

    def __init__(
        self,
        environments: EnvironmentCache,
        work_root: Path,
        *,
        limits: ChildLimits | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        self._environments = environments
        self._work_root = work_root
        self._limits = limits or ChildLimits()
        self._tolerance = tolerance
        self._evaluated: dict[tuple[str, str, str], Evaluation] = {}
        self._evaluated_lock = threading.Lock()

    def inspect(self, model_dir: Path) -> ModelInfo:
        """What the directory says of itself, see `inspect_model`."""
        return inspect_model(model_dir)

    def scan(self, model_dir: Path) -> list[Finding]:
        """What its pickles would import, see `scan_pickles`."""
        return scan_pickles(model_dir)

    def build(
        self,
        model_dir: Path,
        out_dir: Path,
        *,
        sample: Path | None = None,
        log: Callable[[str], None] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> BuildResult:
        """Builds the bundle of a model in `out_dir`, which must not exist and is complete when it does.

        Args:
            model_dir: an MLflow model directory; it is not changed.
            out_dir: the bundle's directory.
            sample: Parquet rows on which parity is shown; without it, the model's input example.
            log: called with each step.
            metadata: stands in the manifest as it is.

        Raises:
            ModelRefusedError: the directory cannot be taken.
            BuildFailedError: the model does not load or answer in its own environment.
            EnvironmentFailedError: its environment cannot be made.
        """
        began = time.monotonic()
        say = log or (lambda _: None)
        info = inspect_model(model_dir)
        if info.signature is None:
            raise ModelRefusedError(info.signature_problem or "the model has no signature")
        if out_dir.exists():
            raise BuildFailedError(f"{out_dir.name} exists already")
        with workspace(self._work_root) as folder:
            # Children get a copy: what they do to it is not in the bundle.
            shutil.copytree(model_dir, folder / "model")
            work = _Work(model_dir, folder, info, info.signature, say, metadata or {})
            work.has_rows = self._lay_out_rows(work, sample)
            made = self._as_graph(work)
            if isinstance(made, str):
                say(f"it stays as it is: {made}")
                made = self._as_process(work, made)
            out_dir.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / "bundle", out_dir)
        return replace(made, directory=out_dir, seconds=round(time.monotonic() - began, 3))

    def evaluate(self, directory: Path, data: Path, label: str) -> Evaluation:
        """Metrics of a model directory or a bundle on labelled Parquet rows.

        The same files on the same rows are judged once in the life of this process: the gate of a
        registration, the test before each deployment and the next candidate's comparison all ask.

        Raises:
            EvaluationFailedError: the data lack a column or the label, or the model fails on them.
            ModelRefusedError, EnvironmentFailedError: as in `build`.
        """
        if not data.is_file():
            raise EvaluationFailedError(f"{data.name} is not there")
        key = (_content_digest(directory), _sha256(data), label)
        with self._evaluated_lock:
            known = self._evaluated.get(key)
        if known is not None:
            return known
        found = self._evaluate_anew(directory, data, label)
        with self._evaluated_lock:
            if len(self._evaluated) >= _EVALUATIONS_KEPT:
                self._evaluated.pop(next(iter(self._evaluated)))
            self._evaluated[key] = found
        return found

    def _evaluate_anew(self, directory: Path, data: Path, label: str) -> Evaluation:
        try:
            with workspace(self._work_root) as folder:
                return self._evaluate(directory, data, label, folder)
        except ModelBuildError as error:
            if type(error) is not ModelBuildError:
                raise
            raise EvaluationFailedError(error.detail, error.log) from error

    def _evaluate(self, directory: Path, data: Path, label: str, folder: Path) -> Evaluation:
        model = directory
        if (directory / MANIFEST_NAME).is_file():
            try:
                manifest = decode_manifest((directory / MANIFEST_NAME).read_bytes())
            except BundleError as error:
                raise EvaluationFailedError(str(error)) from error
            if manifest.runtime == "onnx":
                return evaluate_graph(folder, self._limits, directory, manifest, data, label)
            model = directory / PYFUNC_DIRECTORY
        info = inspect_model(model)
        if info.signature is None:
            raise ModelRefusedError(info.signature_problem or "the model has no signature")
        python = self._environments.ensure(_serving_requirements(info))
        shutil.copytree(model, folder / "model")
        with self._environments.hold(python):
            return evaluate_model(folder, self._limits, python, folder / "model", info.signature, data, label)

    def _lay_out_rows(self, work: "_Work", sample: Path | None) -> bool:
        source = sample
        if source is None and work.info.input_example is not None:
            source = work.model_dir / work.info.input_example
        if source is None:
            return False
        answer = write_rows(work.folder, self._limits, work.signature, source, SAMPLE_ROWS)
        if answer.ok:
            return True
        if sample is not None:
            raise BuildFailedError(f"the sample does not fit the model: {answer.reason}", answer.log)
        work.say(f"the input example cannot be used: {answer.reason}")
        return False

    def _as_graph(self, work: "_Work") -> "BuildResult | str":
        """The result, or why the model cannot be a graph."""
        flavour = next((name for name in CONVERTIBLE if name in work.info.flavours), None)
        if flavour is None:
            known = ", ".join(sorted(work.info.flavours))
            return f"its flavours ({known}) do not convert"
        if work.signature.params:
            return "its signature has params, which a graph does not take"
        if not work.has_rows:
            return "there are no rows on which to show parity: give a sample, or log an input example"
        try:
            return self._convert(work, flavour)
        except EnvironmentFailedError as error:
            return f"the converters cannot be installed beside its requirements: {error.detail}"
        except (BundleError, KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
            return f"the conversion gave what cannot be served: {error}"
        except ModelBuildError as error:
            return f"the conversion failed: {error.detail}"

    def _convert(self, work: "_Work", flavour: str) -> "BuildResult | str":
        converters = _converters(flavour)
        python = self._environments.ensure(_serving_requirements(work.info), converters, log=work.say)
        work.say("converting")
        with self._environments.hold(python):
            answer = ask_model(python, work.folder, self._limits, self._convert_request(work, flavour))
        if not answer.ok:
            return answer.reason
        return self._finish_graph(work, _graph_manifest(work, answer.content), answer.content)

    def _convert_request(self, work: "_Work", flavour: str) -> dict[str, Any]:
        return {
            "op": "convert",
            "model": str(work.folder / "model"),
            "flavour": flavour,
            "onnx": str(work.folder / ONNX_FILE),
            "tolerance": self._tolerance,
            **rows_request(work.folder, work.signature),
        }

    def _finish_graph(
        self, work: "_Work", manifest: BundleManifest, said: Mapping[str, Any]
    ) -> "BuildResult | str":
        bundle = work.folder / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        bundle.mkdir()
        shutil.copyfile(work.folder / ONNX_FILE, bundle / ONNX_FILE, follow_symlinks=False)
        _write_manifest(bundle, manifest)
        work.say("checking that the bundle loads and answers")
        given = {"bundle": str(bundle), **rows_request(work.folder, work.signature)}
        checked, explained, folded = ask_platform_each(
            work.folder,
            self._limits,
            [
                {"op": "graph", "answers": str(work.folder / "answers.npz"), **given},
                _background_request(work, manifest),
                {"op": "folded", **given},
            ],
        )
        if not checked.ok:
            shutil.rmtree(bundle)
            return f"the graph does not answer in the serving runtime: {checked.reason}"
        manifest = _with_background(work, bundle, manifest, explained)
        manifest = _with_warnings(_with_folded(work, bundle, manifest, folded), said["warnings"])
        return _result(work, manifest, _write_manifest(bundle, manifest), reason=None)

    def _as_process(self, work: "_Work", reason: str) -> BuildResult:
        bundle = work.folder / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(work.model_dir, bundle / PYFUNC_DIRECTORY)
        requirements = _serving_requirements(work.info)
        (bundle / PYFUNC_REQUIREMENTS).write_text(requirements)
        python = self._environments.ensure(requirements, log=work.say)
        work.say("checking that the model loads and answers in its own process")
        classes = None
        if work.has_rows:
            with self._environments.hold(python):
                classes = self._check_process(work, python)
        _same_as_inspected(bundle / PYFUNC_DIRECTORY, work.info)
        # Params are for the model's own `predict`, which gives labels.
        binary = classes is not None and len(classes) == 2 and not work.signature.params
        manifest = BundleManifest(
            runtime="pyfunc",
            signature=work.signature,
            task="classification" if classes else "other",
            output="probability" if binary else "prediction",
            classes=classes,
            metadata=work.metadata | {NOT_CONVERTED_BECAUSE: reason},
            files=_hashes(bundle),
        )
        warnings = () if work.has_rows else ("there were no rows to try it with",)
        if work.has_rows:
            [explained] = ask_platform_each(work.folder, self._limits, [_background_request(work, manifest)])
            manifest = _with_background(work, bundle, manifest, explained)
        manifest = _with_warnings(manifest, warnings)
        return _result(work, manifest, _write_manifest(bundle, manifest), reason=reason)

    def _check_process(self, work: "_Work", python: Path) -> tuple[Scalar, ...] | None:
        request = {
            "op": "predict",
            "model": str(work.folder / "model"),
            "probabilities": bool(set(work.info.flavours) & set(CONVERTIBLE)),
            "answers": str(work.folder / "answers.npz"),
            **rows_request(work.folder, work.signature),
        }
        try:
            answer = ask_model(python, work.folder, self._limits, request)
        except ModelBuildError as error:
            raise BuildFailedError(error.detail, error.log) from error
        if not answer.ok:
            raise BuildFailedError(f"the model does not load or answer: {answer.reason}", answer.log)
        try:
            return msgspec.convert(answer.content.get("classes"), tuple[Scalar, ...] | None)
        except msgspec.ValidationError as error:
            raise BuildFailedError("the model's classes are no plain values") from error


class _Work:
    """One build: what it is made from and where."""

    def __init__(
        self,
        model_dir: Path,
        folder: Path,
        info: ModelInfo,
        signature: Signature,
        say: Callable[[str], None],
        metadata: dict[str, str],
    ) -> None:
        self.model_dir = model_dir
        self.folder = folder
        self.info = info
        self.signature = signature
        self.say = say
        self.metadata = metadata
        self.has_rows = False


def _graph_manifest(work: _Work, said: Mapping[str, Any]) -> BundleManifest:
    """The manifest out of the converter's answer, which is checked like anything from outside."""
    probabilities = said["probabilities"]
    classes = msgspec.convert(said["classes"], tuple[Scalar, ...] | None)
    settled = [
        msgspec.structs.replace(column, required=item["required"], missing=item.get("missing"))
        for column, item in zip(work.signature.inputs, said["columns"], strict=True)
    ]
    return BundleManifest(
        runtime="onnx",
        signature=msgspec.structs.replace(
            work.signature,
            inputs=msgspec.convert([msgspec.to_builtins(c) for c in settled], tuple[Column, ...]),
        ),
        task=said["task"],
        output="probability" if probabilities and classes and len(classes) == 2 else "prediction",
        classes=classes,
        onnx=msgspec.convert(
            {"inputs": said["inputs"], "prediction": said["prediction"], "probabilities": probabilities},
            OnnxGraph,
        ),
        parity=msgspec.convert(said["parity"], Parity),
        metadata=work.metadata | {CONVERTED_BY: str(said["maker"])[:500]},
        files={ONNX_FILE: _sha256(work.folder / ONNX_FILE)},
    )


def _takes_null(column: Column, runtime: str) -> bool:
    """Whether the server gives the model a row in which this column is null."""
    if column.required:
        return False
    return runtime != "onnx" or column.missing is not None or column.type in ("float", "double")


def _background_request(work: _Work, manifest: BundleManifest) -> dict[str, Any]:
    return {
        "op": "background",
        "background": str(work.folder / BACKGROUND_FILE),
        "limit": MAX_BACKGROUND_ROWS,
        "nullable": [_takes_null(column, manifest.runtime) for column in manifest.signature.inputs],
        **rows_request(work.folder, work.signature),
    }


def _with_background(work: _Work, bundle: Path, manifest: BundleManifest, answer: Answer) -> BundleManifest:
    """The manifest with the rows that explanations need, when there are any that the model takes."""
    try:
        rows = int(finite(answer.content["rows"], "rows")) if answer.ok else 0
    except ModelBuildError as error:
        work.say(f"it cannot be explained: {error.detail}")
        return manifest
    if not rows:
        work.say(f"it cannot be explained: {answer.reason or 'no row of the sample is complete'}")
        return manifest
    shutil.copyfile(work.folder / BACKGROUND_FILE, bundle / BACKGROUND_FILE, follow_symlinks=False)
    return msgspec.structs.replace(
        manifest,
        explain=Background(file=BACKGROUND_FILE, rows=rows),
        files=manifest.files | {BACKGROUND_FILE: _sha256(bundle / BACKGROUND_FILE)},
    )


def _with_folded(work: _Work, bundle: Path, manifest: BundleManifest, answer: Answer) -> BundleManifest:
    """The manifest with a quicker form of the graph, where there is one. A failure costs nothing."""
    assert manifest.onnx is not None
    if not answer.ok:
        work.say(f"the graph stays as it is: {answer.reason}")
        (bundle / FOLDED_FILE).unlink(missing_ok=True)
        return manifest
    try:
        given = {"file": FOLDED_FILE, "inputs": answer.content["inputs"], "cells": answer.content["cells"]}
        quicker = msgspec.structs.replace(
            manifest,
            onnx=msgspec.structs.replace(manifest.onnx, folded=msgspec.convert(given, FoldedGraph)),
            files=manifest.files | {FOLDED_FILE: _sha256(bundle / FOLDED_FILE)},
        )
        check_manifest(quicker)
    except (BundleError, msgspec.ValidationError, KeyError, OSError) as error:
        work.say(f"the graph stays as it is: {error}")
        (bundle / FOLDED_FILE).unlink(missing_ok=True)
        return manifest
    return quicker


def _with_warnings(manifest: BundleManifest, warnings: Sequence[Any]) -> BundleManifest:
    if not warnings:
        return manifest
    lines = "\n".join(" ".join(str(text).split())[:500] for text in warnings[:50])
    return msgspec.structs.replace(manifest, metadata=manifest.metadata | {WARNINGS: lines})


def warnings_of(manifest: BundleManifest) -> tuple[str, ...]:
    """Where a bundle is less strict than its model, and the like."""
    return tuple(manifest.metadata.get(WARNINGS, "").splitlines())


def _result(work: _Work, manifest: BundleManifest, digest: str, *, reason: str | None) -> BuildResult:
    return BuildResult(
        directory=work.folder / "bundle",
        digest=digest,
        runtime=manifest.runtime,
        manifest=manifest,
        parity=manifest.parity,
        reason=reason,
        warnings=warnings_of(manifest),
        model_digest=work.info.digest,
        seconds=0.0,
    )


def _write_manifest(bundle: Path, manifest: BundleManifest) -> str:
    try:
        data = encode_manifest(manifest)
    except BundleError as error:
        raise BuildFailedError(f"the bundle cannot be described: {error}") from error
    (bundle / MANIFEST_NAME).write_bytes(data)
    return digest_of(data)


def _serving_requirements(info: ModelInfo) -> str:
    """The model's own requirements; MLflow is needed to load it, so it is there in any case."""
    lines = normalise_requirements(info.requirements)
    has_mlflow = any(line.split("==")[0].split("[")[0] in ("mlflow", "mlflow-skinny") for line in lines)
    if not has_mlflow:
        version = info.mlflow_version or importlib.metadata.version("mlflow-skinny")
        lines += [f"mlflow-skinny=={version}", "pandas", "numpy"]
    return "\n".join(lines) + "\n"


def _converters(flavour: str) -> tuple[str, ...]:
    """The converters in our own versions: what serves the graph is what it was checked with."""
    torch = flavour == "pytorch"
    ours = tuple(
        f"{name}=={importlib.metadata.version(name)}" for name in (_TORCH_CONVERTERS if torch else CONVERTERS)
    )
    return (*ours, _ONNXSCRIPT) if torch else ours


def _same_as_inspected(model: Path, info: ModelInfo) -> None:
    if inspect_model(model).digest != info.digest:
        raise BuildFailedError("the model changed while it was built")


def _content_digest(directory: Path) -> str:
    """Of a bundle, its own; of a model directory, that of its files (links and the like are refused)."""
    manifest = directory / MANIFEST_NAME
    return digest_of(manifest.read_bytes()) if manifest.is_file() else inspect_model(directory).digest


def _hashes(bundle: Path) -> dict[str, str]:
    files = (path for path in sorted(bundle.rglob("*")) if path.is_file())
    return {path.relative_to(bundle).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Reading an MLflow model directory without running any of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec

from ml_platform.contracts.bundles import Column, ColumnType, Param, Signature
from ml_platform.contracts.plainyaml import load_plain
from ml_platform.integrations.modelbuild.errors import ModelRefusedError

MAX_MLMODEL_BYTES = 4 * 1024**2
MAX_TEXT_BYTES = 64 * 1024
MAX_FILES = 5_000
MAX_BYTES = 8 * 1024**3

_TENSOR_TYPES: dict[str, ColumnType] = {
    "bool": "boolean",
    "int32": "integer",
    "int64": "long",
    "float32": "float",
    "float64": "double",
}


@dataclass(frozen=True)
class ModelInfo:
    """What an MLflow model directory says of itself.

    Attributes:
        flavours: their names and settings.
        signature: its columns; None when it has none, or one that is no table.
        signature_problem: why there is none.
        input_example: the path of its input example inside the directory.
        requirements: the text of its pinned requirements.
        files: SHA-256 by relative path.
        digest: SHA-256 over the sorted pairs of path and SHA-256.
    """

    flavours: Mapping[str, Mapping[str, Any]]
    signature: Signature | None
    signature_problem: str | None
    input_example: str | None
    requirements: str
    python_version: str | None
    mlflow_version: str | None
    files: Mapping[str, str]
    size_bytes: int
    digest: str


def inspect_model(model_dir: Path) -> ModelInfo:
    """Reads and checks a model directory.

    Raises:
        ModelRefusedError: it is no MLflow model, too large, or holds links or paths that lead outside.
    """
    files, size = _hash_files(model_dir)
    document = _load_yaml(_read(model_dir, "MLmodel", MAX_MLMODEL_BYTES))
    _refuse_escaping_paths(document)
    flavours = document.get("flavors")
    if not isinstance(flavours, dict) or not all(isinstance(f, dict) for f in flavours.values()):
        raise ModelRefusedError("MLmodel names no flavors")
    signature, problem = _signature(document.get("signature"))
    example = document.get("saved_input_example_info") or {}
    example_path = example.get("artifact_path") if isinstance(example, dict) else None
    python = flavours.get("python_function", {}).get("python_version")
    version = document.get("mlflow_version")
    return ModelInfo(
        flavours=flavours,
        signature=signature,
        signature_problem=problem,
        input_example=example_path if isinstance(example_path, str) and example_path in files else None,
        requirements=_requirements(model_dir, files),
        python_version=str(python) if python else None,
        mlflow_version=str(version) if version else None,
        files=files,
        size_bytes=size,
        digest=digest_of_files(files),
    )


def digest_of_files(files: Mapping[str, str]) -> str:
    """SHA-256 over the sorted pairs of relative path and SHA-256."""
    whole = hashlib.sha256()
    for path, digest in sorted(files.items()):
        whole.update(path.encode() + b"\0" + digest.encode() + b"\n")
    return whole.hexdigest()


def _hash_files(model_dir: Path) -> tuple[dict[str, str], int]:
    if not model_dir.is_dir() or model_dir.is_symlink():
        raise ModelRefusedError("the model is no directory")
    files: dict[str, str] = {}
    size = 0
    for path in sorted(model_dir.rglob("*")):
        name = path.relative_to(model_dir).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ModelRefusedError(f"the model holds {name[:200]!r}, which is no plain file")
        if path.is_dir():
            continue
        if not name.isprintable() or "\\" in name:
            raise ModelRefusedError(f"the model holds a file with an odd name: {name[:200]!r}")
        size += path.stat().st_size
        if len(files) >= MAX_FILES or size > MAX_BYTES:
            raise ModelRefusedError(f"the model has more than {MAX_FILES} files or {MAX_BYTES} bytes")
        with path.open("rb") as file:
            files[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return files, size


def _read(model_dir: Path, name: str, limit: int) -> str:
    try:
        with (model_dir / name).open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ModelRefusedError(f"{name} is larger than {limit} bytes")
        return data.decode()
    except FileNotFoundError as error:
        raise ModelRefusedError(f"the model has no {name}") from error
    except UnicodeDecodeError as error:
        raise ModelRefusedError(f"{name} is not UTF-8 text") from error


def _load_yaml(text: str) -> dict[str, Any]:
    try:
        document = load_plain(text)
    except ValueError as error:
        raise ModelRefusedError(f"MLmodel is not readable YAML: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise ModelRefusedError("MLmodel is no mapping")
    return document


def _refuse_escaping_paths(document: dict[str, Any]) -> None:
    """No value that MLflow joins to the directory may lead out of it.

    `uri` and free text may look like anything; MLflow does not open those when it loads from a folder.
    """
    paths = {"path", "data", "code", "model_path", "pickled_model", "artifact_path", "serving_input_path"}
    paths |= {"conda", "virtualenv", "model_data", "code_path", "python_model", "env", "model_code_path"}
    todo: list[tuple[str, Any]] = [("", document)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            todo += [(str(k), v) for k, v in value.items()]
        elif isinstance(value, list):
            todo += [(key, item) for item in value]
        elif key in paths and isinstance(value, str):
            parts = value.replace("\\", "/").split("/")
            if value.startswith(("/", "~", "\\")) or ".." in parts or "://" in value:
                raise ModelRefusedError(f"MLmodel: {key!r} leads outside the model: {value[:200]!r}")


def _requirements(model_dir: Path, files: Mapping[str, str]) -> str:
    if "requirements.txt" not in files:
        raise ModelRefusedError("the model has no requirements.txt; log it with MLflow 2 or newer")
    return _read(model_dir, "requirements.txt", MAX_TEXT_BYTES)


def _signature(raw: Any) -> tuple[Signature | None, str | None]:
    if not isinstance(raw, dict) or not raw.get("inputs"):
        return None, "the model has no signature; log it with `signature=infer_signature(...)`"
    try:
        inputs = json.loads(raw["inputs"])
        outputs = json.loads(raw["outputs"]) if raw.get("outputs") else []
        params = _params(raw.get("params"))
        if [column.get("type") for column in inputs] == ["tensor"]:
            return Signature(inputs=_tensor(inputs[0]), layout="tensor", params=params), None
        columns = tuple(_column(column, f"column {i}") for i, column in enumerate(inputs))
        named = tuple(
            _column(column, "prediction")
            for column in outputs
            if isinstance(column, dict) and column.get("type") in get_args(ColumnType)
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return None, f"its signature cannot be served as a table: {str(error)[:200]}"
    return Signature(inputs=columns, outputs=named, params=params), None


def _column(raw: dict[str, Any], fallback: str) -> Column:
    kind = raw["type"]
    if kind not in get_args(ColumnType):
        raise ValueError(f"column {raw.get('name', fallback)!r} is of type {str(kind)[:50]!r}")
    required = raw.get("required", True) and not raw.get("optional", False)
    return Column(name=str(raw.get("name", fallback)), type=kind, required=bool(required))


def _params(text: str | None) -> tuple[Param, ...] | msgspec.UnsetType:
    """Params of a plain type; an object, which nobody can check, keeps the default that MLflow gives it."""
    raw = json.loads(text) if text else []
    found = [
        Param(
            name=str(item["name"]),
            type=kind,
            default=_default(item["default"]),
            shape=None if item.get("shape") is None else (-1,),
        )
        for item in raw
        if (kind := item.get("type") or item.get("dtype")) in get_args(ColumnType)
    ]
    return tuple(found) or msgspec.UNSET


def _default(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tensor(raw: dict[str, Any]) -> tuple[Column, ...]:
    spec = raw["tensor-spec"]
    shape, kind = spec["shape"], _TENSOR_TYPES.get(spec["dtype"])
    if kind is None or len(shape) != 2 or shape[0] != -1 or not 1 <= shape[1] <= 10_000:
        raise ValueError(f"a tensor of type {spec['dtype']} and shape {shape} is no matrix of numbers")
    return tuple(Column(name=str(index), type=kind) for index in range(shape[1]))

"""The model bundle: what a revision serves, as a directory that the inference plane can load and trust.

A bundle is immutable and self-describing. `bundle.json` (a `BundleManifest`) lists the SHA-256 of every
other file, so the SHA-256 of `bundle.json` itself, the bundle's digest, vouches for the whole directory:

    bundle.json
    model.onnx                 runtime "onnx"
    model/ requirements.txt    runtime "pyfunc": the MLflow model directory, and its own pinned requirements
    background.json            rows that explanations are relative to, where there were any

The builder writes it with `encode_manifest`, the inference server reads it with `decode_manifest`; both
are strict, so a field that one of them does not know is an error and never a silent difference.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

import msgspec

MANIFEST_NAME = "bundle.json"
ONNX_FILE = "model.onnx"
FOLDED_FILE = "folded.onnx"
PYFUNC_DIRECTORY = "model"
PYFUNC_REQUIREMENTS = "requirements.txt"
BACKGROUND_FILE = "background.json"

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_FILES = 10_000
MAX_COLUMNS = 10_000
MAX_BACKGROUND_ROWS = 100
MAX_FOLDED_WIDTH = 20_000
MAX_PARAMS = 200

ColumnType = Literal["boolean", "integer", "long", "float", "double", "string", "datetime"]
"""MLflow's signature type names; integer is 32 bits, long 64, float 32, double 64."""

Scalar = bool | int | float | str

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the wire types: immutable, by name only, and strict about unknown fields."""


class Column(_Wire, frozen=True, kw_only=True):
    """One named input or output of a model.

    A column that is not `required` may be absent or null in a request. `missing` is the value that then
    stands for it in an ONNX graph, which has no null; without it float columns become NaN, and a null in
    a column of another type is refused by name. An isolated model always gets the null itself.
    """

    name: str
    type: ColumnType
    required: bool = True
    missing: Scalar | None = None


class Param(_Wire, frozen=True, kw_only=True):
    """Something that a caller may say of a prediction beside its rows, such as a temperature (MLflow `ParamSpec`).

    `shape` is None for a single value and (-1,) for a list of them. A default of None means that there need not be
    a value.
    """

    name: str
    type: ColumnType
    default: Scalar | tuple[Scalar, ...] | None = None
    shape: tuple[int] | None = None


class Signature(_Wire, frozen=True, kw_only=True):
    """The columns that a model takes and gives.

    `layout` is "columns" for a table with named columns (MLflow `ColSpec`: the model sees a DataFrame),
    and "tensor" for a matrix `[rows, columns]` (MLflow `TensorSpec` of shape (-1, n): the model sees one
    array). A tensor's columns are listed as "0" to "n-1", all of one type.

    `params` are what the model's `predict` takes as `params`; only an isolated model has some. A model without any
    does not name them, so that its bundle is the same as ever.
    """

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()
    layout: Literal["columns", "tensor"] = "columns"
    params: tuple[Param, ...] | msgspec.UnsetType = msgspec.UNSET


class FoldedInput(_Wire, frozen=True, kw_only=True):
    """A matrix of 32-bit floats that a folded graph takes."""

    name: str
    width: int


class FoldedCell(_Wire, frozen=True, kw_only=True):
    """What stands at `at` in the matrices side by side.

    The number of a column (named by its position in the signature); or, with categories, a one at `at` plus the
    position of the category that the column has, and zeros for any other value.
    """

    column: int
    at: int
    categories: tuple[str | int, ...] = ()


class FoldedGraph(_Wire, frozen=True, kw_only=True):
    """The same graph without the encoding of its columns, which was shown to give the same answers."""

    file: str
    inputs: tuple[FoldedInput, ...]
    cells: tuple[FoldedCell, ...]


class OnnxGraph(_Wire, frozen=True, kw_only=True):
    """How the signature maps onto the graph in `model.onnx`.

    `inputs` "columns": one graph input of shape [rows, 1] for each column, under the column's own name.
    `inputs` "matrix": one graph input [rows, n], the columns side by side in the signature's order.
    `prediction` names the graph output that holds what the model's `predict` gives (a label or a value).
    `probabilities` names the output [rows, classes] in the order of the manifest's `classes` (convert
    with `zipmap` off); it is needed when the manifest's `output` is "probability".
    `folded` is a quicker form of the same graph, with the same outputs, for servers.
    """

    inputs: Literal["columns", "matrix"]
    prediction: str
    probabilities: str | None = None
    folded: FoldedGraph | None = None


class EntityKey(_Wire, frozen=True, kw_only=True):
    """A join key by which features are looked up, such as `customer_id`."""

    name: str
    type: ColumnType = "string"


class FeatureRequest(_Wire, frozen=True, kw_only=True):
    """The columns that the server looks up online when a caller sends entity keys only.

    `columns` maps the model's column to the feature that fills it, written `view:feature`. Columns of the
    signature that are not listed must come in the request.
    """

    entities: tuple[EntityKey, ...]
    columns: dict[str, str]
    service: str | None = None


class Parity(_Wire, frozen=True, kw_only=True):
    """Evidence that the converted graph answers as the original model does, on real rows."""

    rows: int
    max_abs_difference: float
    tolerance: float
    label_mismatches: int = 0


class Background(_Wire, frozen=True, kw_only=True):
    """Rows out of the data that the version was judged on, relative to which predictions are explained.

    `file` holds `{"rows": [[...], ...]}`: values in the signature's order, null where one is missing.
    """

    file: str
    rows: int


class BundleManifest(_Wire, frozen=True, kw_only=True):
    """The content of `bundle.json`.

    `output` says what an answer's `predictions` hold: what the model's `predict` gives, or, for a binary
    classifier with "probability", the probability of `classes[1]` as a float.
    """

    format: Literal[1] = 1
    runtime: Literal["onnx", "pyfunc"]
    signature: Signature
    task: Literal["classification", "regression", "other"]
    output: Literal["prediction", "probability"] = "prediction"
    classes: tuple[Scalar, ...] | None = None
    onnx: OnnxGraph | None = None
    features: FeatureRequest | None = None
    parity: Parity | None = None
    explain: Background | None = None
    metadata: dict[str, str] = {}
    files: dict[str, str]


class BundleError(ValueError):
    """A bundle that is malformed, incomplete or not what its digest says."""


def encode_manifest(manifest: BundleManifest) -> bytes:
    """The bytes of `bundle.json`: keys sorted, so that equal manifests have equal digests."""
    check_manifest(manifest)
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"


def decode_manifest(data: bytes) -> BundleManifest:
    """Reads and checks the bytes of `bundle.json`.

    Raises:
        BundleError: when they are too large, not valid, or contradict themselves.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST_NAME} is {len(data)} bytes, more than {MAX_MANIFEST_BYTES}")
    try:
        manifest = msgspec.json.decode(data, type=BundleManifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BundleError(f"{MANIFEST_NAME} is not valid: {error}") from error
    check_manifest(manifest)
    return manifest


def digest_of(manifest_bytes: bytes) -> str:
    """The digest of a bundle: the SHA-256 of its `bundle.json`, in hexadecimal."""
    return hashlib.sha256(manifest_bytes).hexdigest()


def check_manifest(manifest: BundleManifest) -> None:
    """What the types alone cannot say: names unique, paths inside the bundle, the parts consistent.

    Raises:
        BundleError: naming the part that is wrong.
    """
    _check_signature(manifest.signature)
    _check_files(manifest.files)
    needed = ONNX_FILE if manifest.runtime == "onnx" else PYFUNC_REQUIREMENTS
    if needed not in manifest.files:
        raise BundleError(f"files: the runtime {manifest.runtime!r} needs {needed!r}")
    if (manifest.runtime == "onnx") != (manifest.onnx is not None):
        raise BundleError("onnx: must be given for the runtime 'onnx' and for no other")
    if manifest.onnx is not None and manifest.signature.params:
        raise BundleError("signature.params: a graph takes none")
    if manifest.onnx is not None and manifest.onnx.folded is not None:
        _check_folded(manifest.onnx.folded, manifest)
    if manifest.output == "probability":
        _check_probability(manifest)
    if manifest.explain is not None:
        _check_background(manifest.explain, manifest.files)
    if manifest.features is not None:
        _check_features(manifest.features, manifest.signature)


def _check_signature(signature: Signature) -> None:
    if not 1 <= len(signature.inputs) <= MAX_COLUMNS:
        raise BundleError(
            f"signature.inputs: between 1 and {MAX_COLUMNS} columns, got {len(signature.inputs)}"
        )
    names = [column.name for column in signature.inputs]
    if len(set(names)) != len(names):
        raise BundleError("signature.inputs: a column is named twice")
    if any(not name or len(name) > 500 for name in names):
        raise BundleError("signature.inputs: a column's name must have 1 to 500 characters")
    if signature.layout == "tensor" and len({column.type for column in signature.inputs}) != 1:
        raise BundleError("signature.inputs: the columns of a tensor must be of one type")
    for column in signature.inputs:
        if column.missing is not None and not _fits(column.missing, column.type):
            raise BundleError(f"signature.inputs: 'missing' of {column.name!r} is not of type {column.type}")
    _check_params(signature.params or ())


def _check_params(params: tuple[Param, ...]) -> None:
    if len(params) > MAX_PARAMS:
        raise BundleError(f"signature.params: {len(params)}, more than {MAX_PARAMS}")
    if len({param.name for param in params}) != len(params):
        raise BundleError("signature.params: a param is named twice")
    for param in params:
        if not param.name or len(param.name) > 500:
            raise BundleError("signature.params: a param's name must have 1 to 500 characters")
        if param.shape not in (None, (-1,)):
            raise BundleError(f"signature.params: {param.name!r} is neither a single value nor a list")
        default = param.default if param.shape else (param.default,)
        if param.default is not None and not (
            isinstance(default, tuple) and all(_fits(value, param.type) for value in default)
        ):
            raise BundleError(f"signature.params: the default of {param.name!r} is not of type {param.type}")


def _fits(value: Any, kind: ColumnType) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in {"integer", "long"}:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in {"float", "double"}:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _check_files(files: dict[str, str]) -> None:
    if len(files) > MAX_FILES:
        raise BundleError(f"files: {len(files)}, more than {MAX_FILES}")
    for path, digest in files.items():
        parts = path.split("/")
        if path == MANIFEST_NAME or "\\" in path or "\0" in path or {"", ".", ".."} & set(parts):
            raise BundleError(f"files: {path!r} is not a plain path inside the bundle")
        if not _SHA256.match(digest):
            raise BundleError(f"files: the digest of {path!r} is not a SHA-256 in hexadecimal")


def _check_probability(manifest: BundleManifest) -> None:
    if manifest.classes is None or len(manifest.classes) != 2:
        raise BundleError("output: 'probability' needs a classifier with exactly two classes")
    if manifest.onnx is not None and manifest.onnx.probabilities is None:
        raise BundleError("onnx.probabilities: needed for the output 'probability'")


def _check_folded(folded: FoldedGraph, manifest: BundleManifest) -> None:
    width = sum(item.width for item in folded.inputs)
    if folded.file not in manifest.files:
        raise BundleError(f"onnx.folded.file: {folded.file!r} is not among the files")
    if any(item.width < 1 for item in folded.inputs) or not 1 <= width <= MAX_FOLDED_WIDTH:
        raise BundleError(f"onnx.folded.inputs: between 1 and {MAX_FOLDED_WIDTH} columns")
    taken = sorted(
        at for cell in folded.cells for at in range(cell.at, cell.at + max(1, len(cell.categories)))
    )
    if taken != list(range(width)):
        raise BundleError("onnx.folded.cells: every column of the matrices must be filled once")
    for cell in folded.cells:
        if not 0 <= cell.column < len(manifest.signature.inputs):
            raise BundleError(f"onnx.folded.cells: the signature has no column {cell.column}")
        kind = manifest.signature.inputs[cell.column].type
        if not cell.categories and kind in ("string", "datetime"):
            raise BundleError("onnx.folded.cells: a text without categories is no number")


def _check_background(background: Background, files: dict[str, str]) -> None:
    if background.file not in files:
        raise BundleError(f"explain.file: {background.file!r} is not among the files")
    if not 1 <= background.rows <= MAX_BACKGROUND_ROWS:
        raise BundleError(f"explain.rows: between 1 and {MAX_BACKGROUND_ROWS}, got {background.rows}")


def _check_features(features: FeatureRequest, signature: Signature) -> None:
    names = {column.name for column in signature.inputs}
    if not features.entities:
        raise BundleError("features.entities: at least one entity key")
    for column, feature in features.columns.items():
        if column not in names:
            raise BundleError(f"features.columns: the signature has no column {column!r}")
        view, _, name = feature.partition(":")
        if not view or not name:
            raise BundleError(f"features.columns: {feature!r} is not written view:feature")

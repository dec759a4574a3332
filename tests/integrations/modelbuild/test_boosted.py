"""Trees of XGBoost, CatBoost and scikit-learn, and native boosters, each converted where it was trained."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest

from ml_platform.integrations.modelbuild import (
    BuildResult,
    EvaluationFailedError,
    ModelBuilder,
    inspect_model,
)
from ml_platform.integrations.modelbuild.children import MODEL_WORKER, ChildLimits, workspace
from ml_platform.integrations.modelbuild.evaluating import rows_request, write_rows
from ml_platform.kit.environments import EnvironmentCache

from .conftest import REQUIREMENTS

BOOSTERS = "xgboost-cpu==3.2.0\ncatboost==1.2.10"
"""XGBoost without its 300 MB for graphics cards; what is imported has the same name and code."""

CLASSIFIERS = {
    "xgboost-binary": [0, 1],
    "xgboost-classes": [0, 1, 2],
    "xgboost-pipeline": [0, 1],
    "xgboost-imputed": [0, 1, 2],
    "forest-scaled": [0, 1, 2],
    "catboost-binary": ["No", "Yes"],
    "catboost-classes": [0, 1, 2],
    "catboost-pipeline": [0, 1, 2],
}
VALUES = (
    "xgboost-values",
    "xgboost-pipeline-values",
    "xgboost-booster",
    "xgboost-booster-classes",
    "lightgbm-booster-binary",
    "lightgbm-booster-classes",
    "lightgbm-booster-values",
    "catboost-values",
    "histogram-values",
)

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


@pytest.fixture(scope="session")
def boosted(tmp_path_factory: pytest.TempPathFactory, environments: EnvironmentCache) -> Path:
    """The folder of all models, their data, and what each of them answers."""
    folder = tmp_path_factory.mktemp("boosted")
    wanted = f"{REQUIREMENTS}\n{BOOSTERS}"
    (folder / "requirements.txt").write_text(wanted)
    python = environments.ensure(wanted)
    script = Path(__file__).with_name("make_boosted.py")
    done = subprocess.run(
        [python, script, folder, folder / "requirements.txt"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def answers(
    boosted: Path, environments: EnvironmentCache, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, dict[str, Any]]:
    """What the worker says of each model; its graph is at `onnx`."""
    out = tmp_path_factory.mktemp("graphs")
    data = json.loads((boosted / "known.json").read_text())
    requests = {}
    with workspace(out / "work") as folder:
        laid_out: dict[str, str] = {}
        for name in (*CLASSIFIERS, *VALUES):
            info = inspect_model(boosted / name)
            assert info.signature is not None
            request = rows_request(folder, info.signature)
            key = json.dumps([data[name], request["columns"]])
            if key not in laid_out:
                answer = write_rows(
                    folder, ChildLimits(), info.signature, boosted / f"{data[name]}.parquet", None
                )
                assert answer.ok, answer.reason
                laid_out[key] = str(out / f"rows-{len(laid_out)}.npz")
                (folder / "rows.npz").rename(laid_out[key])
            flavour = next(f for f in info.flavours if f != "python_function")
            requests[name] = request | {
                "op": "convert",
                "rows": laid_out[key],
                "model": str(boosted / name),
                "flavour": flavour,
                "tolerance": 1e-4,
                "onnx": str(out / f"{name}.onnx"),
                "asked": str(out / f"{name}.request.json"),
                "answer": str(out / f"{name}.answer.json"),
            }
    (out / "requests.json").write_text(json.dumps(list(requests.values())))
    python = environments.ensure((boosted / "requirements.txt").read_text())
    program = Path(__file__).with_name("convert_all.py")
    done = subprocess.run(
        [python, program, MODEL_WORKER.parent, out / "requests.json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        name: request | json.loads(Path(request["answer"]).read_text()) for name, request in requests.items()
    }


def run(boosted: Path, said: dict[str, Any], wanted: str) -> Any:
    """What the graph answers to all rows of the data, gaps included."""
    data = json.loads((boosted / "known.json").read_text())[Path(said["model"]).name]
    session = onnxruntime.InferenceSession(said["onnx"])
    table = pq.read_table(boosted / f"{data}.parquet").to_pandas()
    for column in said["columns"]:
        if column["type"] == "string" and not column["required"]:
            table[column["name"]] = table[column["name"]].fillna(column["missing"])
    kinds = {
        "tensor(string)": object,
        "tensor(int64)": np.int64,
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
    }
    names = [column["name"] for column in said["columns"]]
    if said["inputs"] == "matrix":
        (node,) = session.get_inputs()
        feed = {node.name: table[names].to_numpy(kinds[node.type])}
    else:
        feed = {n.name: table[n.name].to_numpy(kinds[n.type]).reshape(-1, 1) for n in session.get_inputs()}
    (found,) = session.run([said[wanted]], feed)
    return found


class TestConverting:
    @pytest.mark.parametrize("name", CLASSIFIERS)
    def test_a_classifier_gives_the_shares_of_its_classes(
        self, boosted: Path, answers: Mapping[str, dict[str, Any]], name: str
    ) -> None:
        said = answers[name]
        assert said["ok"], said["reason"]
        assert (said["task"], said["classes"]) == ("classification", CLASSIFIERS[name])
        assert said["parity"]["max_abs_difference"] < 1e-5
        with np.load(boosted / f"{name}.npz") as expected:
            shares = run(boosted, said, "probabilities")
            assert shares.shape == (len(expected["shares"]), len(CLASSIFIERS[name]))
            assert np.abs(shares - expected["shares"]).max() < 1e-5
            labels = run(boosted, said, "prediction").reshape(-1).astype(expected["prediction"].dtype)
            assert (labels == expected["prediction"].reshape(-1)).all()

    @pytest.mark.parametrize("name", VALUES)
    def test_values_are_those_of_the_model(
        self, boosted: Path, answers: Mapping[str, dict[str, Any]], name: str
    ) -> None:
        said = answers[name]
        assert said["ok"], said["reason"]
        assert (said["classes"], said["probabilities"]) == (None, None)
        assert said["task"] == ("regression" if name.endswith("values") else "other")
        with np.load(boosted / f"{name}.npz") as expected:
            found = run(boosted, said, "prediction").reshape(expected["prediction"].shape)
            difference = np.abs(found - expected["prediction"])
        assert difference.max() < 1e-5 * max(1.0, float(np.abs(found).max()))

    def test_rows_with_gaps_are_compared_too(self, answers: Mapping[str, dict[str, Any]]) -> None:
        said = answers["xgboost-pipeline"]
        assert said["parity"]["rows"] == 2400  # the 1200 as they are, and with each column shuffled
        settled = {c["name"]: c.get("missing", "not told") for c in said["columns"] if not c["required"]}
        assert settled == {"charges": None, "usage": None}  # which are NaN in the graph

    def test_gaps_among_texts_are_filled_in_as_the_model_does(
        self, answers: Mapping[str, dict[str, Any]]
    ) -> None:
        said = answers["xgboost-imputed"]
        assert said["parity"]["rows"] == 2400
        (contract,) = [c for c in said["columns"] if c["name"] == "contract"]
        assert (contract["required"], contract["missing"]) == (False, "\u2400 null")

    def test_what_is_scaled_before_trees_is_computed_in_double_precision(
        self, answers: Mapping[str, dict[str, Any]]
    ) -> None:
        for name in ("xgboost-imputed", "forest-scaled"):
            nodes = onnxruntime.InferenceSession(answers[name]["onnx"]).get_inputs()
            assert "tensor(double)" in {node.type for node in nodes}

    def test_zeros_of_sparse_rows_are_missing_values_to_xgboost(
        self, answers: Mapping[str, dict[str, Any]]
    ) -> None:
        import onnx

        def operators(name: str) -> set[str]:
            return {node.op_type for node in onnx.load(answers[name]["onnx"]).graph.node}

        assert {"Equal", "Where"} <= operators("xgboost-pipeline")
        assert not {"Equal", "Where"} & operators("xgboost-binary")

    def test_the_evidence_names_the_converters(self, answers: Mapping[str, dict[str, Any]]) -> None:
        assert answers["catboost-binary"]["maker"].endswith("catboost 1.2.10")
        assert answers["xgboost-binary"]["maker"].startswith("skl2onnx ")


class TestBuilding:
    def build(self, builder: ModelBuilder, boosted: Path, name: str, out: Path) -> BuildResult:
        return builder.build(boosted / name, out, sample=boosted / "customers.parquet")

    def test_a_pipeline_with_text_columns_before_xgboost_becomes_a_bundle(
        self, builder: ModelBuilder, boosted: Path, answers: Mapping[str, dict[str, Any]], tmp_path: Path
    ) -> None:
        result = self.build(builder, boosted, "xgboost-pipeline", tmp_path / "a")
        assert (result.runtime, result.reason) == ("onnx", None)
        assert result.parity is not None
        assert result.parity.max_abs_difference < 1e-5
        assert result.manifest.metadata["converted_by"].startswith("skl2onnx ")
        converted_before = Path(answers["xgboost-pipeline"]["onnx"]).read_bytes()
        assert (tmp_path / "a" / "model.onnx").read_bytes() == converted_before

    def test_categories_of_catboost_stay_in_a_process_with_the_reason(
        self, builder: ModelBuilder, boosted: Path, tmp_path: Path
    ) -> None:
        result = self.build(builder, boosted, "catboost-categories", tmp_path / "a")
        assert result.runtime == "pyfunc"
        assert "categorical features" in (result.reason or "")
        assert "contract, payment" in (result.reason or "")
        assert result.manifest.metadata["not_converted_because"] == result.reason
        assert (result.manifest.classes, result.manifest.output) == (("No", "Yes"), "probability")


class TestEvaluating:
    def test_a_booster_that_gives_shares_is_judged_as_a_classifier(
        self, builder: ModelBuilder, boosted: Path
    ) -> None:
        found = builder.evaluate(boosted / "xgboost-booster-classes", boosted / "customers.parquet", "plan")
        assert (found.task, found.rows) == ("classification", 1200)
        assert set(found.metrics) == {"accuracy", "f1", "precision", "recall", "log_loss"}
        assert found.metrics["accuracy"] > 0.8
        with pytest.raises(EvaluationFailedError, match="gives 3 values for a row"):
            builder.evaluate(boosted / "xgboost-booster-classes", boosted / "customers.parquet", "spend")

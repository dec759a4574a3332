import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import yaml
from mlflow.types import ParamSchema, ParamSpec

from ml_platform.contracts.bundles import BundleManifest, Param, decode_manifest
from ml_platform.integrations.modelbuild import (
    BuildFailedError,
    BuildResult,
    EvaluationFailedError,
    ModelBuilder,
    ModelBuildError,
    ModelRefusedError,
)
from ml_platform.integrations.modelbuild.children import ChildLimits
from ml_platform.kit.environments import EnvironmentCache


def manifest_of(bundle: Path) -> BundleManifest:
    """The manifest, after every digest in it was compared with what stands there."""
    manifest = decode_manifest((bundle / "bundle.json").read_bytes())
    found = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()} - {"bundle.json"}
    assert found == set(manifest.files)
    for path, digest in manifest.files.items():
        assert hashlib.sha256((bundle / path).read_bytes()).hexdigest() == digest
    return manifest


class TestBuildingAGraph:
    def test_the_churn_pipeline_becomes_a_graph_with_the_same_answers(
        self, churn_bundle: BuildResult, models: Path
    ) -> None:
        result, bundle = churn_bundle, churn_bundle.directory
        sample = models / "customers.parquet"
        assert (result.runtime, result.reason) == ("onnx", None)
        assert result.parity is not None
        assert result.parity.rows == 3000
        assert result.parity.max_abs_difference < 1e-5
        assert result.parity.label_mismatches == 0
        assert result.digest == hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
        manifest = manifest_of(bundle)
        assert manifest.classes == ("No", "Yes")
        assert (manifest.task, manifest.output) == ("classification", "probability")
        assert [c.type for c in manifest.signature.inputs] == ["string"] * 3 + ["long"] * 2 + ["double"]

        session = onnxruntime.InferenceSession(bundle / "model.onnx")
        rows = pq.read_table(sample).slice(0, 50).to_pydict()
        kinds = {"tensor(string)": object, "tensor(int64)": np.int64, "tensor(float)": np.float32}
        feed = {i.name: np.array(rows[i.name], kinds[i.type]).reshape(-1, 1) for i in session.get_inputs()}
        assert manifest.onnx is not None
        assert manifest.onnx.probabilities is not None
        (shares,) = session.run([manifest.onnx.probabilities], feed)
        assert shares.shape == (50, 2)
        # The label was made from tenure and contract, so the model must have found that rule.
        sure = [
            t < 15 and c == "Month-to-month" for t, c in zip(rows["tenure"], rows["Contract"], strict=True)
        ]
        assert shares[np.array(sure), 1].min() > 0.5 > np.median(shares[~np.array(sure), 1])

    def test_rows_for_explanations_are_in_the_bundle(self, churn_bundle: BuildResult, models: Path) -> None:
        manifest = manifest_of(churn_bundle.directory)
        assert manifest.explain is not None
        assert manifest.explain.rows == 100
        rows = json.loads((churn_bundle.directory / manifest.explain.file).read_text())["rows"]
        names = [column.name for column in manifest.signature.inputs]
        known = {
            tuple(row[name] for name in names)
            for row in pq.read_table(models / "customers.parquet").to_pylist()
        }
        assert len(rows) == 100
        assert {tuple(row) for row in rows} <= known

    def test_building_twice_gives_the_same_digest(
        self, builder: ModelBuilder, models: Path, tmp_path: Path, churn_bundle: BuildResult
    ) -> None:
        steps: list[str] = []
        sample = models / "customers.parquet"
        again = builder.build(models / "churn", tmp_path / "b", sample=sample, log=steps.append)
        assert again.digest == churn_bundle.digest
        assert "converting" in steps
        with pytest.raises(BuildFailedError, match="exists"):
            builder.build(models / "churn", tmp_path / "b")

    def test_a_strict_encoder_and_a_dropped_column_convert_with_a_warning(
        self, builder: ModelBuilder, models: Path, tmp_path: Path
    ) -> None:
        result = builder.build(models / "linear", tmp_path / "b", sample=models / "customers.parquet")
        assert result.runtime == "onnx"
        assert any("refuses unknown values" in warning for warning in result.warnings)
        inputs = {i.name for i in onnxruntime.InferenceSession(tmp_path / "b" / "model.onnx").get_inputs()}
        assert inputs == {column.name for column in result.manifest.signature.inputs}

    def test_a_regressor_of_numbers_reads_one_matrix(
        self, builder: ModelBuilder, models: Path, tmp_path: Path
    ) -> None:
        result = builder.build(models / "regressor", tmp_path / "b", sample=models / "spend.parquet")
        assert result.runtime == "onnx"
        assert result.manifest.onnx is not None
        assert (result.manifest.onnx.inputs, result.manifest.task) == ("matrix", "regression")
        assert result.parity is not None
        assert result.parity.max_abs_difference <= result.parity.tolerance

    def test_a_model_of_a_bare_matrix_keeps_its_layout(
        self, builder: ModelBuilder, models: Path, tmp_path: Path
    ) -> None:
        result = builder.build(models / "matrix", tmp_path / "b")
        assert result.runtime == "onnx"
        assert result.manifest.signature.layout == "tensor"
        assert result.manifest.classes == (0, 1)

    def test_missing_values_are_answered_as_the_model_answers_them(
        self, builder: ModelBuilder, models: Path, tmp_path: Path
    ) -> None:
        result = builder.build(models / "holes", tmp_path / "b", sample=models / "holes.parquet")
        assert result.runtime == "onnx"
        optional = {c.name: c.missing for c in result.manifest.signature.inputs if not c.required}
        # The encoder learnt null as a category of its own, which the converter writes as a text.
        assert optional == {"Contract": "None", "MonthlyCharges": None}
        original = builder.evaluate(models / "holes", models / "holes.parquet", "Churn")
        graph = builder.evaluate(tmp_path / "b", models / "holes.parquet", "Churn")
        assert graph.metrics == pytest.approx(original.metrics, abs=1e-5)


class TestFallingBack:
    def test_parity_that_is_not_reached(
        self, environments: EnvironmentCache, models: Path, tmp_path: Path
    ) -> None:
        strict = ModelBuilder(environments, tmp_path / "work", tolerance=0.0)
        result = strict.build(models / "churn", tmp_path / "b")
        assert result.runtime == "pyfunc"
        assert "differs from the model" in (result.reason or "")
        manifest = manifest_of(tmp_path / "b")
        assert (manifest.output, manifest.classes, manifest.onnx) == ("probability", ("No", "Yes"), None)

    def test_a_step_of_the_users_own(self, builder: ModelBuilder, models: Path, tmp_path: Path) -> None:
        result = builder.build(models / "odd", tmp_path / "b")
        assert result.runtime == "pyfunc"
        assert "FunctionTransformer" in (result.reason or "")

    def test_a_model_with_params(self, builder: ModelBuilder, models: Path, tmp_path: Path) -> None:
        """Its own `predict` takes them, which gives labels; a graph could not."""
        model = shutil.copytree(models / "churn", tmp_path / "model")
        described = yaml.safe_load((model / "MLmodel").read_text())
        described["signature"]["params"] = ParamSchema([ParamSpec("scale", "double", 1.0)]).to_json()
        (model / "MLmodel").write_text(yaml.safe_dump(described))
        result = builder.build(model, tmp_path / "bundle", sample=models / "customers.parquet")
        assert (result.runtime, result.reason) == (
            "pyfunc",
            "its signature has params, which a graph does not take",
        )
        manifest = manifest_of(tmp_path / "bundle")
        assert manifest.signature.params == (Param(name="scale", type="double", default=1.0),)
        assert (manifest.task, manifest.output, manifest.classes) == (
            "classification",
            "prediction",
            ("No", "Yes"),
        )

    def test_a_custom_model_keeps_its_directory_and_requirements(
        self, builder: ModelBuilder, models: Path, tmp_path: Path
    ) -> None:
        result = builder.build(models / "shares", tmp_path / "b")
        assert result.runtime == "pyfunc"
        assert "python_function" in (result.reason or "")
        manifest = manifest_of(tmp_path / "b")
        assert "model/MLmodel" in manifest.files
        assert manifest.explain is not None
        rows = json.loads((tmp_path / "b" / manifest.explain.file).read_text())["rows"]
        assert 1 <= manifest.explain.rows == len(rows) <= 100
        assert "mlflow-skinny==" in (tmp_path / "b" / "requirements.txt").read_text()

    def test_a_model_without_rows_is_not_converted(
        self, builder: ModelBuilder, models: Path, tmp_path: Path
    ) -> None:
        result = builder.build(models / "unsigned", tmp_path / "b")
        assert result.runtime == "pyfunc"
        assert "input example" in (result.reason or "")
        assert manifest_of(tmp_path / "b").explain is None


class TestModelsThatCannotBeServed:
    def build(self, builder: ModelBuilder, model: Path, tmp_path: Path, match: str) -> BuildFailedError:
        with pytest.raises(BuildFailedError, match=match) as error:
            builder.build(model, tmp_path / "b")
        assert not (tmp_path / "b").exists()
        assert list((tmp_path / "work").iterdir()) == []
        return error.value

    def test_one_that_exits_silently(self, builder: ModelBuilder, models: Path, tmp_path: Path) -> None:
        error = self.build(builder, models / "exits", tmp_path, "ended \\(code 0\\) without an answer")
        assert "last words" in error.log
        assert error.code == "model_build_failed"

    def test_one_that_fails_on_its_own_example(
        self, builder: ModelBuilder, models: Path, tmp_path: Path
    ) -> None:
        self.build(builder, models / "broken", tmp_path, "I do not like these rows")

    def test_one_that_hangs(self, environments: EnvironmentCache, models: Path, tmp_path: Path) -> None:
        builder = ModelBuilder(environments, tmp_path / "work", limits=ChildLimits(timeout=6))
        self.build(builder, models / "hangs", tmp_path, "did not answer within 6 s")

    def test_one_that_takes_too_much_memory(
        self, environments: EnvironmentCache, models: Path, tmp_path: Path
    ) -> None:
        limits = ChildLimits(timeout=60, memory_bytes=700 * 1024**2)
        builder = ModelBuilder(environments, tmp_path / "work", limits=limits)
        self.build(builder, models / "hogs", tmp_path, "more than 700 MiB")

    def test_a_sample_that_lacks_a_column(self, builder: ModelBuilder, models: Path, tmp_path: Path) -> None:
        with pytest.raises(BuildFailedError, match="no column 'gender'"):
            builder.build(models / "churn", tmp_path / "b", sample=models / "spend.parquet")

    def test_a_sample_that_is_no_parquet(self, builder: ModelBuilder, models: Path, tmp_path: Path) -> None:
        (tmp_path / "x.parquet").write_bytes(b"PAR1" + b"\xff" * 100)
        with pytest.raises(ModelBuildError):
            builder.build(models / "churn", tmp_path / "b", sample=tmp_path / "x.parquet")

    def test_a_model_without_signature(self, builder: ModelBuilder, models: Path, tmp_path: Path) -> None:
        shutil.copytree(models / "churn", tmp_path / "m")
        text = (tmp_path / "m" / "MLmodel").read_text()
        (tmp_path / "m" / "MLmodel").write_text(text.split("signature:")[0])
        with pytest.raises(ModelRefusedError, match="infer_signature"):
            builder.build(tmp_path / "m", tmp_path / "b")


class TestEvaluating:
    def test_the_model_and_its_bundle_have_the_same_metrics(
        self, builder: ModelBuilder, models: Path, churn_bundle: BuildResult
    ) -> None:
        data = models / "customers.parquet"
        original = builder.evaluate(models / "churn", data, "Churn")
        graph = builder.evaluate(churn_bundle.directory, data, "Churn")
        assert set(original.metrics) == {"accuracy", "roc_auc", "log_loss", "f1", "precision", "recall"}
        assert (original.positive_class, original.task, original.rows) == ("Yes", "classification", 1500)
        assert graph.metrics == pytest.approx(original.metrics, abs=1e-5)
        assert original.metrics["roc_auc"] > 0.8
        json.dumps(dict(original.metrics), allow_nan=False)

    def test_parts_of_the_rows_are_measured_apart(self, builder: ModelBuilder, models: Path) -> None:
        data = models / "customers.parquet"
        found = builder.evaluate(models / "churn", data, "Churn")
        rows = pq.read_table(data).to_pandas()
        expected = rows["Contract"].value_counts().to_dict()
        contracts = found.slices["Contract"]
        assert {name: part["rows"] for name, part in contracts.items()} == expected
        whole = sum(part["rows"] * part["accuracy"] for part in contracts.values()) / len(rows)
        assert whole == pytest.approx(found.metrics["accuracy"])
        for part in contracts.values():
            assert 0 <= part["positive_rate"] <= 1
            assert {"true_positive_rate", "false_positive_rate"} & set(part)
        assert "Churn" not in found.slices
        assert "MonthlyCharges" not in found.slices
        spend = builder.evaluate(models / "regressor", models / "spend.parquet", "spend")
        assert all("rmse" in part for parts in spend.slices.values() for part in parts.values())

    def test_a_regressor(self, builder: ModelBuilder, models: Path) -> None:
        found = builder.evaluate(models / "regressor", models / "spend.parquet", "spend")
        assert found.task == "regression"
        assert found.metrics["r2"] > 0.99
        assert found.metrics["rmse"] >= found.metrics["mae"] > 0

    def test_a_custom_model_that_answers_with_shares(self, builder: ModelBuilder, models: Path) -> None:
        found = builder.evaluate(models / "shares", models / "customers.parquet", "Churn")
        assert found.positive_class == "Yes"
        # It says 0.75 for a tenure under 20 and 0.25 else, which is better than chance.
        assert 0.6 < found.metrics["roc_auc"] < 0.9

    def test_a_label_that_is_not_there(self, builder: ModelBuilder, models: Path) -> None:
        with pytest.raises(EvaluationFailedError, match="no column 'Left'"):
            builder.evaluate(models / "churn", models / "customers.parquet", "Left")

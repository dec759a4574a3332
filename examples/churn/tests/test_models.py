"""The model, its file format, its quality, its training script and its conversion to ONNX."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from churn_mlops.data.schema import FEATURE_NAMES, FEATURES, NUMERIC_FEATURES
from churn_mlops.models import ChurnModel, ModelFileError
from churn_mlops.models.evaluate import charts, evaluate
from churn_mlops.models.train import Config, ConfigError, train

PROJECT = Path(__file__).parent.parent


class TestQuality:
    def test_ranks_and_decides_as_well_as_this_data_allows(self, training):
        assert training.metrics["accuracy"] > 0.78
        assert training.metrics["roc_auc"] > 0.83
        assert training.metrics["accuracy"] > training.metrics["baseline_accuracy"] + 0.05

    def test_is_not_too_good_to_be_true(self, training):
        """Published results on this table end at about 0.86: more would mean that the label leaks."""
        assert training.metrics["roc_auc"] < 0.88

    def test_learns_nothing_from_labels_that_say_nothing(self, customers):
        shuffled = customers.assign(churn=customers["churn"].sample(frac=1, random_state=0).to_numpy())
        assert abs(train(shuffled, Config()).metrics["roc_auc"] - 0.5) < 0.06

    def test_the_figures_are_those_of_the_holdout(self, training):
        assert evaluate(training.model, training.holdout)["roc_auc"] == training.metrics["roc_auc"]
        assert training.metrics["holdout_rows"] == len(training.holdout)

    def test_a_holdout_of_one_class_is_refused(self, training):
        with pytest.raises(ValueError, match="all of one class"):
            evaluate(training.model, training.holdout[training.holdout["churn"] == 1])

    def test_charts_are_svg_of_the_whole_curve(self, training):
        drawn = charts(training.model, training.holdout)
        assert set(drawn) == {"roc_curve.svg", "calibration.svg"}
        assert all(svg.startswith("<svg") and "nan" not in svg for svg in drawn.values())


class TestFitting:
    def test_the_same_rows_and_seed_give_the_same_model(self, customers, training):
        again = train(customers.sample(frac=1, random_state=5).sort_values("customer_id"), Config())
        assert np.array_equal(again.model.predict_proba(customers), training.model.predict_proba(customers))

    def test_prediction_is_the_likelier_class(self, customers, training):
        probability = training.model.predict_proba(customers)[:, 1]
        assert np.array_equal(training.model.predict(customers), (probability > 0.5).astype(int))
        assert np.array_equal(
            training.model.pipeline.predict(customers[list(FEATURE_NAMES)]), probability > 0.5
        )

    def test_a_category_never_seen_is_no_error(self, customers, training):
        odd = customers.head(3).assign(payment_method="Barter")
        assert np.isfinite(training.model.predict_proba(odd)).all()


class TestSaving:
    def test_a_loaded_model_answers_exactly_as_the_saved_one(self, customers, training, model_path):
        loaded = ChurnModel.load(model_path)
        assert np.array_equal(loaded.predict_proba(customers), training.model.predict_proba(customers))
        assert loaded.hyperparameters == training.model.hyperparameters

    def test_an_altered_file_is_refused(self, training, tmp_path):
        path = training.model.save(tmp_path)
        content = bytearray((path / "model.skops").read_bytes())
        content[len(content) // 2] ^= 1
        (path / "model.skops").write_bytes(content)
        with pytest.raises(ModelFileError, match="altered"):
            ChurnModel.load(path)

    def test_a_file_with_other_types_is_refused_though_its_digest_is_right(self, training, tmp_path):
        path = training.model.save(tmp_path)
        evil = tmp_path / "evil.skops"
        with zipfile.ZipFile(path / "model.skops") as source, zipfile.ZipFile(evil, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name == "schema.json":
                    schema = json.loads(content)
                    schema |= {"__class__": "system", "__module__": "os", "__loader__": "TypeNode"}
                    content = json.dumps(schema).encode()
                target.writestr(name, content)
        evil.replace(path / "model.skops")
        manifest = json.loads((path / "model.json").read_text())
        manifest["sha256"] = hashlib.sha256((path / "model.skops").read_bytes()).hexdigest()
        (path / "model.json").write_text(json.dumps(manifest))
        with pytest.raises(ModelFileError, match=r"types that are not trusted: os\.system"):
            ChurnModel.load(path)

    @pytest.mark.parametrize("manifest", ["{", "[]", '{"format": 2}', '{"format": 1, "columns": ["age"]}'])
    def test_a_manifest_that_does_not_fit_is_refused(self, training, tmp_path, manifest):
        path = training.model.save(tmp_path)
        (path / "model.json").write_text(manifest)
        with pytest.raises(ModelFileError, match=r"model\.json"):
            ChurnModel.load(path)


class TestConfig:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"learning_rat": 0.1}, "unknown setting learning_rat; known are"),
            ({"learning_rate": "fast"}, "learning_rate must be a number between 0.0001 and 1, got 'fast'"),
            ({"num_leaves": 2.5}, "num_leaves must be a whole number"),
            ({"n_estimators": True}, "n_estimators must be a whole number"),
            ({"test_fraction": 1}, "test_fraction must be a number between 0.01 and 0.9"),
            ({"seed": -1}, "seed must be a whole number"),
            ({"learning_rate": float("nan")}, "learning_rate must be a number"),
        ],
    )
    def test_names_what_is_wrong(self, values, message):
        with pytest.raises(ConfigError, match=message):
            Config.parse(values)

    def test_overrides_only_what_is_given(self):
        config = Config.parse({"num_leaves": 16, "seed": 1})
        assert config.seed == 1
        assert config.hyperparameters == {**Config().hyperparameters, "num_leaves": 16}

    def test_a_table_without_labels_is_refused(self, customers):
        with pytest.raises(ConfigError, match="no column 'churn'"):
            train(customers.drop(columns="churn"), Config())

    def test_a_table_too_small_to_split_is_refused(self, customers):
        with pytest.raises(ConfigError, match="not of both classes"):
            train(customers.head(3), Config())


class TestScript:
    def test_runs_as_a_job_with_its_directories(self, customers, tmp_path):
        for name in ("inputs", "outputs"):
            (tmp_path / name).mkdir()
        customers.head(2000).to_parquet(tmp_path / "inputs/train.parquet")
        (tmp_path / "config.json").write_text('{"n_estimators": 20, "test_fraction": 0.3}')
        done = _run(
            MLOPS_INPUTS=tmp_path / "inputs",
            MLOPS_OUTPUTS=tmp_path / "outputs",
            MLOPS_CONFIG=tmp_path / "config.json",
        )
        assert done.returncode == 0, done.stderr
        metrics = json.loads((tmp_path / "outputs/metrics.json").read_text())
        holdout = pd.read_parquet(tmp_path / "outputs/holdout.parquet")
        assert metrics["train_rows"] + metrics["holdout_rows"] == 2000
        assert metrics["holdout_rows"] == len(holdout)
        assert list(holdout.columns) == [*FEATURE_NAMES, "churn"]
        model = ChurnModel.load(tmp_path / "outputs/model")
        assert model.hyperparameters["n_estimators"] == 20
        assert evaluate(model, holdout)["roc_auc"] == metrics["roc_auc"]

    def test_says_what_is_wrong_with_its_input(self, customers, tmp_path):
        customers.assign(tenure=-1).to_parquet(tmp_path / "train.parquet")
        done = _run(MLOPS_INPUTS=tmp_path, MLOPS_OUTPUTS=tmp_path / "out")
        assert done.returncode == 1
        assert done.stderr.startswith("train: tenure: must be between 0 and 600 (7043 rows, for example -1)")
        assert not (tmp_path / "out").exists()

    def test_logs_run_and_model_to_mlflow(self, customers, training, tmp_path):
        pytest.importorskip("mlflow.sklearn")
        pytest.importorskip("alembic")  # MLflow's SQLite store; the client alone (mlflow-skinny) has none
        import mlflow

        uri = f"sqlite:///{tmp_path}/mlflow.db"
        done = _run(MLOPS_OUTPUTS=tmp_path / "out", MLFLOW_TRACKING_URI=uri, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name("churn")
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert run.data.metrics["roc_auc"] == pytest.approx(training.metrics["roc_auc"])
        assert run.data.params["num_leaves"] == "8"
        assert {item.path for item in client.list_artifacts(run.info.run_id, "charts")} == {
            "charts/roc_curve.svg", "charts/calibration.svg",
        }  # fmt: skip
        (logged,) = client.search_logged_models([experiment.experiment_id])
        folder = Path(logged.artifact_location.removeprefix("file://"))
        model = mlflow.pyfunc.load_model(str(folder))
        names = [(column.name, column.type.name) for column in model.metadata.signature.inputs]
        assert names == [(column.name, column.type) for column in FEATURES]
        answers = model.predict(customers[list(FEATURE_NAMES)])
        assert np.array_equal(answers, training.model.predict_proba(customers))
        assert not list(folder.glob("*.pkl"))


class TestOnnx:
    """What the platform does with the model: one input per raw column, the same answers."""

    @pytest.mark.parametrize("wide", [True, False], ids=["float64", "float32"])
    def test_answers_as_the_pipeline_on_every_row(self, customers, training, wide):
        session = _onnx_session(training.model, wide)
        assert [item.name for item in session.get_inputs()] == list(FEATURE_NAMES)
        feed = _onnx_feed(customers, wide)
        labels, probabilities = session.run(None, feed)
        expected = training.model.predict_proba(customers)
        assert np.abs(probabilities - expected).max() < 1e-5
        assert np.array_equal(labels, training.model.predict(customers))

    def test_answers_alike_for_a_category_never_seen(self, customers, training):
        odd = customers.head(50).assign(payment_method="Barter", contract="")
        _, probabilities = _onnx_session(training.model, wide=True).run(None, _onnx_feed(odd, wide=True))
        assert np.abs(probabilities - training.model.predict_proba(odd)).max() < 1e-5


def _run(cwd: Path | None = None, **environment: object) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "MLFLOW_"))}
    return subprocess.run(
        [sys.executable, str(PROJECT / "train.py")],
        env=kept | {name: str(value) for name, value in environment.items()},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _onnx_session(model: ChurnModel, wide: bool):
    skl2onnx = pytest.importorskip("skl2onnx")
    runtime = pytest.importorskip("onnxruntime")
    lightgbm_converter = pytest.importorskip("onnxmltools.convert.lightgbm.operator_converters.LightGbm")
    from lightgbm import LGBMClassifier
    from skl2onnx.common import data_types
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    skl2onnx.update_registered_converter(
        LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        lightgbm_converter.convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    kinds = {
        "string": data_types.StringTensorType,
        "long": data_types.Int64TensorType,
        "double": data_types.DoubleTensorType if wide else data_types.FloatTensorType,
    }
    graph = skl2onnx.convert_sklearn(
        model.pipeline,
        initial_types=[(column.name, kinds[column.type]([None, 1])) for column in FEATURES],
        options={id(model.pipeline): {"zipmap": False}},
        target_opset={"": 15, "ai.onnx.ml": 3},
    )
    return runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def _onnx_feed(customers: pd.DataFrame, wide: bool) -> dict[str, np.ndarray]:
    feed = {name: customers[[name]].to_numpy(dtype=object) for name in FEATURE_NAMES}
    for name in NUMERIC_FEATURES:
        values = customers[[name]].to_numpy()
        feed[name] = values.astype(np.float32) if values.dtype == np.float64 and not wide else values
    return feed

"""The script that `platform.train` sends: what it makes of a table, and what it refuses."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_platform.sdk.training import TEMPLATE

Run = Callable[..., tuple[int, Path]]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tabular_template", TEMPLATE / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    dice, rows = np.random.default_rng(0), 400
    frame = pd.DataFrame(
        {
            "customer": [f"c{i}" for i in range(rows)],
            "seen": pd.Timestamp("2024-01-01", tz="UTC"),
            "contract": dice.choice(["monthly", "yearly"], rows),
            "payment": dice.choice(["card", "check", None], rows),
            "tenure": dice.integers(0, 72, rows),
            "charges": np.where(dice.random(rows) < 0.1, np.nan, dice.random(rows) * 100),
            "paperless": dice.random(rows) < 0.5,
        }
    )
    leaves = 2.0 * (frame["contract"] == "monthly") - frame["tenure"] / 24 + dice.normal(0, 0.4, rows) > 0
    return frame.assign(
        churn=np.where(leaves, "yes", "no"), value=frame["tenure"] * 2 + dice.normal(0, 1, rows)
    )


@pytest.fixture
def run(script: ModuleType, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def go(data: pd.DataFrame | None = table, **config: Any) -> tuple[int, Path]:
        outputs, inputs = tmp_path / "out", tmp_path / "in"
        for folder in (outputs, inputs):
            folder.mkdir(exist_ok=True)
        if data is not None:
            data.to_parquet(inputs / "train.parquet")
        (tmp_path / "config.json").write_text(json.dumps(config))
        monkeypatch.setenv("MLOPS_OUTPUTS", str(outputs))
        monkeypatch.setenv("MLOPS_INPUTS", str(inputs))
        monkeypatch.setenv("MLOPS_CONFIG", str(tmp_path / "config.json"))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return int(script.main()), outputs

    return go


class TestTraining:
    @pytest.mark.parametrize("algorithm", ["lightgbm", "logistic_regression"])
    def test_it_learns_classes(self, run: Run, capsys: pytest.CaptureFixture[str], algorithm: str) -> None:
        code, outputs = run(label="churn", exclude=["value"], algorithm=algorithm)
        assert code == 0
        figures = json.loads((outputs / "metrics.json").read_text())
        assert figures["accuracy"] > figures["baseline_accuracy"] + 0.1
        assert figures["roc_auc"] > 0.9
        holdout = pd.read_parquet(outputs / "holdout.parquet")
        features = ["contract", "payment", "tenure", "charges", "paperless"]
        assert (list(holdout), len(holdout)) == ([*features, "churn"], 80)
        log = capsys.readouterr().out
        assert "left out customer" in log
        assert "left out seen" in log

    @pytest.mark.parametrize("algorithm", ["lightgbm", "ridge"])
    def test_it_learns_numbers(self, run: Run, algorithm: str) -> None:
        code, outputs = run(label="value", columns=["tenure", "contract"], algorithm=algorithm)
        assert code == 0
        assert json.loads((outputs / "metrics.json").read_text())["r2"] > 0.95

    def test_the_same_seed_gives_the_same_figures(self, run: Run) -> None:
        texts = [
            (run(label="churn", exclude=["value"], seed=3)[1] / "metrics.json").read_text() for _ in range(2)
        ]
        assert texts[0] == texts[1]

    def test_the_label_is_never_a_feature(self, run: Run) -> None:
        _, outputs = run(label="churn", columns=["churn", "tenure"])
        assert json.loads((outputs / "metrics.json").read_text())["accuracy"] < 1


class TestRefusing:
    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ({}, "label"),
            ({"label": "nope"}, "no column 'nope'"),
            ({"label": "churn", "columns": ["nope"]}, "no column 'nope'"),
            ({"label": "churn", "columns": ["seen"]}, "it holds times"),
            ({"label": "churn", "columns": ["customer"]}, "no categories"),
            ({"label": "payment"}, "have no label"),
            ({"label": "customer"}, "classes"),
            ({"label": "churn", "task": "regression"}, "regression needs numbers"),
            ({"label": "churn", "task": "guessing"}, "task"),
            ({"label": "churn", "algorithm": "ridge"}, "is done by lightgbm or logistic_regression"),
            ({"label": "churn", "hyperparameters": {"depth": 3}}, "has no 'depth'"),
            ({"label": "churn", "hyperparameters": {"n_estimators": -1}}, "cannot be fitted"),
            ({"label": "churn", "test_fraction": "half"}, "test_fraction"),
            ({"label": "churn", "test_fraction": 1}, "test_fraction"),
            ({"label": "churn", "colour": "red"}, "unknown setting 'colour'"),
        ],
    )
    def test_it_names_what_to_change(
        self, run: Run, capsys: pytest.CaptureFixture[str], config: dict[str, Any], said: str
    ) -> None:
        code, outputs = run(**config)
        assert code == 1
        assert said in capsys.readouterr().err
        assert not (outputs / "metrics.json").exists()

    def test_without_its_input_it_says_so(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(None, label="churn")[0] == 1
        assert "no input called 'train'" in capsys.readouterr().err

    def test_one_row_of_a_class_cannot_be_split(
        self, run: Run, table: pd.DataFrame, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rare = table.assign(churn=["yes"] + ["no"] * (len(table) - 1))
        assert run(rare, label="churn")[0] == 1
        assert "cannot be split" in capsys.readouterr().err

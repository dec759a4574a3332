"""The project's own files: notebook, pinned requirements, CI, and what importing it costs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parent.parent


class TestNotebook:
    def test_runs_from_top_to_bottom_and_is_kept_without_outputs(self, monkeypatch):
        nbformat = pytest.importorskip("nbformat")
        nbclient = pytest.importorskip("nbclient")
        pytest.importorskip("ipykernel")
        for name in ("MLOPS_API_URL", "MLOPS_API_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PYTHONPATH", str(PROJECT / "src"))
        notebook = nbformat.read(PROJECT / "notebooks/churn.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code)
        folder = str(PROJECT / "notebooks")
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}).execute()
        printed = str([cell.outputs for cell in code])
        assert "nothing was sent to a platform" in printed
        assert "Warning" not in printed


class TestRequirements:
    def test_every_package_of_the_training_job_has_one_exact_version(self):
        lines = (PROJECT / "requirements.txt").read_text().splitlines()
        assert lines
        assert all(re.match(r"[a-z0-9-]+==[\w.]+( ; .+)?$", line) for line in lines)

    def test_the_pins_contain_what_was_asked_for(self):
        asked = [line for line in _lines("requirements.in") if not line.startswith("#")]
        assert set(asked) <= set(_lines("requirements.txt"))

    def test_the_logged_model_asks_for_nothing_that_training_did_not_have(self):
        pytest.importorskip("mlflow.sklearn")
        from churn_mlops.models.tracking import MODEL_REQUIREMENTS

        assert set(MODEL_REQUIREMENTS) <= {line.split("==")[0] for line in _lines("requirements.in")}


class TestPackage:
    def test_predicting_needs_neither_mlflow_nor_feast_nor_a_web_framework(self):
        program = (
            f"import sys; sys.path.insert(0, {str(PROJECT / 'src')!r}); import churn_mlops.models; "
            "print(sorted({'mlflow', 'feast', 'fastapi', 'httpx'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.strip() == "[]"


class TestPipeline:
    def test_deploys_only_what_was_checked_and_trained(self):
        jobs = yaml.safe_load((PROJECT / ".github/workflows/ci.yml").read_text())["jobs"]
        assert set(jobs["train"]["needs"]) == {"lint", "test"}
        assert jobs["deploy"]["needs"] == "train"
        commands = " ".join(step.get("run", "") for step in jobs["deploy"]["steps"])
        assert "mlops deploy --model churn --environment staging" in commands

    def test_calls_only_make_targets_that_exist(self):
        targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
        workflow = (PROJECT / ".github/workflows/ci.yml").read_text()
        assert set(re.findall(r"run: make (\w+)", workflow)) <= targets


def _lines(name: str) -> list[str]:
    return (PROJECT / name).read_text().splitlines()

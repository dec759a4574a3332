"""Jobs and deployments from the command line: real jobs, a real model, a real plan."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import ON_SQLITE
from tests.cli.running import Mlops
from tests.support.training import REQUIREMENTS, TRAIN

pytestmark = ON_SQLITE

_SCRIPT = """
import json, os, sys
from pathlib import Path
config = json.loads(Path(os.environ["MLOPS_CONFIG"]).read_text())
print("config", json.dumps(config, sort_keys=True), sys.argv[1:], flush=True)
if config.get("fail"):
    raise SystemExit("the data are too few")
Path(os.environ["MLOPS_OUTPUTS"], "metrics.json").write_text(json.dumps({"score": config["rate"]}))
"""
_ANSWERS = [
    "business_impact=2:a discount", "customer_exposure=2:offers", "data_sensitivity=1:no names",
    "regulatory_scope=1:none", "explainability=1:few ask",
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text(_SCRIPT)
    (folder / "settings.yaml").write_text("rate: 0.1\nlayers: [1, 2]\n")
    return folder


@pytest.mark.slow
class TestJobs:
    def test_a_script_runs_with_its_settings_and_can_be_done_again(
        self, as_ana: Mlops, project: Path
    ) -> None:
        ran = as_ana(
            "jobs", "submit", project / "train.py", "-e", "quick", "--config-file", project / "settings.yaml",
            "--config", "rate=0.5", "--config", "name=a b", "--arg", "--fast", "--wait", "--timeout", "120", "-o", "json",
        )  # fmt: skip
        assert ran.code == 0, ran.stderr
        job = ran.data
        assert (job["status"], job["metrics"]) == ("succeeded", {"score": 0.5})
        assert job["config"] == {"rate": 0.5, "layers": [1, 2], "name": "a b"}
        assert "experiment quick was made" in ran.stderr
        log = as_ana("jobs", "logs", job["job_id"])
        assert 'config {"layers": [1, 2], "name": "a b", "rate": 0.5} [\'--fast\']' in log.stdout
        assert as_ana("jobs", "logs", job["job_id"], "--follow").stdout == log.stdout
        again = as_ana.json("jobs", "retry", job["job_id"], "--wait")
        assert again["retry_of"] == job["job_id"]
        listed = as_ana.json("jobs", "list", "--experiment", "quick", "--status", "succeeded")
        assert [found["job_id"] for found in listed] == [again["job_id"], job["job_id"]]
        ended = as_ana("jobs", "cancel", job["job_id"], "--yes")
        assert (ended.code, ended.stdout) == (5, "")
        assert "has ended already" in ended.stderr

    @pytest.mark.parametrize("wrong", [["nowhere.py"], ["train.py", "--requirements", "nowhere.txt"]])
    def test_a_file_that_is_not_there_leaves_no_experiment(
        self, as_ana: Mlops, project: Path, wrong: list[str]
    ) -> None:
        ran = as_ana("jobs", "submit", *wrong, "--source", project, "-e", "half-done")
        assert (ran.code, ran.stdout) == (2, "")
        assert "is not there" in ran.stderr
        assert as_ana("experiments", "show", "half-done").code == 3

    def test_a_script_that_fails_is_exit_code_10_with_the_end_of_its_log(
        self, as_ana: Mlops, project: Path
    ) -> None:
        ran = as_ana(
            "jobs",
            "submit",
            "train.py",
            "--source",
            project,
            "-e",
            "failing",
            "-c",
            "fail=true",
            "--follow",
            "-o",
            "json",
        )
        assert ran.code == 10
        assert json.loads(ran.stdout)["status"] == "failed"
        assert ran.stderr.count("the data are too few") >= 2
        assert "Traceback" not in ran.stderr
        assert as_ana("jobs", "wait", json.loads(ran.stdout)["job_id"]).code == 10

    def test_a_wait_that_is_over_too_early_is_exit_code_9(self, as_ana: Mlops, project: Path) -> None:
        (project / "train.py").write_text("import time\ntime.sleep(600)\n")
        ran = as_ana("jobs", "submit", project / "train.py", "-e", "long", "--wait", "--timeout", "0.1")
        assert (ran.code, ran.stdout) == (9, "")
        (job,) = as_ana.json("jobs", "list", "-e", "long")
        as_ana.json("jobs", "cancel", job["job_id"], "--yes")
        ended = as_ana("jobs", "wait", job["job_id"], "--timeout", "60", "-o", "json")
        assert (ended.code, ended.data["status"]) == (10, "cancelled")


@pytest.mark.slow
class TestModelsAndDeployments:
    @pytest.mark.timeout(400)
    def test_a_trained_model_is_shown_judged_and_planned(self, as_ana: Mlops, tmp_path: Path) -> None:
        (tmp_path / "train.py").write_text(TRAIN)
        (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
        (tmp_path / "card.yaml").write_text("limitations: a toy\n")
        job = as_ana.json(
            "jobs", "submit", tmp_path / "train.py", "-e", "churn", "--register-as", "churn", "--label", "churn",
            "--gate", "roc_auc:0.8", "--card", tmp_path / "card.yaml", "--wait",
        )  # fmt: skip
        assert job["model_id"] == "churn_v1", job
        model = as_ana.json("models", "show", "churn/1")
        assert model["model_card"] == {"limitations": "a toy"}
        assert model["gate"]["passed"]
        assert [found["name"] for found in as_ana.json("models", "list")] == ["churn"]
        assert as_ana.json("models", "set-alias", "churn", "candidate", "1")["model_id"] == "churn_v1"
        assert as_ana.json("models", "show", "churn@candidate")["version"] == 1
        assert [m["model_id"] for m in as_ana.json("experiments", "models", "churn")] == ["churn_v1"]
        assert (
            as_ana.json("experiments", "runs", "churn", "--sort-by", "roc_auc")[0]["job_id"] == job["job_id"]
        )
        answers = [word for answer in _ANSWERS for word in ("--answer", answer)]
        risk = as_ana.json("models", "risk", "assess", "churn", *answers)
        assert (risk["score"], risk["level"]) == (7, "low")
        assert (
            as_ana.json("models", "risk", "show", "churn")["assessments"]["explainability"]["reason"]
            == "few ask"
        )
        plan = as_ana.json(
            "deploy",
            "--model",
            "churn",
            "--version",
            1,
            "--environment",
            "staging",
            "--replicas",
            2,
            "--plan",
        )
        assert plan["allowed"]
        assert [gate["stage"] for gate in plan["gates"]][:3] == ["validate", "security", "test"]
        assert as_ana.json("deployments", "list") == []
        assert as_ana("deploy", "--model", "churn", "--version", "9", "--plan").code == 3
        ran = as_ana("deploy", "--model", "churn", "--environment", "moon")
        assert (ran.code, ran.stdout) == (2, "")
        assert "environment" in ran.stderr

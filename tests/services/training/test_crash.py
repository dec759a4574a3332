"""A control plane killed at every step of a job, and started again: nothing lost, nothing doubled."""

import json
import socket
import sqlite3
from pathlib import Path

import pytest

from tests.services.training.crash_program import train_and_register
from tests.support.crash import Function, crash_and_resume

STEPS = ("prepare", "slot", "launch", "started", "running", "ended", "collect", "register", "finish")


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestKilledAtEveryStep:
    def test_each_effect_happens_once(self, tmp_path: Path, port: int) -> None:
        program = Function(train_and_register, (tmp_path, port), tmp_path / "log.txt")
        points = [f"training.job:{step}:between" for step in STEPS]
        crash_and_resume(program, [*points, "training.job:run:between"], timeout=240)
        seen = json.loads((tmp_path / "seen.json").read_text())
        assert (seen["job"]["status"], seen["job"]["model_id"]) == ("succeeded", "churn_v1"), seen["log"]
        assert (tmp_path / "started").read_text() == "x"
        assert [run["run_id"] for run in seen["runs"]] == [seen["job"]["run_id"]]
        assert seen["runs"][0]["status"] == "FINISHED"
        assert [version["version"] for version in seen["versions"]] == [1]
        assert [version["version"] for version in seen["mlflow_versions"]] == ["1"]
        for action in ("job.submit", "job.finish", "model.create", "model.register", "model.alias.set"):
            assert seen["actions"][action] == 1, action
        assert seen["audit"]["verified"], seen["audit"]
        with sqlite3.connect(tmp_path / "platform.db") as database:
            query = "SELECT count(*) FROM api_keys WHERE purpose = 'job' AND revoked_at IS NULL"
            assert database.execute(query).fetchone() == (0,)

"""What was acknowledged survives the death of the process, and processes may start together."""

import json
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.integrations.mlflow.conftest import TrackingServer
from tests.integrations.mlflow.tokens import ANN


class TestRestart:
    def test_what_was_answered_is_there_after_a_kill(self, tmp_path):
        server = TrackingServer(tmp_path)
        server.start()
        try:
            with server.http(ANN) as http:
                run = http.post("/api/2.0/mlflow/runs/create", json={"start_time": 1}).json()["run"]["info"]
                for step in range(50):
                    body = {"run_id": run["run_id"], "key": "m", "value": step, "timestamp": 1, "step": step}
                    assert http.post("/api/2.0/mlflow/runs/log-metric", json=body).status_code == 200
                path = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
                http.put(f"/api/2.0/mlflow-artifacts/artifacts/{path}/a.txt", content=b"kept")
            server.kill()
            server.start()
            with server.http(ANN) as http:
                query = {"run_id": run["run_id"], "metric_key": "m"}
                history = http.get("/api/2.0/mlflow/metrics/get-history", params=query).json()["metrics"]
                assert [one["step"] for one in history] == list(range(50))
                assert http.get(f"/api/2.0/mlflow-artifacts/artifacts/{path}/a.txt").content == b"kept"
        finally:
            server.kill()


OPEN = """
import sys
from ml_platform.integrations.mlflow import MlflowSettings, open_stores
stores = open_stores(MlflowSettings(f"sqlite:///{sys.argv[1]}/mlflow.db", sys.argv[1] + "/artifacts"))
print(stores.ensure_workspace("team-a"))
"""


@pytest.fixture
def opening(tmp_path):
    def start():
        environment = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
        return subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


class TestFirstStart:
    def test_two_processes_at_once_make_one_database(self, opening):
        both = [opening(), opening()]
        ids = []
        for process in both:
            output, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
            ids.append(output.strip())
        assert ids[0] == ids[1]

    def test_a_first_start_that_was_killed_leaves_nothing_half_made(self, opening, tmp_path):
        killed = opening()
        unfinished, deadline = tmp_path / "mlflow.db.new", time.monotonic() + 60
        while not unfinished.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        killed.kill()
        killed.communicate()
        assert not (tmp_path / "mlflow.db").exists()
        output, errors = opening().communicate(timeout=120)
        assert output.strip(), errors
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_runs_ordered_by_a_metric_are_looked_up_run_by_run(self, opening, tmp_path):
        opening().communicate(timeout=120)
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            plan = database.execute(
                "EXPLAIN QUERY PLAN SELECT * FROM runs LEFT JOIN"
                " (SELECT * FROM latest_metrics WHERE key = 'auc') m ON m.run_uuid = runs.run_uuid"
                " WHERE experiment_id IN (1) ORDER BY m.value LIMIT 10"
            ).fetchall()
        assert any("latest_metrics" in step[3] and "key=? AND run_uuid=?" in step[3] for step in plan), plan

    def test_importing_the_package_does_not_import_mlflow(self):
        check = "import sys, ml_platform.integrations.mlflow; print(sorted(m for m in sys.modules if m == 'mlflow'))"
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
        assert json.loads(done.stdout.replace("'", '"')) == []

"""Killed at every step of a drift check and of the retraining that it starts: nothing lost, nothing doubled."""

from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from sqlalchemy import text

from ml_platform.inference.predictionlog.roll import roll
from ml_platform.inference.predictionlog.spool import Record, SegmentHeader, SegmentWriter
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.services.alerts.tables import AlertRow
from ml_platform.services.audit.tables import AuditEventRow
from tests.services.monitoring.crash_program import DEPLOYMENT, run, watched_rows
from tests.support.crash import Function, crash_and_resume

MOMENTS = ("before", "between", "after")
CHECK = [f"monitoring.check:{s}:{m}" for s, m in product(("begin", "baseline", "measure"), MOMENTS)]
RETRAIN = [
    f"monitoring.retrain:{s}:{m}" for s, m in product(("submit", "judge", "deploy.0", "deploy.1"), MOMENTS)
]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'platform.db'}", f"sqlite:///{tmp_path / 'workflows.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    with server.fresh_database() as database, server.fresh_database() as workflows:
        yield database, workflows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reference of values from 0 to 1, and a log of predictions made from 2 to 3."""
    pl.DataFrame({"x": [i / 2_000 for i in range(2_000)]}).write_parquet(tmp_path / "reference.parquet")
    (tmp_path / "spool").mkdir()
    header = SegmentHeader(
        team="crash",
        environment="staging",
        endpoint="churn",
        deployment_id=DEPLOYMENT.deployment_id,
        revision_id="rev_1",
        model_name="churn",
        model_version="1",
        columns=(("x", "double"),),
    )
    writer = SegmentWriter(tmp_path / "spool", "00000000000000000001-1-1")
    now = int(utc_now().timestamp() * 1e6) - 60_000_000
    rows = [[2 + i / 1_500] for i in range(1_500)]
    record = Record("req_1", now, 900, 200, None, rows, [0.5] * 1_500, None)
    writer.append(header, [msgspec.msgpack.encode(record)])
    writer.close()
    roll(tmp_path / "spool", tmp_path / "log")
    return tmp_path


class TestKilledAtEveryStep:
    @pytest.mark.slow
    @pytest.mark.parametrize("points", [CHECK, RETRAIN], ids=["check", "retraining"])
    def test_every_effect_happens_once(self, urls: tuple[str, str], folder: Path, points: list[str]) -> None:
        program = Function(run, (*urls, folder), folder / "output.txt")
        if urls[0].startswith("postgresql"):  # where the effect is done and its record is not
            points = [point for point in points if point.endswith(":between")]
            points = [point for point in points if not point.endswith("deploy.1:between")]
        crash_and_resume(program, points)
        database = Database(urls[0])
        [check], [retraining], monitor = watched_rows(database)
        assert (check.verdict, check.status, check.rows) == ("drift", "succeeded", 1_500)
        assert (monitor.last_check_id, monitor.last_verdict) == (check.id, "drift")
        assert (retraining.status, retraining.check_id) == ("deployment_requested", check.id)
        assert (retraining.job_id, retraining.rollout_id) == ("job_0", "rollout_0")
        with database.read() as session:
            effects = session.execute(text("SELECT kind, name FROM effects")).all()
            [alert] = session.query(AlertRow).all()
            actions = [row.action for row in session.query(AuditEventRow).order_by(AuditEventRow.sequence)]
        assert [name for kind, name in effects if kind in {"job", "rollout"}] == ["job_0", "rollout_0"]
        assert (alert.id, alert.occurrences) == (check.alert_id, 1)
        assert sorted(actions) == sorted(
            [
                "monitor.create",
                "drift.check.request",
                "alert.open",
                "drift.verdict",
                "retraining.start",
                "retraining.submit",
                "retraining.trained",
                "retraining.deploy",
            ]
        )
        database.close()

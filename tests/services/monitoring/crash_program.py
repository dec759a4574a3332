"""The program that the crash tests kill: a drift check that finds drift, and the retraining it starts.

Database, outbox, audit chain, workflow engine, prediction log and statistics are the platform's own; what
trains and what deploys stand for other slices and write each of their effects as a row in the same transaction.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from ml_platform.integrations.cedar import CedarAuthorizer
from ml_platform.integrations.dbos import DbosEngine
from ml_platform.integrations.predictionlog import LocalPredictionLog
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.outbox import OutboxRelay
from ml_platform.server import schema
from ml_platform.services.access import Actor, Work, WorkFactory
from ml_platform.services.access.work import START_WORKFLOW
from ml_platform.services.alerts import NotifyWorkflow
from ml_platform.services.audit import AuditChain
from ml_platform.services.identity.tables import TeamRow
from ml_platform.services.monitoring import (
    DriftCheckWorkflow,
    JobOutcome,
    MonitoringParts,
    MonitoringService,
    RetrainWorkflow,
    ServedDeployment,
    ServedVersion,
)
from ml_platform.services.monitoring.tables import DriftCheckRow, MonitorRow, RetrainingRow
from tests.support.crash import eventually

TEAM = "team_crash"
DEPLOYMENT = ServedDeployment("dep_crash", TEAM, "crash", "staging", "churn", "churn", 1, None, "0" * 64)


def effect(work: Work, kind: str) -> str:
    """One effect of another slice, in the transaction of `work`; answers its name."""
    count = work.session.execute(
        text("SELECT count(*) FROM effects WHERE kind = :kind"), {"kind": kind}
    ).scalar()
    name = f"{kind}_{count}"
    work.session.execute(text("INSERT INTO effects VALUES (:kind, :name)"), {"kind": kind, "name": name})
    return name


class Deployments:
    """The first two requests meet another rollout that is under way."""

    def get(self, work: Work, deployment_id: str) -> ServedDeployment:
        return DEPLOYMENT

    def list_serving(self, session: Session) -> Sequence[ServedDeployment]:
        return [DEPLOYMENT]

    def request_rollout(
        self, work: Work, deployment_id: str, model_id: str, *, justification: str
    ) -> str | None:
        assert model_id == "model_of_job_0"
        if effect(work, "asked") in {"asked_0", "asked_1"}:
            return None
        return effect(work, "rollout")


class Versions:
    def __init__(self, reference: Path) -> None:
        self._reference = reference

    def get(self, work: Work, model_name: str, version: int) -> ServedVersion:
        return ServedVersion("churn", 1, None, ("x",), self._reference, "job_old")


class NoScores:
    def score(self, deployment: ServedDeployment, reference: Path, target: Path) -> str | None:
        return "there is no graph here"


class Jobs:
    def resubmit(self, work: Work, job_id: str) -> str:
        assert job_id == "job_old"
        return effect(work, "job")

    def outcome(self, work: Work, job_id: str) -> JobOutcome | None:
        return JobOutcome(True, f"model_of_{job_id}", None)


class FileNotifier:
    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, title: str, body: str, *, severity: str = "info") -> int:
        with self._path.open("a") as file:
            file.write(title + "\n")
        return 1


def run(database_url: str, workflow_url: str, folder: Path) -> None:
    """Starts the check unless it was started, and waits until everything that follows from it is done."""
    database = Database(database_url)
    schema.upgrade(database, lock_file=folder / "migrate.lock")
    relay = OutboxRelay(database, interval=0.05)
    factory = WorkFactory(database, CedarAuthorizer(), AuditChain(b"k" * 32), relay)
    engine = DbosEngine(workflow_url, poll_interval=0.05)
    log = LocalPredictionLog(folder / "log", folder / "spool")
    parts = MonitoringParts(factory, Deployments(), Versions(folder / "reference.parquet"), NoScores(), log)
    engine.register(DriftCheckWorkflow(parts, poll_seconds=0.05))
    engine.register(RetrainWorkflow(factory, Jobs(), Deployments(), poll_seconds=0.05, busy_wait_seconds=0.1))
    engine.register(NotifyWorkflow(factory, FileNotifier(folder / "told.txt"), first_wait=0.1))

    def start(_entry: str, payload: dict[str, Any]) -> None:
        engine.start(payload["name"], payload["workflow_id"], payload["arguments"])

    relay.on(START_WORKFLOW, start)
    _ask_once(database, factory)
    engine.launch()
    relay.start()
    eventually(lambda: _is_done(database, folder), within=40, what="check, retraining and notification")
    # Whatever is still to be recorded has a moment, and may not be an effect any more.
    for pending in engine.list_pending():
        engine.result(pending.workflow_id, 20)
    relay.stop()
    engine.shutdown()


def _ask_once(database: Database, factory: WorkFactory) -> None:
    with database.write() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS effects (kind TEXT, name TEXT UNIQUE)"))
        if session.get(TeamRow, TEAM) is None:
            session.add(TeamRow(id=TEAM, name="crash", created_at=utc_now()))
    with factory.begin(Actor.system("test", team_id=TEAM, team_name="crash")) as work:
        if work.session.query(DriftCheckRow).count() == 0:
            row = MonitoringService(work, Deployments()).ensure(DEPLOYMENT)
            row.retrain_enabled = True
            MonitoringService(work, Deployments()).request_check(DEPLOYMENT.deployment_id)


def _is_done(database: Database, folder: Path) -> bool:
    with database.read() as session:
        rows = session.query(RetrainingRow).all()
        return bool(rows and rows[0].finished_at) and (folder / "told.txt").exists()


def watched_rows(database: Database) -> tuple[list[DriftCheckRow], list[RetrainingRow], MonitorRow]:
    """What is in the tables in the end."""
    with database.read() as session:
        found = (
            session.query(DriftCheckRow).all(),
            session.query(RetrainingRow).all(),
            session.query(MonitorRow).one(),
        )
        session.expunge_all()
        return found

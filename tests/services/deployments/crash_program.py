"""The program that the crash tests kill: rollouts with approval and canary, on real rows and workflows."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_platform.contracts.deployments import DeployRequest
from ml_platform.contracts.governance import RiskAssess, Verdict
from ml_platform.contracts.identity import Role
from ml_platform.contracts.serving import InferenceMetrics, RevisionMetrics
from ml_platform.integrations.cedar import CedarAuthorizer
from ml_platform.integrations.dbos import DbosEngine
from ml_platform.integrations.modelsigning import OmsSigner
from ml_platform.integrations.supplychain import SupplyChainInspector
from ml_platform.kit.db import Database
from ml_platform.kit.errors import ConflictError
from ml_platform.kit.outbox import OutboxRelay, OutboxRow
from ml_platform.kit.storage import LocalStorage
from ml_platform.services.access import Actor, Work, WorkFactory
from ml_platform.services.access.work import SEND_TO_WORKFLOW, START_WORKFLOW
from ml_platform.services.audit import AuditChain
from ml_platform.services.deployments import (
    SNAPSHOT_RAISED,
    Answer,
    DeployableVersion,
    DeploymentService,
    Gate,
    Origin,
    RolloutParts,
    RolloutSettings,
    RolloutWorkflow,
    SmokeKeys,
)
from ml_platform.services.deployments.snapshots import current_version
from ml_platform.services.deployments.tables import RevisionRow, RolloutRow
from ml_platform.services.governance import ApprovalRow, ApprovalService, RiskService
from ml_platform.services.governance.tables import ApprovalVoteRow, ModelRiskRow
from tests.support.rollouts import CARD, LinearTools, answers

TEAM = "team_crash"
SECRET = bytes(32)
SIGNER = OmsSigner(bytes(range(48)))
RISK = {"business_impact": 5, "customer_exposure": 5, "data_sensitivity": 4, "regulatory_scope": 4}


def person(name: str, *roles: Role) -> Actor:
    return Actor(name, name, team_id=TEAM, team_name="crash", memberships={TEAM: frozenset(roles)})


ENGINEER = person("ana", Role.ML_ENGINEER)
VOTERS = (person("max", Role.MANAGER), person("sara", Role.SENIOR_DATA_SCIENTIST))


class Roles:
    def actor_of(self, work: Work, user_id: str, key_id: str | None = None) -> Actor | None:
        return next((who for who in (ENGINEER, *VOTERS) if who.actor_id == user_id), None)

    def roles_of(self, work: Work, user_ids: Collection[str]) -> Mapping[str, frozenset[Role]]:
        return {voter.actor_id: voter.roles for voter in VOTERS if voter.actor_id in user_ids}


class Models:
    """Two versions of one model, in folders."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def resolve(self, work: Work, model_id: str) -> DeployableVersion:
        name, _, version = model_id.partition("/")
        source = self._root / version
        return DeployableVersion(
            version_id=model_id,
            model_name=name,
            version=int(version),
            source=source,
            digest=LinearTools().inspect(source).digest,
            has_signature=True,
            label="y",
            reference=source / "model.json",
            gate=Gate("accuracy", 0.5),
            model_card=CARD,
            origin=Origin(run_id="0" * 32),
            artifact_signature=SIGNER.sign(model_id, LinearTools().inspect(source).files),
        )

    def set_champion(self, work: Work, model_name: str, version: int) -> None:
        work.record("model.champion", "model", f"{model_name}/{version}")

    def require_model(self, work: Work, name: str) -> None:
        assert name == "plain"


class Plane:
    """Every revision is ready, and every revision is fine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revision_state(self, revision_id: str) -> tuple[Any, str | None]:
        return "ready", None

    def applied_version(self) -> int:
        with self._database.read() as session:
            return current_version(session)

    def metrics(self, window_seconds: float) -> InferenceMetrics:
        with self._database.read() as session:
            ids = [row.id for row in session.query(RevisionRow)]
        rows = tuple(
            RevisionMetrics(
                team="crash",
                environment="production",
                endpoint="plain",
                revision_id=revision_id,
                model_name="plain",
                model_version="1",
                requests=1000,
                predictions=1000,
                errors=0,
                client_errors=0,
                error_rate=0.0,
                requests_per_second=1.0,
                latency_ms_p95=1.0,
            )
            for revision_id in ids
        )
        return InferenceMetrics(window_seconds=window_seconds, covered_seconds=window_seconds, revisions=rows)

    def predict(self, *args: Any, revision_id: str | None, **kwargs: Any) -> Answer:
        with self._database.read() as session:
            bias = float(session.get_one(RevisionRow, revision_id).model_version)
        return Answer(200, {"predictions": [row["x0"] + bias for row in args[3]]}, 0.1, revision_id)

    def explain(self, *args: Any, revision_id: str | None, **kwargs: Any) -> Answer:
        return Answer(501, {"error": "nothing is explained here"}, 0.1, revision_id)


class Silence:
    def send(self, title: str, body: str, *, severity: str = "info") -> int:
        return 0


@dataclass
class Installation:
    database: Database
    relay: OutboxRelay
    factory: WorkFactory
    parts: RolloutParts
    engine: DbosEngine


def install(home: Path) -> Installation:
    database = Database(f"sqlite:///{home / 'platform.db'}")
    relay = OutboxRelay(database, interval=0.05)
    factory = WorkFactory(database, CedarAuthorizer(), AuditChain(SECRET), relay)
    parts = RolloutParts(
        factory=factory,
        catalogue=Models(home / "models"),
        tools=LinearTools(),
        plane=Plane(database),
        notifier=Silence(),
        roles=Roles(),
        smoke_keys=SmokeKeys(SECRET),
        supply_chain=SupplyChainInspector(),
        signatures=SIGNER,
        storage=LocalStorage(home / "storage"),
        work=home / "work",
        inference_url=lambda: "http://inference",
        settings=RolloutSettings(ready_poll_seconds=0.05, canary_poll_seconds=0.05),
    )
    engine = DbosEngine(f"sqlite:///{home / 'workflows.db'}", poll_interval=0.05)
    engine.register(RolloutWorkflow(parts))
    relay.on(START_WORKFLOW, lambda _, p: engine.start(p["name"], p["workflow_id"], p["arguments"]))
    relay.on(
        SEND_TO_WORKFLOW,
        lambda entry, p: engine.send(p["workflow_id"], p["topic"], p["message"], idempotency_key=entry),
    )
    relay.on(SNAPSHOT_RAISED, lambda _entry, _payload: None)
    return Installation(database, relay, factory, parts, engine)


def roll_out(home: Path, versions: Sequence[int]) -> None:
    """Deploys each version to production, approves it, and waits until it serves."""
    here = install(home)
    here.engine.launch()
    here.relay.start()
    with here.factory.begin(ENGINEER) as work:
        if work.session.query(ModelRiskRow).count() == 0:
            RiskService(work, here.parts.catalogue).assess("plain", RiskAssess(**answers(RISK)))  # type: ignore[arg-type]
    for version in versions:
        _see_through(here, version)
    _drain(here)
    here.relay.stop()
    here.engine.shutdown()


def _see_through(here: Installation, version: int) -> None:
    canary = {"steps": [50, 100], "step_seconds": 0, "min_requests": 1, "hold_seconds": 60}
    with here.factory.begin(ENGINEER) as work:
        row = work.session.query(RolloutRow).filter_by(model_version=version).first()
        if row is None:
            request = DeployRequest(environment="production", canary=canary)  # type: ignore[arg-type]
            rollout_id = DeploymentService(work, here.parts).deploy(f"plain/{version}", request).rollout_id
        else:
            rollout_id = row.id
    deadline = time.monotonic() + 40
    while True:
        with here.database.read() as session:
            status = session.query(RolloutRow).filter_by(id=rollout_id).one().status
            approval = session.query(ApprovalRow).filter_by(subject_id=rollout_id).first()
        if status == "succeeded":
            break
        assert status not in ("failed", "rolled_back", "cancelled"), status
        assert time.monotonic() < deadline, status
        # Only when the workflow is parked: a vote before that would let the next run pass by where it waits.
        if approval is not None and approval.status == "pending" and here.engine.waiting():
            _vote(here, approval.id)
        time.sleep(0.02)
    here.engine.result(rollout_id, 30)


def _vote(here: Installation, approval_id: str) -> None:
    for voter in VOTERS:
        with here.database.read() as session:
            if (
                session.query(ApprovalVoteRow)
                .filter_by(approval_id=approval_id, voter_id=voter.actor_id)
                .count()
            ):
                continue
        try:
            with here.factory.begin(voter) as work:
                ApprovalService(work, here.parts.roles).vote(approval_id, Verdict.APPROVE, "read")
        except ConflictError:
            return


def _drain(here: Installation) -> None:
    deadline = time.monotonic() + 20
    while True:
        with here.database.read() as session:
            if session.query(OutboxRow).filter(OutboxRow.delivered_at.is_(None)).count() == 0:
                return
        assert time.monotonic() < deadline, "the outbox was not delivered"
        time.sleep(0.02)

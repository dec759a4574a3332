"""Killed at every step of a rollout, before, between and after its effect: everything happens once."""

import json
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from ml_platform.kit.db import Database
from ml_platform.server import schema
from ml_platform.services.audit.tables import AuditEventRow
from ml_platform.services.deployments.tables import CanaryStepRow, RevisionRow, RolloutRow
from ml_platform.services.governance.tables import ApprovalRow, ApprovalVoteRow
from tests.services.deployments.crash_program import roll_out
from tests.support.crash import Function, crash_and_resume

STEPS = [
    *("validate", "security", "test", "approval", "approval.notify", "approval.settle", "build", "deploy"),
    *("deploy.ready", "deploy.settle", "smoke_test", "release", "audit", "notify", "canary.plan"),
    *("canary.0.shift", "canary.0.watch", "canary.0.settle", "finish", "notify.end"),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for version in (1, 2):
        folder = tmp_path / "models" / str(version)
        folder.mkdir(parents=True)
        model = {"bias": float(version), "metrics": {"accuracy": 0.8 + version / 100}}
        (folder / "model.json").write_text(json.dumps(model))
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    schema.upgrade(database, lock_file=tmp_path / "lock")
    database.close()
    return tmp_path


def points(*moments: str) -> list[str]:
    found = []
    for step, moment in product(STEPS, moments):
        found.append(f"deployment.rollout:{step}:{moment}")
        if (step, moment) == ("approval.notify", moments[-1]):
            found.append("deployment.rollout:receive.approval.decided:before")
    return found


@pytest.mark.slow
class TestKilledAtEveryStep:
    @pytest.mark.timeout(600)
    @pytest.mark.parametrize("moments", [("before", "between"), ("after",)], ids="+".join)
    def test_every_effect_happens_once_and_no_approval_is_lost(
        self, home: Path, moments: tuple[str, ...]
    ) -> None:
        log = home / "log.txt"
        crash_and_resume(Function(roll_out, (home, [1]), log), [])
        crash_and_resume(Function(roll_out, (home, [1, 2]), log), points(*moments))
        database = Database(f"sqlite:///{home / 'platform.db'}")
        with database.read() as session:
            rollouts = session.query(RolloutRow).order_by(RolloutRow.id).all()
            revisions = session.query(RevisionRow).order_by(RevisionRow.id).all()
            approvals = session.query(ApprovalRow).all()
            votes = session.query(ApprovalVoteRow).count()
            steps = [(row.step, row.status) for row in session.query(CanaryStepRow)]
            actions = Counter((row.action, row.resource_id) for row in session.query(AuditEventRow))
        database.close()
        assert [row.status for row in rollouts] == ["succeeded", "succeeded"]
        assert [(row.status, row.weight) for row in revisions] == [("standby", 0), ("serving", 100)]
        assert ([row.status for row in approvals], votes) == (["approved", "approved"], 4)
        assert steps == [(0, "passed")]
        for rollout in rollouts:
            assert actions["rollout.start", rollout.id] == 1
            assert actions["rollout.stage.passed", rollout.id] == 9
            assert actions["rollout.sealed", rollout.id] == 1
            assert actions["rollout.succeeded", rollout.id] == 1
            assert actions["revision.create", rollout.revision_id] == 1
        assert actions["model.champion", "plain/2"] == 1
        assert actions["rollout.canary.step", rollouts[1].deployment_id] == 1
        bundles = [path.name for path in (home / "storage").rglob("bundle.json")]
        assert len(bundles) == 2

"""Killed at every step of an A/B test, of a shadow and of its promotion, before, between and after each effect."""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from ml_platform.kit.db import Database
from ml_platform.server import schema
from ml_platform.services.audit.tables import AuditEventRow
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow, RolloutRow
from ml_platform.services.trials.tables import ABTestArmRow, ABTestRow, ShadowRow
from tests.services.deployments.test_crash import plant
from tests.services.trials.crash_program import ab_test, deploy_first, promote_shadow, start_shadow
from tests.support.crash import Function, crash_and_resume, finish

MOMENTS = ("before", "between", "after")
AB_STEPS = [
    *("arms", "arm.0.rollout", "arm.1.rollout", "arm.1.ready", "arm.1.settle", "begin"),
    *("applied", "measure", "look", "decide", "promote", "tell"),
]
SHADOW_STEPS = ["deploy", "deploy.settle", "release", "audit", "notify", "canary.plan", "finish"]
PROMOTION_STEPS = ["deploy", "release", "finish"]


def points(workflow: str, steps: list[str]) -> list[str]:
    """The other stages of a rollout are the same whatever it is for, and have a test of their own."""
    return [f"{workflow}:{step}:{moment}" for step, moment in product(steps, MOMENTS)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Version 1 of a model serves; version 2 is there."""
    plant(tmp_path, 1, 2)
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    schema.upgrade(database, lock_file=tmp_path / "lock")
    database.close()
    finish(Function(deploy_first, (tmp_path,), tmp_path / "log.txt"))
    return tmp_path


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{home / 'platform.db'}")
    yield database
    database.close()


def actions(database: Database) -> Counter[str]:
    with database.read() as session:
        return Counter(row.action for row in session.query(AuditEventRow))


def revisions(database: Database) -> list[tuple[int, str, float]]:
    with database.read() as session:
        rows = session.query(RevisionRow).order_by(RevisionRow.id)
        return [(row.model_version, row.status, row.weight) for row in rows]


@pytest.mark.slow
class TestAnABTest:
    @pytest.mark.timeout(600)
    def test_every_effect_happens_once_and_the_winner_is_promoted_once(
        self, home: Path, database: Database
    ) -> None:
        program = Function(ab_test, (home,), home / "log.txt")
        crash_and_resume(program, points("deployment.ab_test", AB_STEPS))
        with database.read() as session:
            [test] = session.query(ABTestRow).all()
            arms = session.query(ABTestArmRow).order_by(ABTestArmRow.position).all()
            rollouts = session.query(RolloutRow).order_by(RolloutRow.id).all()
            [deployment] = session.query(DeploymentRow).all()
        assert (test.status, test.winner) == ("winner", "challenger")
        assert test.measured_from is not None
        assert [row.status for row in rollouts] == ["succeeded"] * 3
        assert [arm.rollout_id for arm in arms] == [None, rollouts[1].id]
        assert test.promoted_rollout_id == rollouts[2].id
        assert (deployment.status, deployment.ab_test_id, deployment.active_rollout_id) == (
            "active", None, None,
        )  # fmt: skip
        assert revisions(database) == [(1, "standby", 0), (2, "retired", 0), (2, "serving", 100)]
        counted = actions(database)
        for action in ("start", "begin", "winner", "promote"):
            assert counted[f"ab_test.{action}"] == 1, action
        assert counted["rollout.start"] == counted["rollout.succeeded"] == counted["revision.create"] == 3
        assert counted["deployment.aside"] == 1
        # Two rollouts take over, the split begins and ends; an arm takes no traffic when it is brought.
        assert counted["deployment.traffic"] == 4


@pytest.mark.slow
class TestAShadow:
    @pytest.mark.timeout(600)
    def test_it_begins_once_and_is_promoted_once(self, home: Path, database: Database) -> None:
        program = Function(start_shadow, (home,), home / "log.txt")
        crash_and_resume(program, points("deployment.rollout", SHADOW_STEPS))
        assert revisions(database) == [(1, "serving", 100), (2, "shadow", 0)]
        counted = actions(database)
        assert counted["shadow.start"] == counted["deployment.aside"] == 1
        assert counted["rollout.start"] == counted["rollout.succeeded"] == counted["revision.create"] == 2
        assert counted["rollout.sealed"] == 2
        assert counted["deployment.traffic"] == 1
        program = Function(promote_shadow, (home,), home / "log.txt")
        crash_and_resume(program, points("deployment.rollout", PROMOTION_STEPS))
        assert revisions(database) == [(1, "standby", 0), (2, "retired", 0), (2, "serving", 100)]
        counted = actions(database)
        assert counted["shadow.start"] == counted["shadow.promote"] == counted["deployment.aside"] == 1
        assert counted["rollout.start"] == counted["rollout.succeeded"] == counted["revision.create"] == 3
        assert counted["deployment.traffic"] == 2
        with database.read() as session:
            [shadow] = session.query(ShadowRow).all()
            assert session.get_one(RolloutRow, shadow.promoted_rollout_id).status == "succeeded"

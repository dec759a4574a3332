"""The programs that the crash tests kill: an A/B test whose winner is promoted, a shadow, and its promotion.

Database, outbox, audit chain, engine and rollouts are the platform's own; what the prediction log would say of
the arms stands for the log.
"""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_platform.contracts.deployments import DeployRequest, RolloutStatus
from ml_platform.contracts.trials import (
    ABTestRequest,
    ABTestStatus,
    Metric,
    ShadowRequest,
    ShadowStatus,
    TrialPromotion,
)
from ml_platform.kit.outbox import OutboxRow
from ml_platform.services.deployments import DeploymentService
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow, RolloutRow
from ml_platform.services.trials import ABTestService, ABTestWorkflow, ShadowService
from ml_platform.services.trials.interfaces import ShadowRead
from ml_platform.services.trials.statistics import ArmRead, ArmsRead, ArmSums
from ml_platform.services.trials.tables import ABTestRow, ShadowRow
from tests.services.deployments.crash_program import ENGINEER, Installation, install

UNITS = 1000
TEST = ABTestRequest.model_validate(
    {
        "name": "conversion",
        "arms": [
            {"name": "control", "weight": 50, "model_id": "plain/1"},
            {"name": "challenger", "weight": 50, "model_id": "plain/2"},
        ],
        "metric": "conversion",
        "direction": "increase",
        "minimum_detectable_effect": 0.1,
        "promote_winner": True,
    }
)


class Evidence:
    """Of each thousand that came to version 2 half converted, of version 1 a tenth."""

    def __init__(self, here: Installation) -> None:
        self._here = here

    def arms(self, *_: Any, revisions: Collection[str], metrics: Collection[Metric], **__: Any) -> ArmsRead:
        with self._here.database.read() as session:
            versions = {row: session.get_one(RevisionRow, row).model_version for row in revisions}
        found = {}
        for revision, version in versions.items():
            sums = ArmSums.of_binary(UNITS, UNITS // 2 if version == 2 else UNITS // 10)
            found[revision] = ArmRead(UNITS, UNITS, 0, 1.0, dict.fromkeys(metrics, sums))
        return ArmsRead(found, 0)

    def shadow(self, *_: Any, **__: Any) -> ShadowRead:
        raise AssertionError("nobody reads a report here")


@contextmanager
def running(home: Path) -> Iterator[Installation]:
    """The control plane, until everything that was asked for is done and told."""
    here = install(home)
    here.engine.register(ABTestWorkflow(here.parts, Evidence(here)))
    here.engine.launch()
    here.relay.start()
    yield here
    _until(lambda: _delivered(here), "the outbox was not delivered")
    here.relay.stop()
    here.engine.shutdown()


def deploy_first(home: Path) -> None:
    """Version 1 serves."""
    with running(home) as here:
        with here.factory.begin(ENGINEER) as work:
            if work.session.query(RolloutRow).count() == 0:
                DeploymentService(work, here.parts).deploy("plain/1", DeployRequest(environment="staging"))  # type: ignore[arg-type]
        with here.database.read() as session:
            rollout_id = session.query(RolloutRow).one().id
        _rolled_out(here, rollout_id)


def ab_test(home: Path) -> None:
    """Version 2 is brought beside version 1, wins, and is rolled out."""
    with running(home) as here:
        with here.factory.begin(ENGINEER) as work:
            row = work.session.query(ABTestRow).one_or_none()
            if row is None:
                deployment = work.session.query(DeploymentRow).one()
                started = ABTestService(work, here.parts).start(deployment.id, TEST)
            ab_test_id = row.id if row is not None else started.ab_test_id

        def over() -> bool:
            with here.database.read() as session:
                return ABTestStatus(session.get_one(ABTestRow, ab_test_id).status).finished

        _until(over, "the A/B test did not end")
        here.engine.result(ab_test_id, 30)
        with here.database.read() as session:
            promoted = session.get_one(ABTestRow, ab_test_id).promoted_rollout_id
        assert promoted is not None
        _rolled_out(here, promoted)


def start_shadow(home: Path) -> None:
    """Version 2 answers beside version 1."""
    with running(home) as here:
        with here.factory.begin(ENGINEER) as work:
            row = work.session.query(ShadowRow).one_or_none()
            if row is None:
                deployment = work.session.query(DeploymentRow).one()
                request = ShadowRequest(model_id="plain/2", share=0.5)
                ShadowService(work, here.parts).start(deployment.id, request)
        with here.database.read() as session:
            rollout_id = session.query(ShadowRow).one().rollout_id
        _rolled_out(here, rollout_id)


def promote_shadow(home: Path) -> None:
    """Version 2 takes over from version 1, and its shadow goes."""
    with running(home) as here:
        with here.factory.begin(ENGINEER) as work:
            shadow_id = work.session.query(ShadowRow).one().id
            service = ShadowService(work, here.parts)
            if service.get(shadow_id).status is ShadowStatus.RUNNING and _promoted(here) is None:
                service.promote(shadow_id, TrialPromotion())
        rollout_id = _promoted(here)
        assert rollout_id is not None
        _rolled_out(here, rollout_id)


def _promoted(here: Installation) -> str | None:
    with here.database.read() as session:
        return session.query(ShadowRow).one().promoted_rollout_id


def _rolled_out(here: Installation, rollout_id: str) -> None:
    def over() -> bool:
        with here.database.read() as session:
            row = session.get_one(RolloutRow, rollout_id)
            assert not RolloutStatus(row.status).finished or row.status == "succeeded", row.reason
            return row.status == "succeeded"

    _until(over, "the rollout did not end")
    here.engine.result(rollout_id, 30)


def _delivered(here: Installation) -> bool:
    with here.database.read() as session:
        return session.query(OutboxRow).filter(OutboxRow.delivered_at.is_(None)).count() == 0


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)

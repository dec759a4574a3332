"""Killed at every step of a rollout, before, between and after its effect, and at random: everything happens once."""

import json
import os
import platform
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest

from ml_platform.kit.db import Database
from ml_platform.server import schema
from ml_platform.services.audit.tables import AuditEventRow
from ml_platform.services.deployments.tables import CanaryStepRow, RevisionRow, RolloutRow
from ml_platform.services.governance.tables import ApprovalRow, ApprovalVoteRow
from tests.services.deployments.crash_program import roll_out
from tests.support.crash import Function, crash_and_resume, finish

REPORT = Path(__file__).parents[3] / "benchmarks" / "reports" / "kill_rollouts.md"
LONGEST_LIFE = 2.5
STEPS = [
    *("validate", "security", "test", "approval", "approval.notify", "approval.settle", "build", "deploy"),
    *("deploy.ready", "deploy.settle", "smoke_test", "release", "audit", "notify", "canary.plan"),
    *("canary.0.shift", "canary.0.watch", "canary.0.settle", "finish", "notify.end"),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    plant(tmp_path, 1, 2)
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    schema.upgrade(database, lock_file=tmp_path / "lock")
    database.close()
    return tmp_path


def plant(home: Path, *versions: int) -> None:
    for version in versions:
        folder = home / "models" / str(version)
        folder.mkdir(parents=True)
        model = {"bias": float(version), "metrics": {"accuracy": 0.8 + version / 10_000}}
        (folder / "model.json").write_text(json.dumps(model))


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
        all_happened_once(home, 2)


@pytest.mark.slow
class TestKilledAtRandom:
    @pytest.mark.timeout(0)
    def test_every_effect_happens_once_and_no_approval_is_lost(self, home: Path) -> None:
        """`ROLLOUT_KILLS` sets how many kills must hit; `make kill-rollouts` writes a report of many."""
        wanted, seed = int(os.environ.get("ROLLOUT_KILLS", "15")), random.randrange(2**32)
        chance, began = random.Random(seed), time.monotonic()
        runs = Runs()
        hits = last = 0
        while hits < wanted:
            versions = range(last + 1, last + 5)
            last = versions[-1]
            plant(home, *(version for version in versions if version > 2))
            program = Function(roll_out, (home, list(versions)), home / "log.txt")
            while hits < wanted:
                runs.begin()
                ended = program.run(kill_after=chance.uniform(0, LONGEST_LIFE))
                runs.end(killed=ended.killed)
                if not ended.killed:
                    assert ended.returncode == 0, f"seed {seed}: {ended.output}"
                    break
                hits += 1
            runs.begin()
            finish(program, timeout=300)
            runs.end(killed=False)
        all_happened_once(home, last)
        text = report(home, runs, last, seed, (time.monotonic() - began) / 60)
        assert f"| {hits} |" in text
        if "ROLLOUT_KILLS" in os.environ:
            REPORT.write_text(text)


@dataclass
class Runs:
    """When each control plane was started, when it ended, and whether it was killed."""

    lives: list[tuple[float, float, bool]] = field(default_factory=list)
    _begun: float = 0.0

    def begin(self) -> None:
        self._begun = time.time()

    def end(self, *, killed: bool) -> None:
        self.lives.append((self._begun, time.time(), killed))

    @property
    def kills(self) -> int:
        return sum(killed for _, _, killed in self.lives)

    def resumed_after(self, moments: list[float]) -> list[float]:
        """Seconds from each start after a kill to the first change that was recorded from then on."""
        found = []
        for (_, _, killed), (begun, ended, _) in zip(self.lives, self.lives[1:], strict=False):
            first = next((moment for moment in moments if begun <= moment <= ended), None)
            if killed and first is not None:
                found.append(first - begun)
        return found


def report(home: Path, runs: Runs, rollouts: int, seed: int, minutes: float) -> str:
    """What `make kill-rollouts` says."""
    moments, lost, doubled, effects = counted(home, rollouts)
    resumed = runs.resumed_after(moments)
    assert resumed, "no start after a kill lived long enough to change anything"
    return f"""# Rollouts killed at random

`make kill-rollouts`: control planes were killed with SIGKILL at random moments of their first {LONGEST_LIFE:g} s, started again,
and killed again, over {rollouts} rollouts with approval by two people, and with a canary from the second on. Rows, audit log,
outbox, workflow engine and models are the platform's own; the inference plane stands for one that is always ready.

| kills | starts | rollouts that succeeded | effects counted | lost | doubled | resumed after: median | slowest |
| --- | --- | --- | --- | --- | --- | --- | --- |
| {runs.kills} | {len(runs.lives)} | {rollouts} of {rollouts} | {effects} | {lost} | {doubled} | {statistics.median(resumed):.2f} s \
| {max(resumed):.2f} s |

Effects are starts, stages, seals, revisions, approvals, votes, canary steps, champions and ends of rollouts. Every entry
of the outbox was delivered. A control plane has resumed when, after its start, the first change of a rollout is recorded;
{len(resumed)} starts after a kill lived long enough for one. The goal is 30 s.

{os.cpu_count()} cores, shared with other programs; {platform.system()} {platform.release()}; Python {platform.python_version()}; \
{minutes:.1f} minutes; seed {seed}.
"""


def counted(home: Path, number: int) -> tuple[list[float], int, int, int]:
    """When changes were recorded, and of the effects of so many rollouts: missing, too many, all."""
    expected = {
        "rollout.start": number,
        "rollout.stage.passed": 9 * number,
        "rollout.sealed": number,
        "rollout.succeeded": number,
        "revision.create": number,
        "approval.request": number,
        "approval.approve": 2 * number,
        "approval.approved": number,
        "model.champion": number,
        "rollout.canary.step": number - 1,
    }
    database = Database(f"sqlite:///{home / 'platform.db'}")
    with database.read() as session:
        rows = session.query(AuditEventRow).order_by(AuditEventRow.sequence).all()
    database.close()
    found = Counter(row.action for row in rows)
    moments = [row.at.timestamp() for row in rows if row.actor_kind == "system"]
    lost = sum(max(0, wanted - found[action]) for action, wanted in expected.items())
    doubled = sum(max(0, found[action] - wanted) for action, wanted in expected.items())
    return moments, lost, doubled, sum(found[action] for action in expected)


def all_happened_once(home: Path, number: int) -> None:
    """Versions 1 to `number` were rolled out one after the other, each effect once."""
    database = Database(f"sqlite:///{home / 'platform.db'}")
    with database.read() as session:
        rollouts = session.query(RolloutRow).order_by(RolloutRow.id).all()
        revisions = session.query(RevisionRow).order_by(RevisionRow.id).all()
        approvals = session.query(ApprovalRow).all()
        votes = session.query(ApprovalVoteRow).count()
        steps = Counter((row.step, row.status) for row in session.query(CanaryStepRow))
        actions = Counter((row.action, row.resource_id) for row in session.query(AuditEventRow))
    database.close()
    assert [(row.model_version, row.status) for row in rollouts] == [
        (version, "succeeded") for version in range(1, number + 1)
    ]
    retired = [("retired", 0)] * (number - 2)
    assert [(row.status, row.weight) for row in revisions] == [*retired, ("standby", 0), ("serving", 100)]
    assert ([row.status for row in approvals], votes) == (["approved"] * number, 2 * number)
    assert steps == {(0, "passed"): number - 1}
    for rollout in rollouts:
        assert actions["rollout.start", rollout.id] == 1
        assert actions["rollout.stage.passed", rollout.id] == 9
        assert actions["rollout.sealed", rollout.id] == 1
        assert actions["rollout.succeeded", rollout.id] == 1
        assert actions["revision.create", rollout.revision_id] == 1
        assert actions["model.champion", f"plain/{rollout.model_version}"] == 1
    assert actions["rollout.canary.step", rollouts[0].deployment_id] == number - 1
    bundles = [path.name for path in (home / "storage").rglob("bundle.json")]
    assert len(bundles) == number

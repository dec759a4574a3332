"""Which revision gets how much of a deployment's traffic; every change raises the snapshot's version.

The deployment's row is locked by the caller. Weights are percent and add up to 100 as soon as anything
serves.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.dialects import postgresql, sqlite

from ml_platform.contracts.deployments import RevisionStatus
from ml_platform.services.access import Work
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow, SnapshotVersionRow

SNAPSHOT_RAISED = "inference.snapshot.raised"
"""Wakes the long polls of this process after the commit; others see the version within half a second."""


def raise_snapshot_version(work: Work) -> None:
    """Says, in the transaction of a change, that the desired state changed."""
    session, now = work.session, work.clock()
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    session.execute(
        insert(SnapshotVersionRow).values(id=1, version=0, changed_at=now).on_conflict_do_nothing()
    )
    session.execute(
        update(SnapshotVersionRow)
        .where(SnapshotVersionRow.id == 1)
        .values(version=SnapshotVersionRow.version + 1, changed_at=now)
        .execution_options(synchronize_session=False)
    )
    work.emit(SNAPSHOT_RAISED, {})


class Traffic:
    """The revisions of one deployment."""

    def __init__(self, work: Work, deployment: DeploymentRow) -> None:
        self._work = work
        self._deployment = deployment
        self._repository = DeploymentRepository(work.session, work.team_id)

    def loaded(self) -> list[RevisionRow]:
        return self._repository.loaded(self._deployment.id)

    def serving(self) -> list[RevisionRow]:
        """Those that get traffic, or did before a candidate took all of it."""
        return [row for row in self.loaded() if row.status == RevisionStatus.SERVING]

    def place(self, candidate: RevisionRow) -> None:
        """Adds a revision without traffic: it is loaded, and kept warm."""
        candidate.status, candidate.weight = RevisionStatus.CANDIDATE.value, 0.0
        self._work.session.add(candidate)
        self._changed()

    def shift(self, candidate: RevisionRow, percent: float) -> None:
        """Gives the candidate so much of the traffic, and the rest to those that serve."""
        serving = self.serving()
        total = sum(row.weight for row in serving)
        for row in serving:
            share = row.weight / total if total > 0 else 1 / len(serving)
            row.weight = (100.0 - percent) * share
        candidate.weight, candidate.smoke_until = percent, None
        self._changed()

    def release(self, candidate: RevisionRow) -> None:
        """All traffic to the candidate; what served last stays warm, what stood by before is unloaded."""
        for row in self.loaded():
            if row.id == candidate.id:
                row.status, row.weight, row.smoke_until = RevisionStatus.SERVING.value, 100.0, None
            elif row.status == RevisionStatus.SERVING:
                row.status, row.weight = RevisionStatus.STANDBY.value, 0.0
            elif row.status != RevisionStatus.SHADOW:
                row.status, row.weight = RevisionStatus.RETIRED.value, 0.0
        self._changed()

    def set_aside(self, candidate: RevisionRow, status: RevisionStatus, share: float | None = None) -> None:
        """What stands beside the traffic: a shadow with its share of copies, or an arm of a test to come."""
        candidate.status, candidate.shadow_share, candidate.smoke_until = status.value, share, None
        self._changed()

    def unload(self, revision: RevisionRow) -> None:
        """Takes away what has no traffic."""
        revision.status, revision.weight, revision.smoke_until = RevisionStatus.RETIRED.value, 0.0, None
        self._changed()

    def split(self, arms: dict[str, float], sticky: dict[str, Any] | None) -> None:
        """Divides all traffic among the arms of a test, by revision and percent."""
        for row in self.loaded():
            row.weight = arms.get(row.id, 0.0)
        self._deployment.sticky = sticky
        self._changed()

    def rejoin(self) -> None:
        """Ends a split: all traffic to what served before; what was loaded for the test alone is unloaded."""
        for row in self.loaded():
            if row.status == RevisionStatus.TRIAL:
                row.status = RevisionStatus.RETIRED.value
            row.weight = 100.0 if row.status == RevisionStatus.SERVING else 0.0
        self._deployment.sticky = None
        self._changed()

    def withdraw(self, revision: RevisionRow) -> None:
        """Unloads a rollout's revision; its traffic goes back to whatever served before it."""
        had, released = revision.weight, revision.status == RevisionStatus.SERVING
        revision.status, revision.weight, revision.smoke_until = RevisionStatus.RETIRED.value, 0.0, None
        if released:
            before = next((row for row in self.loaded() if row.status == RevisionStatus.STANDBY), None)
            if before is not None:
                before.status, before.weight = RevisionStatus.SERVING.value, 100.0
        elif had and (serving := self.serving()):
            total = sum(row.weight for row in serving)
            for row in serving:
                row.weight = 100.0 * (row.weight / total if total > 0 else 1 / len(serving))
        self._changed()

    def swap(self) -> RevisionRow | None:
        """All traffic back to the revision that stands by, and the other way round; None without one."""
        rows = self.loaded()
        standby = next((row for row in rows if row.status == RevisionStatus.STANDBY), None)
        if standby is None:
            return None
        for row in rows:
            if row.status == RevisionStatus.SERVING:
                row.status, row.weight = RevisionStatus.STANDBY.value, 0.0
        standby.status, standby.weight = RevisionStatus.SERVING.value, 100.0
        self._changed()
        return standby

    def retire(self) -> None:
        """Unloads everything."""
        for row in self.loaded():
            row.status, row.weight, row.smoke_until = RevisionStatus.RETIRED.value, 0.0, None
        self._changed()

    def _changed(self) -> None:
        self._work.session.flush()
        raise_snapshot_version(self._work)


def weights(rows: list[RevisionRow]) -> dict[str, float]:
    """The split as it goes into the audit log."""
    return {row.id: row.weight for row in rows if row.weight > 0}


def smoke_open(row: RevisionRow, now: datetime) -> bool:
    """Whether the short-lived key of this revision's smoke test is valid."""
    return row.smoke_until is not None and row.smoke_until > now

"""Whether what serves in production still answers with values, beside what it replaced; once a minute for each."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from ml_platform.contracts.deployments import RevisionStatus
from ml_platform.kit.errors import AppError
from ml_platform.services.access import Actor
from ml_platform.services.deployments.interfaces import AnswersCompared
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.stages import RolloutParts
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow

LOOK_SECONDS = 60.0
"""Reading the log is no look at a counter, and production is not in the middle of a change."""
_AROUND = timedelta(hours=1)


@dataclass(slots=True)
class _Known:
    """`old` are the answers of the revision that was replaced, an hour before and after; then they change no more."""

    looked: float
    found: AnswersCompared | None = None
    old: tuple[int, int] | None = None


class AnswerWatch:
    """Remembers by revision, so that the caller may look as often as it likes."""

    def __init__(self, parts: RolloutParts, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}

    def forget_all_but(self, revisions: Collection[str]) -> None:
        """These serve; what else was remembered goes."""
        self._known = {key: known for key, known in self._known.items() if key in revisions}

    def compared(
        self, deployment: DeploymentRow, revision: RevisionRow, seconds: float
    ) -> AnswersCompared | None:
        """Its answers of the last seconds; None without a log, or an older revision that answered anything.

        A model that never answers some of its requests is not worse for it than the one before.
        """
        now, known = self._monotonic(), self._known.get(revision.id)
        if known is not None and now - known.looked < LOOK_SECONDS:
            return known.found
        known = self._known[revision.id] = _Known(now, old=known.old if known is not None else None)
        try:
            known.found = self._look(deployment, revision, seconds, known)
        except AppError:
            known.found = None  # nothing is known, so nothing is decided
        return known.found

    def _look(
        self, deployment: DeploymentRow, revision: RevisionRow, seconds: float, known: _Known
    ) -> AnswersCompared | None:
        now = self._parts.clock()
        rows, empty = old = known.old or self._replaced(deployment, revision, now)
        if now > revision.created_at + _AROUND:
            known.old = old
        if rows == 0:
            return None
        new_rows, new_empty = self._count(deployment, revision.id, now - timedelta(seconds=seconds), now)
        return AnswersCompared(new_rows, rows, None, empty=new_empty, baseline_empty=empty)

    def _replaced(self, deployment: DeploymentRow, revision: RevisionRow, now: datetime) -> tuple[int, int]:
        """What stands by answered before this revision came, and while both did."""
        with self._parts.factory.begin(_actor(deployment), write=False) as work:
            loaded = DeploymentRepository(work.session, work.team_id).loaded(deployment.id)
        older = [
            row
            for row in loaded
            if row.status == RevisionStatus.STANDBY and row.created_at < revision.created_at
        ]
        if not older:
            return 0, 0
        until = min(now, revision.created_at + _AROUND)
        return self._count(deployment, older[0].id, revision.created_at - _AROUND, until)

    def _count(
        self, deployment: DeploymentRow, revision_id: str, since: datetime, until: datetime
    ) -> tuple[int, int]:
        comparison = self._parts.comparison
        if comparison is None:
            return 0, 0
        with self._parts.factory.begin(_actor(deployment), write=False) as work:
            return comparison.count_empty(work, deployment.id, {revision_id}, since, until)


def _actor(deployment: DeploymentRow) -> Actor:
    return Actor.system("rollback-watch", team_id=deployment.team_id, team_name=deployment.team_name)

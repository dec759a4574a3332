"""The queue: so many jobs run at once, and the team that has the fewest running is next."""

from collections.abc import Iterable

from ml_platform.kit.clock import Clock, utc_now
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.training.repository import QueueRepository
from ml_platform.services.training.tables import JobRow


class JobQueue:
    """Gives slots to queued jobs."""

    def __init__(self, factory: WorkFactory, *, max_running: int, clock: Clock = utc_now) -> None:
        self._factory = factory
        self._max_running = max_running
        self._clock = clock

    def dispatch(self) -> list[str]:
        """Gives every free slot to a job; answers whose they are now."""
        actor = Actor.system("job-queue")
        with self._factory.begin(actor, write=False) as look:
            queue = QueueRepository(look.session)
            if self._free(queue) <= 0 or not queue.first_waiting_by_team():
                return []
        with self._factory.begin(actor) as work:
            queue = QueueRepository(work.session)
            queue.lock()
            granted = []
            for _ in range(self._free(queue)):
                chosen = fairest(queue.first_waiting_by_team(), queue.running_by_team())
                if chosen is None:
                    break
                chosen.slot_at = self._clock()
                work.session.flush()
                granted.append(chosen.id)
            return granted

    def _free(self, queue: QueueRepository) -> int:
        return self._max_running - sum(queue.running_by_team().values())


def fairest(waiting: Iterable[JobRow], running: dict[str, int]) -> JobRow | None:
    """The oldest job of the team that has the fewest running."""
    return min(waiting, key=lambda job: (running.get(job.team_id, 0), job.id), default=None)

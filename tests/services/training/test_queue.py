"""The queue: full, fair, and never forgetting anyone."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ml_platform.services.training import TrainingSettings
from ml_platform.services.training.queue import fairest
from ml_platform.services.training.tables import JobRow
from tests.support.platform import RunningPlatform
from tests.support.training import create_experiment, submit_script, wait_for

HANG = "import time\nwhile True: time.sleep(0.05)\n"


def waiting(*jobs: tuple[str, str]) -> list[JobRow]:
    made: list[Any] = [SimpleNamespace(team_id=team, id=job_id) for team, job_id in jobs]
    return cast("list[JobRow]", made)


class TestFairest:
    def test_the_team_with_fewer_running_is_next_though_it_came_later(self) -> None:
        chosen = fairest(waiting(("big", "job_1"), ("small", "job_2")), {"big": 3})
        assert chosen is not None
        assert chosen.id == "job_2"

    def test_between_equals_the_older_job(self) -> None:
        chosen = fairest(waiting(("a", "job_2"), ("b", "job_1")), {"a": 1, "b": 1})
        assert chosen is not None
        assert chosen.id == "job_1"

    def test_nobody_waits(self) -> None:
        assert fairest([], {"a": 1}) is None


@pytest.fixture
def short_queue(platform: RunningPlatform) -> Iterator[None]:
    """One job of a team may wait, no more."""
    parts = platform.runtime.components
    settings = parts.get(TrainingSettings)
    parts.provide(TrainingSettings, replace(settings, max_queued_per_team=1))
    yield
    parts.provide(TrainingSettings, settings)


@pytest.mark.usefixtures("short_queue")
class TestAFullQueue:
    def test_refuses_that_team_alone_and_goes_on_when_there_is_room(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        bob = platform.new_user(platform.new_team(), "data_scientist")
        for caller in (ana, bob):
            create_experiment(caller.client)
        running = []
        for _ in range(2):  # as many as run at once
            running.append(submit_script(ana.client, "experiment", HANG))
            wait_for(ana.client, running[-1], "running")
        queued = submit_script(ana.client, "experiment", "print('at last')")
        wait_for(ana.client, queued, "queued")
        refused = ana.client.post("/experiments/experiment/train", json={"source": {"train.py": "print(1)"}})
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert refused.headers["retry-after"]
        assert len(ana.client.get("/jobs").json()["items"]) == 3
        theirs = submit_script(bob.client, "experiment", "print('bob')")
        wait_for(bob.client, theirs, "queued")
        ana.client.post(f"/jobs/{running[0]}/cancel")
        # One slot is free: Ana's other job still runs, so Bob is next, though Ana's came first.
        assert wait_for(bob.client, theirs)["status"] == "succeeded"
        assert wait_for(ana.client, queued)["status"] == "succeeded"
        first, second = (c.client.get(f"/jobs/{j}").json() for c, j in ((bob, theirs), (ana, queued)))
        assert datetime.fromisoformat(first["started_at"]) < datetime.fromisoformat(second["started_at"])
        assert datetime.fromisoformat(first["started_at"]).tzinfo == UTC
        ana.client.post(f"/jobs/{running[1]}/cancel")
        wait_for(ana.client, running[1])

    def test_a_job_that_is_cancelled_in_the_queue_never_starts(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        create_experiment(ana.client)
        running = [submit_script(ana.client, "experiment", HANG)]
        wait_for(ana.client, running[0], "running")
        running.append(submit_script(ana.client, "experiment", HANG))
        wait_for(ana.client, running[1], "running")
        queued = submit_script(ana.client, "experiment", "print('never')")
        wait_for(ana.client, queued, "queued")
        ana.client.post(f"/jobs/{queued}/cancel")
        job = wait_for(ana.client, queued)
        assert (job["status"], job["started_at"]) == ("cancelled", None)
        log = ana.client.get(f"/jobs/{queued}/logs").json()
        assert (log["text"], log["eof"]) == ("", True)
        for job_id in running:
            ana.client.post(f"/jobs/{job_id}/cancel")
            wait_for(ana.client, job_id)

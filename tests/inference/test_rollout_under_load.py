"""Traffic is changed in every way while callers ask without pause over three protocols, and workers are killed."""

import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

from ml_platform.contracts.serving import ServingRevision, Sticky

from .support.bundles import Bundle
from .support.callers import Answer, Callers
from .support.control import ControlPlane, endpoint, revision, snapshot
from .support.server import Server, eventually

STICKY = Sticky(by="header", name="x-caller")


@dataclass
class Period:
    """A desired state: published, in force everywhere, and published over."""

    weights: dict[str, float]
    published: float
    applied: float = float("inf")
    replaced: float = float("inf")


class Rollout:
    """Publishes one state after the other and remembers when each held."""

    def __init__(self, server: Server, control: ControlPlane) -> None:
        self._server = server
        self._control = control
        self.periods: list[Period] = []

    def publish(self, *revisions: ServingRevision, kill: bool = False) -> None:
        now = time.monotonic()
        if self.periods:
            self.periods[-1].replaced = now
        weights = {r.revision_id: r.weight for r in revisions if r.weight > 0 and not r.shadow}
        self.periods.append(Period(weights, now))
        pids = self._server.worker_pids() if kill else []
        self._control.publish(snapshot(len(self.periods), endpoint(*revisions, sticky=STICKY)))
        if kill:
            self._server.kill_worker(random.choice(pids))
        self._server.has_applied(self._control.snapshot)
        self.periods[-1].applied = time.monotonic()

    def allowed(self, answer: Answer) -> set[str]:
        """The revisions that may have answered: those of every state that held at any time meanwhile."""
        found: set[str] = set()
        for number, period in enumerate(self.periods):
            following = self.periods[number + 1 :]
            until = following[0].applied if following else float("inf")
            if period.published <= answer.ended and answer.begun <= until:
                found |= set(period.weights)
        return found


def seen_while_steady(rollout: Rollout, answers: list[Answer]) -> list[dict[str, set[str]]]:
    """For each state, who answered each caller while nothing else could have held."""
    found: list[dict[str, set[str]]] = []
    for period in rollout.periods:
        callers: dict[str, set[str]] = defaultdict(set)
        for answer in answers:
            if period.applied <= answer.begun and answer.ended <= period.replaced:
                callers[answer.caller].add(answer.revision)
        found.append(callers)
    return found


class TestTraffic:
    def test_changes_under_load_with_workers_killed_and_every_answer_is_an_allowed_ones(
        self, control, make_server, one: Bundle, two: Bundle
    ) -> None:
        old, new = (
            (lambda w, **k: revision(one, "rev-1", w, **k)),
            (lambda w, **k: revision(two, "rev-2", w, **k)),
        )
        arms = [revision(one, "rev-3", 50), revision(two, "rev-4", 50)]
        states = [
            (old(100),),
            (old(95), new(5)),  # a new revision, and its canary
            (old(50), new(50)),
            (old(0), new(100)),  # promoted
            (old(100), new(0)),  # rolled back
            (old(100),),  # and deleted
            (old(100), revision(two, "rev-5", 0, shadow=True)),
            (old(100), *arms),  # A/B/C, without the shadow
            (arms[1],),
        ]
        server = make_server(workers=2)
        control.publish(snapshot(0, endpoint(*states[0], sticky=STICKY)))
        server.start().has_applied(control.snapshot)
        rollout = Rollout(server, control)
        rollout.publish(*states[0])
        with Callers(server.port, "churn", each=4) as callers:
            for number, revisions in enumerate(states):
                if number:
                    rollout.publish(*revisions, kill=number in (1, 3, 4, 7))
                before = callers.counts()
                eventually(lambda: callers.all_got(5, before), "answers to all")  # noqa: B023
        answers = callers.answers
        assert callers.failures == []
        assert [str(a) for a in answers if a.revision not in rollout.allowed(a)] == []
        bias = {"rev-1": 1.0, "rev-2": 2.0, "rev-3": 1.0, "rev-4": 2.0}
        assert [str(a) for a in answers if a.value != 1.0 + bias[a.revision]] == []
        assert set(Counter(a.revision for a in answers)) == set(bias)
        steady = seen_while_steady(rollout, answers)
        assert [seen for seen in steady if any(len(revisions) != 1 for revisions in seen.values())] == []
        assert all(len(seen) == 12 for seen in steady)
        for before, after in ((1, 2), (2, 3)):  # who is on the canary stays there while it grows
            moved = [c for c, seen in steady[before].items() if seen == {"rev-2"} != steady[after][c]]
            assert moved == []


class TestAllWorkersKilled:
    def test_callers_get_an_answer_or_are_told_when_to_come_again(self, control, make_server, one) -> None:
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(workers=2).start()
        server.has_applied(control.snapshot)
        with Callers(server.port, "churn") as callers:
            eventually(lambda: callers.all_got(5, Counter()), "load")
            for _ in range(2):
                for pid in server.worker_pids():
                    server.kill_worker(pid)
                killed, before = time.monotonic(), callers.counts()
                eventually(lambda: callers.all_got(5, before), "answers again")  # noqa: B023
                assert any(killed < answer.begun and answer.status == 200 for answer in callers.answers)
                server.has_applied(control.snapshot)
        refused = [answer for answer in callers.answers if answer.status != 200]
        assert [str(a) for a in refused if a.status != 503 or int(a.retry_after or 0) < 1] == []

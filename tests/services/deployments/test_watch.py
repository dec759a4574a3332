"""Rollbacks by themselves, long after the rollout: the triggers, and what each leads to."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select

from ml_platform.contracts.deployments import CanaryPlan
from ml_platform.contracts.serving import InferenceMetrics, RevisionMetrics
from ml_platform.kit.db import Database
from ml_platform.kit.errors import UnavailableError
from ml_platform.services.deployments import RollbackWatch, RolloutParts
from ml_platform.services.deployments.answerwatch import AnswerWatch
from ml_platform.services.deployments.canary import without_value
from ml_platform.services.deployments.interfaces import AnswersCompared
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow
from ml_platform.services.deployments.watch import LONG_SECONDS, SHORT_SECONDS, trouble_of
from tests.support.crash import eventually
from tests.support.rollouts import LOW, Bench

PLAN = CanaryPlan()


def traffic(
    requests: int = 1000, errors: int = 0, p95: float = 20.0, revision: str = "rev"
) -> RevisionMetrics:
    return RevisionMetrics(
        team="t",
        environment="production",
        endpoint="e",
        revision_id=revision,
        model_name="m",
        model_version="1",
        requests=requests,
        predictions=requests,
        errors=errors,
        client_errors=0,
        error_rate=errors / requests if requests else 0.0,
        requests_per_second=requests / 300,
        latency_ms_p50=p95 / 2,
        latency_ms_p95=p95,
        latency_ms_p99=p95,
    )


class TestTriggers:
    def test_health_is_none(self) -> None:
        assert trouble_of(PLAN, traffic(), traffic(), {"p95_ms": 20.0}) is None

    def test_no_traffic_is_none_and_is_no_failure(self) -> None:
        assert trouble_of(PLAN, None, None, None) is None
        assert trouble_of(PLAN, traffic(99, 99), traffic(99, 99), None) is None

    def test_more_than_five_per_cent_of_errors_over_five_minutes(self) -> None:
        found = trouble_of(PLAN, traffic(1000, 51), traffic(100_000, 51), None)
        assert found is not None
        assert "5.1%" in found.reason
        assert found.evidence["errors"] == 51
        assert trouble_of(PLAN, traffic(1000, 50), traffic(100_000, 50), None) is None

    def test_more_than_twice_the_latency_of_the_revision_before(self) -> None:
        found = trouble_of(PLAN, traffic(p95=41.0), traffic(), {"p95_ms": 20.0})
        assert found is not None
        assert "41.00 ms" in found.reason
        assert trouble_of(PLAN, traffic(p95=40.0), traffic(), {"p95_ms": 20.0}) is None
        assert trouble_of(PLAN, traffic(p95=9.0), traffic(), {"p95_ms": 0.1}) is None
        assert trouble_of(PLAN, traffic(p95=900.0), traffic(), None) is None

    def test_less_than_ninety_nine_per_cent_available_over_an_hour(self) -> None:
        found = trouble_of(PLAN, traffic(1000, 20), traffic(10_000, 101), None)
        assert found is not None
        assert "98.99%" in found.reason
        assert trouble_of(PLAN, traffic(1000, 20), traffic(10_000, 100), None) is None

    def test_two_failures_of_a_machine_that_stalled_are_no_unavailability_and_three_are(self) -> None:
        assert trouble_of(PLAN, traffic(100, 2), traffic(100, 2), None) is None
        assert trouble_of(PLAN, traffic(100, 3), traffic(100, 3), None) is not None


@dataclass
class Plane:
    """An inference plane that measured what a test says; everything else is the real one's."""

    real: Any
    rows: list[RevisionMetrics] = field(default_factory=list)
    away: bool = False

    def metrics(self, window_seconds: float) -> InferenceMetrics:
        if self.away:
            raise UnavailableError("away")
        assert window_seconds in (SHORT_SECONDS, LONG_SECONDS)
        return InferenceMetrics(
            window_seconds=window_seconds, covered_seconds=window_seconds, revisions=tuple(self.rows)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class TestRollingBack:
    @pytest.fixture
    def served(self, bench: Bench) -> dict[str, Any]:
        """Version 2 serves in production, version 1 stands by."""
        accepted: dict[str, Any] = {}
        for bias in (1.0, 2.0):
            bench.plant("plain", bias=bias)
            bench.assess("plain", LOW)
            accepted = bench.deploy("plain", "production", canary={"steps": [100]})
            bench.until(accepted, "succeeded")
        return accepted

    def look(self, bench: Bench, monkeypatch: pytest.MonkeyPatch, *rows: RevisionMetrics, away: bool = False):
        parts = bench.platform.runtime.components.get(RolloutParts)
        real = parts.plane
        monkeypatch.setattr(parts, "plane", Plane(real, list(rows), away))
        try:
            return RollbackWatch(parts).run()
        finally:
            monkeypatch.setattr(parts, "plane", real)

    def revisions(self, bench: Bench, accepted: dict[str, Any]) -> dict[int, tuple[str, str]]:
        found = bench.deployment(accepted)["revisions"]
        return {item["model_version"]: (item["revision_id"], item["status"]) for item in found}

    def test_what_fails_goes_back_once_and_tells_everybody(
        self, bench: Bench, served: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = self.revisions(bench, served)
        bad = traffic(1000, 200, revision=before[2][0])
        assert self.look(bench, monkeypatch, bad) == [served["deployment_id"]]
        assert {v: status for v, (_, status) in self.revisions(bench, served).items()} == {
            1: "serving",
            2: "standby",
        }
        bench.answers_with(served, 2.0)
        assert "champion" in bench.engineer.client.get("/models/plain/versions/1").json()["aliases"]
        query = f"/audit/events?resource={served['deployment_id']}&action=deployment.rollback"
        [event] = bench.platform.admin.get(query).json()["items"]
        assert event["context"]["automatic"] is True
        assert "20.0%" in event["after"]["reason"]
        [alert] = bench.engineer.client.get("/alerts").json()["items"]
        assert (alert["severity"], alert["resource_id"]) == ("critical", served["deployment_id"])
        assert self.look(bench, monkeypatch, bad) == []

    def test_the_older_one_is_never_swapped_for_the_newer(
        self, bench: Bench, served: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = self.revisions(bench, served)
        rows = [traffic(1000, 200, revision=before[version][0]) for version in (1, 2)]
        assert self.look(bench, monkeypatch, *rows) == [served["deployment_id"]]
        assert self.look(bench, monkeypatch, *rows) == []
        assert self.revisions(bench, served)[1][1] == "serving"
        titles = [alert["title"] for alert in bench.engineer.client.get("/alerts").json()["items"]]
        assert any("plain/1 fails" in title for title in titles)

    def test_health_and_silence_change_nothing(
        self, bench: Bench, served: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = self.revisions(bench, served)
        assert self.look(bench, monkeypatch, traffic(revision=before[2][0])) == []
        assert self.look(bench, monkeypatch) == []
        assert self.look(bench, monkeypatch, away=True) == []
        assert self.revisions(bench, served) == before


class TestAnswersWithoutAValue:
    """Read from the log of a real inference server; a model that gives none above ten gives one to the sample."""

    ABOVE = 20.0

    def answered(self, bench: Bench, accepted: dict[str, Any], requests: int) -> None:
        """So many answers stand in the log."""
        with bench.traffic(accepted, value=self.ABOVE, inputs=10) as traffic:
            eventually(lambda: len(traffic.statuses) >= requests, within=60)
        assert set(traffic.statuses) == {200}
        assert self.parts(bench).plane.flush()  # type: ignore[attr-defined]

    def parts(self, bench: Bench) -> RolloutParts:
        return bench.platform.runtime.components.get(RolloutParts)

    def release(self, bench: Bench, **model: Any) -> dict[str, Any]:
        bench.plant("plain", **model)
        bench.assess("plain", LOW)
        accepted = bench.deploy("plain", "production", canary={"steps": [100]})
        bench.until(accepted, "succeeded")
        return accepted

    def rolled_back(self, bench: Bench, accepted: dict[str, Any]) -> list[dict[str, Any]]:
        """The events of that, after a look."""
        RollbackWatch(self.parts(bench)).run()
        query = f"/audit/events?resource={accepted['deployment_id']}&action=deployment.rollback"
        found: list[dict[str, Any]] = bench.platform.admin.get(query).json()["items"]
        return found

    def look(self, bench: Bench, accepted: dict[str, Any]) -> AnswersCompared | None:
        """What a watch that has never looked sees of what serves now."""
        with bench.platform.runtime.components.get(Database).read() as session:
            deployment = session.get_one(DeploymentRow, accepted["deployment_id"])
            query = select(RevisionRow).where(
                RevisionRow.deployment_id == deployment.id, RevisionRow.status == "serving"
            )
            revision = session.scalars(query).one()
        return AnswerWatch(self.parts(bench)).compared(deployment, revision, SHORT_SECONDS)

    def test_lead_back_to_a_revision_that_gave_values(self, comparing: Bench) -> None:
        first = self.release(comparing, bias=1.0)
        comparing.answers_with(first, 2.0)
        self.answered(comparing, first, 30)
        second = self.release(comparing, bias=2.0, empty_above=10.0)
        comparing.answers_with(second, 3.0)
        self.answered(comparing, second, 150)
        # The control plane's own watch may be the one that does it.
        [event] = eventually(lambda: self.rolled_back(comparing, second), within=60)
        assert event["context"]["automatic"] is True
        assert "have no value (NaN, infinity or null)" in event["after"]["reason"]
        assert event["context"]["evidence"]["baseline_empty"] == 0
        comparing.answers_with(first, 2.0)

    def test_that_the_older_one_did_not_give_either_are_no_reason(self, comparing: Bench) -> None:
        first = self.release(comparing, bias=1.0, empty_above=10.0)
        comparing.answers_with(first, 2.0)
        self.answered(comparing, first, 120)
        second = self.release(comparing, bias=2.0, empty_above=10.0)
        comparing.answers_with(second, 3.0)
        self.answered(comparing, second, 120)
        found = self.look(comparing, second)
        assert found is not None
        assert min(found.empty, found.baseline_empty) >= 120
        assert without_value(PLAN.max_error_rate, found) is None
        assert second["deployment_id"] not in RollbackWatch(self.parts(comparing)).run()

    def test_without_an_older_one_there_is_nothing_to_judge_by(self, comparing: Bench) -> None:
        first = self.release(comparing, bias=1.0, empty_above=10.0)
        comparing.answers_with(first, 2.0)
        self.answered(comparing, first, 120)
        assert self.look(comparing, first) is None

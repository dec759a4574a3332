"""Shadows: the stages and the approvals of any rollout, unseen answers, an honest report, a way onwards."""

from tests.services.trials.trying import TrialBench
from tests.support.crash import eventually
from tests.support.rollouts import MEDIUM


class TestStarting:
    def test_it_answers_unseen_and_is_compared_on_the_same_requests(self, trials: TrialBench) -> None:
        trials.serve({"bias": 1.5})
        shadow = trials.start_shadow()
        assert shadow["status"] == "starting"
        running = trials.shadow_is(shadow, "running")
        assert (running["model_version"], running["share"]) == (2, 1.0)
        rollout = trials.client.get(f"/rollouts/{running['rollout_id']}").json()
        assert rollout["purpose"] == "shadow"
        assert {stage["name"] for stage in rollout["stages"] if stage["status"] == "passed"} >= {
            "validate", "security", "test", "approval", "build", "deploy", "smoke_test",
        }  # fmt: skip

        few = trials.report(shadow)
        assert (few["status"], few["agreement_rate"], few["psi"]) == ("not_enough_data", None, None)
        assert "at least 50 are needed" in few["reason"]

        assert {revision["status"] for revision in trials.deployment()["revisions"]} == {"serving", "shadow"}

        def copied() -> bool:
            """Until the snapshot with the shadow has arrived."""
            trials.ask()
            return bool(trials.report(shadow, 1)["compared"])

        eventually(copied, within=30, what="a copy of a request")
        answers = trials.asked(80)
        assert {answer.headers["mlops-model-version"] for answer in answers} == {"1"}
        trials.label(answers, above=0.5)
        report = eventually(
            lambda: (r := trials.report(shadow))["compared"] >= 80 and r, within=30, what="the comparison"
        )
        assert (report["status"], report["agreement_rate"], report["failed"]) == ("measured", 0.0, 0)
        assert abs(report["mean_difference"] - 0.5) < 1e-9
        assert report["dropped"] == 0
        assert report["shadow"]["latency_ms_p95"] > 0
        assert (report["shadow"]["model_version"], report["serving"]["model_version"]) == (2, 1)
        quality = report["quality"]
        assert (quality["status"], quality["metric"], quality["labels"]) == ("measured", "rmse", 80)
        assert abs(quality["serving"] - 0.5) < 1e-9
        assert quality["shadow"] < 1e-9

    def test_a_model_that_a_gate_stops_never_gets_a_copy(self, trials: TrialBench) -> None:
        trials.serve({"bias": 1.5, "dangerous": True})
        failed = trials.shadow_is(trials.start_shadow(), "failed")
        assert "security" in failed["reason"]
        trials.serves_as_before()

    def test_production_asks_for_the_approval_that_its_risk_demands(self, trials: TrialBench) -> None:
        bench = trials.bench
        bench.plant("plain", bias=1.0)
        bench.assess("plain", dict.fromkeys(MEDIUM, 1))
        trials.accepted = bench.deploy("plain", "production")
        bench.until(trials.accepted, "succeeded")
        bench.assess("plain", MEDIUM)
        bench.plant("plain", bias=1.5)
        shadow = trials.start_shadow()
        bench.until({**trials.accepted, "rollout_id": shadow["rollout_id"]}, "pending_approval")
        stopped = trials.client.post(f"/shadows/{shadow['shadow_id']}/stop").json()
        assert stopped["status"] == "stopped"
        assert stopped["stopped_by"] == bench.engineer.name
        assert [r["status"] for r in trials.deployment()["revisions"]] == ["serving"]

    def test_there_is_one_at_a_time_and_the_other_is_told_whose(self, trials: TrialBench) -> None:
        trials.serve({"bias": 1.5}, {"bias": 2.5})
        shadow = trials.start_shadow()
        trials.shadow_is(shadow, "running")
        answer = trials.client.post(f"{trials.path}/shadow", json={"model_id": "plain/3"})
        assert answer.status_code == 409
        assert trials.bench.engineer.name in answer.json()["detail"]
        assert answer.json()["shadow_id"] == shadow["shadow_id"]

    def test_there_must_be_something_to_compare_with(self, trials: TrialBench) -> None:
        trials.serve({"bias": 1.5})
        assert trials.client.post(f"{trials.path}/retire").status_code == 200
        answer = trials.client.post(f"{trials.path}/shadow", json={"model_id": "plain/2"})
        assert answer.status_code == 409
        assert "nothing serves" in answer.json()["detail"]


class TestStoppingAndPromoting:
    def test_stopping_leaves_what_serves(self, trials: TrialBench) -> None:
        trials.serve({"bias": 1.5})
        shadow = trials.start_shadow()
        trials.shadow_is(shadow, "running")
        for _ in range(2):
            assert trials.client.post(f"/shadows/{shadow['shadow_id']}/stop").json()["status"] == "stopped"
        trials.serves_as_before()
        actions = {event["action"] for event in trials.audited("shadow", shadow["shadow_id"])}
        assert actions == {"shadow.start", "shadow.stop"}
        listed = trials.client.get(f"{trials.path}/shadows").json()["items"]
        assert [(item["shadow_id"], item["status"]) for item in listed] == [(shadow["shadow_id"], "stopped")]

    def test_promoting_takes_it_through_a_rollout_of_its_own(self, trials: TrialBench) -> None:
        trials.serve({"bias": 1.5})
        shadow = trials.start_shadow()
        answer = trials.client.post(f"/shadows/{shadow['shadow_id']}/promote", json={})
        assert answer.status_code == 409
        trials.shadow_is(shadow, "running")
        trials.bench.until({**trials.accepted, "rollout_id": shadow["rollout_id"]}, "succeeded")
        accepted = trials.client.post(f"/shadows/{shadow['shadow_id']}/promote", json={})
        assert accepted.status_code == 202, accepted.text
        trials.bench.until(accepted.json(), "succeeded")
        trials.bench.answers_with(trials.accepted, 2.5)
        promoted = trials.shadow_is(shadow, "promoted")
        assert promoted["promoted_rollout_id"] == accepted.json()["rollout_id"]
        assert "shadow" not in {revision["status"] for revision in trials.deployment()["revisions"]}

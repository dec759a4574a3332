"""A/B tests over a real inference server: sticky, watched, decided, undone, and never past the gates."""

from typing import Any

import pytest

from tests.services.trials.trying import TrialBench
from tests.support.crash import eventually


class TestDeciding:
    def test_the_better_arm_wins_and_what_served_serves_on(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        started = trials.start_test(sticky={"by": "header", "name": "x-user"})
        assert started["status"] == "preparing"
        running = trials.measures(started)
        assert {(arm["name"], arm["control"], arm["weight"]) for arm in running["arms"]} == {
            ("control", True, 50.0), ("more", False, 50.0),
        }  # fmt: skip
        answered: dict[str, set[str]] = {}
        for number, answer in enumerate(trials.asked(120, users=40)):  # too few callers for a verdict yet
            answered.setdefault(f"user-{number % 40}", set()).add(answer.headers["mlops-revision"])
        assert all(len(revisions) == 1 for revisions in answered.values())  # each is kept on one arm
        assert len(set.union(*answered.values())) == 2

        trials.asked(300)
        ended = trials.ends(started, "winner")
        assert (ended["winner"], ended["finished_by"]) == ("more", "ab-test")
        report = ended["report"]
        units, requests = (sum(arm[name] for arm in report["arms"]) for name in ("units", "requests"))
        assert units <= min(300, requests - 80)  # callers are counted, not their requests
        [comparison] = report["comparisons"]
        assert 0 < comparison["low"] < 1.0 < comparison["high"]
        assert report["crossed_units"] == 0
        assert report["sample_ratio"]["p_value"] > 0.001
        trials.serves_as_before()

        actions = [event["action"] for event in trials.audited("ab_test", started["ab_test_id"])]
        assert set(actions) == {"ab_test.start", "ab_test.begin", "ab_test.winner"}
        [event] = [
            e for e in trials.audited("ab_test", started["ab_test_id"]) if e["action"] == "ab_test.winner"
        ]
        assert event["after"]["report"]["comparisons"] == report["comparisons"]

        accepted = trials.client.post(f"/ab-tests/{started['ab_test_id']}/promote", json={})
        assert accepted.status_code == 202, accepted.text
        trials.bench.until(accepted.json(), "succeeded")
        trials.bench.answers_with(trials.accepted, 3.0)
        assert trials.test(started)["promoted_rollout_id"] == accepted.json()["rollout_id"]

    def test_conversions_by_label_decide_too(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        started = trials.start_test(metric="conversion", direction="decrease", positive=1)
        trials.measures(started)
        answers = trials.asked(400)
        control = [answer for answer in answers if answer.json()["predictions"][0] < 2.0]
        trials.label(control, 1.0)
        trials.label([answer for answer in answers if answer not in control], 0.0)
        ended = trials.ends(started, "winner")
        assert ended["winner"] == "more"
        values = {arm["name"]: arm["value"] for arm in ended["report"]["arms"]}
        assert values == {"control": 1.0, "more": 0.0}
        trials.serves_as_before()

    def test_a_winner_is_rolled_out_when_that_was_asked_for_at_the_start(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        started = trials.start_test(promote_winner=True)
        trials.measures(started)
        trials.asked(400)
        trials.ends(started, "winner")
        rollout_id = eventually(
            lambda: trials.test(started)["promoted_rollout_id"], within=30, what="the promotion"
        )
        rollout = trials.bench.until({**trials.accepted, "rollout_id": rollout_id}, "succeeded")
        assert rollout["requested_by"] == trials.bench.engineer.name
        assert started["ab_test_id"] in rollout["justification"]

    def test_without_traffic_it_expires_without_a_verdict(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        started = trials.start_test(max_seconds=1)
        ended = trials.ends(started, "expired")
        assert ended["winner"] is None
        assert "0 of 100 units" in ended["reason"]
        trials.serves_as_before()
        answer = trials.client.post(f"/ab-tests/{started['ab_test_id']}/promote", json={})
        assert answer.status_code == 409
        assert "no winner" in answer.json()["detail"]


class TestGuardrails:
    def test_an_arm_that_fails_ends_the_test_and_its_traffic(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0, "fragile": True})
        started = trials.start_test()
        trials.measures(started)

        def broken() -> dict[str, Any]:
            for _ in range(40):
                trials.ask(value=100.0)  # the fragile one fails at what is above 9
            found = trials.test(started)
            return found if found["finished_at"] else {}

        ended = eventually(broken, within=60, what="the guardrail")
        assert ended["status"] == "stopped_by_guardrail", ended["reason"]
        assert "error_rate of more" in ended["reason"]
        [of_more] = [item for item in ended["report"]["guardrails"] if item["arm"] == "more"]
        assert of_more["broken"]
        trials.serves_as_before()


class TestStepping:
    def test_cancelling_leaves_what_was_serving(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        started = trials.start_test()
        trials.measures(started)
        for _ in range(2):
            answer = trials.client.post(f"/ab-tests/{started['ab_test_id']}/cancel")
            assert answer.json()["status"] == "cancelled"
        trials.serves_as_before()

    def test_cancelling_while_an_arm_is_on_its_way_cancels_that_too(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        started = trials.start_test()
        assert trials.client.post(f"/ab-tests/{started['ab_test_id']}/cancel").status_code == 200
        trials.serves_as_before()

    def test_nobody_else_moves_the_traffic_meanwhile_and_is_told_by_whom(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        started = trials.start_test()
        trials.measures(started)
        for path, body in (
            ("/models/plain/deploy", {"environment": "staging"}),
            (f"{trials.path}/shadow", {"model_id": "plain/2"}),
            (f"{trials.path}/ab-tests", trials.plan()),
            (f"{trials.path}/rollback", None),
            (f"{trials.path}/retire", None),
        ):
            answer = trials.client.post(path, json=body)
            assert answer.status_code == 409, (path, answer.text)
            assert answer.json()["ab_test_id"] == started["ab_test_id"]
            assert trials.bench.engineer.name in answer.json()["detail"]
        assert trials.deployment()["ab_test_id"] == started["ab_test_id"]
        trials.client.post(f"/ab-tests/{started['ab_test_id']}/cancel")

    def test_a_rollout_under_way_keeps_a_test_out(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        shadow = trials.start_shadow()
        answer = trials.client.post(f"{trials.path}/ab-tests", json=trials.plan())
        assert answer.status_code == 409
        assert answer.json()["rollout_id"] == shadow["rollout_id"]

    def test_an_arm_that_a_gate_stops_ends_the_test(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0, "dangerous": True})
        ended = trials.ends(trials.start_test(), "failed")
        assert "security" in ended["reason"]
        trials.serves_as_before()

    def test_a_revision_that_stands_by_needs_no_rollout(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        trials.bench.until(trials.bench.deploy("plain"), "succeeded")
        old = next(r for r in trials.deployment()["revisions"] if r["status"] == "standby")
        arms = [
            {"name": "control", "weight": 9, "model_id": "plain/2"},
            {"name": "before", "weight": 1, "revision_id": old["revision_id"]},
        ]
        started = trials.start_test(arms=arms)
        running = trials.measures(started)
        assert [arm["rollout_id"] for arm in running["arms"]] == [None, None]
        assert [arm["weight"] for arm in running["arms"]] == [90.0, 10.0]
        trials.client.post(f"/ab-tests/{started['ab_test_id']}/cancel")
        statuses = {r["model_version"]: r["status"] for r in trials.deployment()["revisions"]}
        assert statuses == {1: "standby", 2: "serving"}


class TestAsking:
    @pytest.mark.parametrize(
        ("arms", "says"),
        [
            ([("a", "plain/2"), ("b", "plain/3")], "must be what serves now: plain/1"),
            ([("a", "plain/1"), ("b", "plain/1")], "one arm, and only one"),
            ([("a", "plain/1"), ("b", "plain/2"), ("c", "plain/2")], "two are the same version"),
        ],
    )
    def test_the_arms_are_what_serves_and_something_else(
        self, trials: TrialBench, arms: list[tuple[str, str]], says: str
    ) -> None:
        trials.serve({"bias": 2.0}, {"bias": 3.0})
        given = [{"name": name, "weight": 1, "model_id": model} for name, model in arms]
        answer = trials.client.post(f"{trials.path}/ab-tests", json=trials.plan(arms=given))
        assert answer.status_code == 422, answer.text
        assert says in answer.text
        assert trials.deployment()["ab_test_id"] is None

    def test_a_viewer_may_look_and_not_start(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        viewer = trials.bench.person("viewer")
        assert viewer.client.get(f"{trials.path}/ab-tests").json()["items"] == []
        assert viewer.client.post(f"{trials.path}/ab-tests", json=trials.plan()).status_code == 403
        assert viewer.client.post(f"{trials.path}/shadow", json={"model_id": "plain/2"}).status_code == 403

"""Many at once: one wins, the others are told, and nothing happens twice."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx

from tests.support.rollouts import HIGH, MEDIUM, Bench

AT_ONCE = 8


def together(*calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Carries all of them out at the same moment."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class TestDeployingAtOnce:
    def test_one_rollout_wins_and_every_other_is_told_whose(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        for environment in ("production", "production"):
            client = bench.engineer.client
            found = together(
                *(
                    lambda: client.post("/models/plain/deploy", json={"environment": environment})  # noqa: B023
                    for _ in range(AT_ONCE)
                )
            )
            assert Counter(answer.status_code for answer in found) == {202: 1, 409: AT_ONCE - 1}
            [won] = [answer.json() for answer in found if answer.status_code == 202]
            assert {a.json()["rollout_id"] for a in found if a.status_code == 409} == {won["rollout_id"]}
            assert len(client.get("/deployments").json()["items"]) == 1
            client.post(f"/rollouts/{won['rollout_id']}/cancel")

    def test_of_many_endpoints_at_once_the_quota_is_filled_and_not_passed(self, bench: Bench) -> None:
        answer = bench.platform.admin.patch(f"/teams/{bench.team}", json={"max_deployments": 2})
        assert answer.status_code == 200, answer.text
        bench.plant("plain")
        client = bench.engineer.client
        found = together(
            *(
                lambda name=f"endpoint-{number}": client.post(
                    "/models/plain/deploy", json={"environment": "staging", "name": name}
                )
                for number in range(AT_ONCE)
            )
        )
        assert {answer.status_code for answer in found} == {202}
        ended = [bench.until(answer.json(), "succeeded", "failed", within=120) for answer in found]
        assert Counter(rollout["status"] for rollout in ended) == {"succeeded": 2, "failed": AT_ONCE - 2}
        for rollout in ended:
            assert rollout["status"] == "succeeded" or "mlops teams set-quota" in rollout["reason"]
        used = {item["name"]: item["used"] for item in client.get("/quota").json()["limits"]}
        assert used["deployments"] == 2


class TestVotingAtOnce:
    def test_one_person_voting_many_times_counts_once(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", HIGH)
        accepted = bench.deploy("plain", "production")
        approval, chair = bench.approval(accepted), bench.person("board_chair")
        found = together(*(lambda: bench.vote(approval, chair) for _ in range(AT_ONCE)))
        assert Counter(answer.status_code for answer in found) == {200: 1, 409: AT_ONCE - 1}
        bench.engineer.client.post(f"/rollouts/{accepted['rollout_id']}/cancel")

    def test_the_last_votes_at_once_decide_once(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", HIGH)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        board = [bench.person(role) for role in ("board_chair", "legal", "security", "product_owner")]
        found = together(*(lambda who=who: bench.vote(approval, who) for who in board))
        assert {answer.status_code for answer in found} == {200}
        bench.until(accepted, "succeeded")
        events = bench.platform.admin.get(f"/audit/events?resource={approval['approval_id']}").json()["items"]
        assert [event["action"] for event in events].count("approval.approved") == 1

    def test_a_rejection_against_the_last_approval_leaves_one_outcome(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        accepted = bench.deploy("plain", "production")
        approval = bench.approval(accepted)
        bench.vote(approval, bench.person("manager"))
        senior, other = bench.person("senior_data_scientist"), bench.person("manager", key="second manager")
        together(lambda: bench.vote(approval, senior), lambda: bench.vote(approval, other, "reject"))
        found = bench.engineer.client.get(f"/approvals/{approval['approval_id']}").json()
        wanted = {"approved": "succeeded", "rejected": "failed"}[found["status"]]
        bench.until(accepted, wanted)


class TestSteppingInAtOnce:
    def test_promote_rollback_and_cancel_have_one_winner(self, bench: Bench) -> None:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        plan = {"steps": [50, 100], "step_seconds": 600, "min_requests": 10**6}

        def to_canary(wanted: str) -> dict[str, str]:
            accepted = bench.deploy("plain", "production", canary=plan)
            approval = bench.approval(accepted)
            bench.vote(approval, bench.person("manager"))
            bench.vote(approval, bench.person("senior_data_scientist"))
            bench.until(accepted, wanted)
            return accepted

        to_canary("succeeded")
        bench.plant("plain", bias=5.0)
        accepted = to_canary("canary")
        client = bench.engineer.client
        deployment = f"/deployments/{accepted['deployment_id']}"
        calls = [f"{deployment}/promote", f"/rollouts/{accepted['rollout_id']}/cancel"] * 3
        together(*(lambda path=path: client.post(path) for path in calls))
        status = bench.rollout(accepted)["status"]
        assert status in ("succeeded", "cancelled")
        bench.answers_with(accepted, 6.0 if status == "succeeded" else 2.0)
        revisions = bench.deployment(accepted)["revisions"]
        assert sum(revision["weight"] for revision in revisions) == 100
        events = bench.platform.admin.get(f"/audit/events?resource={accepted['rollout_id']}").json()["items"]
        ends = [e["action"] for e in events if e["action"] in ("rollout.succeeded", "rollout.cancelled")]
        assert len(ends) == 1

"""What trials are tried with: callers who say who they are, and labels of what they were answered."""

import random
from collections.abc import Sequence
from typing import Any

import httpx

from tests.support.crash import eventually
from tests.support.rollouts import Bench


class TrialBench:
    """Version 1 of a small model serves `x0 + 1` in staging; others are to be tried beside it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.random = random.Random(7)
        self.accepted: dict[str, Any] = {}

    @property
    def client(self) -> httpx.Client:
        return self.bench.engineer.client

    @property
    def path(self) -> str:
        return f"/deployments/{self.accepted['deployment_id']}"

    def serve(self, *others: dict[str, Any]) -> None:
        """Deploys version 1, and registers versions 2 and on."""
        self.bench.plant("plain", bias=1.0)
        self.accepted = self.bench.deploy("plain")
        self.bench.until(self.accepted, "succeeded")
        self.bench.answers_with(self.accepted, 2.0)
        for model in others:
            self.bench.plant("plain", **model)

    def ask(self, user: str = "somebody", value: float | None = None) -> httpx.Response:
        """One prediction for somebody who says who they are."""
        return self.bench.caller.post(
            self.accepted["endpoint"],
            json={"instances": [{"x0": self.random.random() if value is None else value}]},
            headers={"authorization": f"Bearer {self.bench.engineer.token}", "x-user": user},
        )

    def asked(self, number: int, users: int | None = None) -> list[httpx.Response]:
        """So many answers, to as many callers or to some again and again."""
        found: list[httpx.Response] = []

        def ask() -> bool:
            answer = self.ask(f"user-{len(found) % (users or number)}")
            if answer.status_code == 200:  # a busy machine may say 503, and is asked again
                found.append(answer)
            return len(found) >= number

        eventually(ask, within=180, what=f"{number} answers")
        return found

    def label(
        self, answers: Sequence[httpx.Response], label: float | None = None, *, above: float = 0.0
    ) -> None:
        """Tells what came of them: one label for all, or each one's own answer and so much more."""
        records = [
            {
                "request_id": answer.headers["x-request-id"],
                "label": label if label is not None else answer.json()["predictions"][0] + above,
            }
            for answer in answers
        ]
        answer = self.client.post(f"{self.path}/ground-truth", json={"records": records})
        assert answer.status_code in (200, 201, 202), answer.text

    def start_shadow(self, model_id: str = "plain/2", **body: Any) -> dict[str, Any]:
        answer = self.client.post(f"{self.path}/shadow", json={"model_id": model_id, **body})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def shadow_is(self, shadow: dict[str, Any], status: str) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found = dict(self.client.get(f"/shadows/{shadow['shadow_id']}").json())
            return found if found["status"] == status else {}

        return eventually(look, within=60, what=f"a shadow that is {status}")

    def report(self, shadow: dict[str, Any], min_rows: int = 50) -> dict[str, Any]:
        answer = self.client.get(f"/shadows/{shadow['shadow_id']}/report", params={"min_rows": min_rows})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def plan(self, **changes: Any) -> dict[str, Any]:
        return {
            "name": "bias",
            "arms": [
                {"name": "control", "weight": 50, "model_id": "plain/1"},
                {"name": "more", "weight": 50, "model_id": "plain/2"},
            ],
            "metric": "mean_answer",
            "direction": "increase",
            "minimum_detectable_effect": 0.3,
            "min_samples": 100,
            **changes,
        }

    def start_test(self, **changes: Any) -> dict[str, Any]:
        answer = self.client.post(f"{self.path}/ab-tests", json=self.plan(**changes))
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def test(self, started: dict[str, Any]) -> dict[str, Any]:
        return dict(self.client.get(f"/ab-tests/{started['ab_test_id']}").json())

    def measures(self, started: dict[str, Any]) -> dict[str, Any]:
        """Waits until every worker splits the traffic."""

        def look() -> dict[str, Any]:
            found = self.test(started)
            assert found["finished_at"] is None, found["reason"]
            return found if found["measured_from"] else {}

        return eventually(look, within=60, what="a test that measures")

    def ends(self, started: dict[str, Any], status: str, within: float = 60) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found = self.test(started)
            assert found["finished_at"] is None or found["status"] == status, (
                found["status"],
                found["reason"],
            )
            return found if found["finished_at"] else {}

        return eventually(look, within=within, what=f"a test that ends: {status}")

    def deployment(self) -> dict[str, Any]:
        return self.bench.deployment(self.accepted)

    def serves_as_before(self) -> None:
        """Version 1 has all traffic, nothing else stands beside it, and the inference server agrees."""
        found = self.deployment()
        assert found["ab_test_id"] is None
        assert found["active_rollout_id"] is None
        assert [(r["model_version"], r["status"], r["weight"]) for r in found["revisions"]] == [
            (1, "serving", 100.0)
        ]

        def look() -> bool:
            answers = [self.ask(f"user-{n}", 1.0) for n in range(20)]
            return all(a.status_code == 200 and a.json()["predictions"] == [2.0] for a in answers)

        eventually(look, within=20, what="version 1 for everybody")

    def audited(self, kind: str, resource_id: str) -> list[dict[str, Any]]:
        answer = self.bench.platform.admin.get(
            "/audit/events", params={"kind": kind, "resource": resource_id, "limit": 100}
        )
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

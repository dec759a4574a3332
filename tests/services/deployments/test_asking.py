"""Predictions through the control plane: the endpoint's own answer, and nobody else's."""

from typing import Any

import httpx
import pytest

from ml_platform.contracts.serving import decode_snapshot
from ml_platform.integrations.inference import InferenceClient
from ml_platform.kit.tokens import sha256_of
from ml_platform.services.deployments import RolloutParts
from ml_platform.services.deployments.asking import _turns
from tests.support.crash import eventually
from tests.support.platform import Caller
from tests.support.rollouts import Bench


@pytest.fixture
def serving(bench: Bench) -> dict[str, Any]:
    """`x0 + 1` at an endpoint of staging."""
    return deployed(bench)


def deployed(bench: Bench, **model: Any) -> dict[str, Any]:
    bench.plant("plain", **model)
    accepted = bench.deploy("plain")
    bench.until(accepted, "succeeded")
    bench.answers_with(accepted, 2.0)
    return accepted


def ask(
    accepted: dict[str, Any], who: Caller, instances: list[Any] | None = None, **more: Any
) -> httpx.Response:
    body = {"instances": [{"x0": 1.0}] if instances is None else instances, **more}
    return who.client.post(f"/deployments/{accepted['deployment_id']}/predict", json=body)


class TestAPrediction:
    def test_says_which_revision_gave_it_and_under_which_id(
        self, bench: Bench, serving: dict[str, Any]
    ) -> None:
        answer = ask(serving, bench.engineer, [{"x0": 1.0}, {"x0": 2.5}])
        assert answer.status_code == 200, answer.text
        found = answer.json()
        [revision] = bench.deployment(serving)["revisions"]
        assert found["predictions"] == [2.0, 3.5]
        assert (found["revision_id"], found["model_name"]) == (revision["revision_id"], "plain")
        assert found["model_version"] == 1
        assert found["request_id"]
        assert found["milliseconds"] > 0
        assert (found["explanations"], found["not_explained"]) == (None, None)

    def test_counts_as_traffic(self, bench: Bench, serving: dict[str, Any]) -> None:
        url = f"/deployments/{serving['deployment_id']}/metrics"
        before = bench.engineer.client.get(url).json()["requests"]
        for _ in range(3):
            ask(serving, bench.engineer)
        eventually(lambda: bench.engineer.client.get(url).json()["requests"] >= before + 3, within=20)

    def test_comes_with_its_reasons_when_they_are_asked_for(
        self, bench: Bench, serving: dict[str, Any]
    ) -> None:
        found = ask(serving, bench.engineer, [{"x0": 3.0}], explain=True).json()
        [explanation] = found["explanations"]
        assert found["not_explained"] is None
        total = explanation["base_value"] + sum(explanation["values"].values())
        assert total == pytest.approx(found["predictions"][0])
        assert list(explanation["values"]) == ["x0"]

    def test_stands_without_reasons_where_there_are_none(self, bench: Bench) -> None:
        accepted = deployed(bench, unexplained=True)
        found = ask(accepted, bench.engineer, explain=True).json()
        assert (found["predictions"], found["explanations"]) == ([2.0], None)
        assert "cannot be explained" in found["not_explained"]


class TestARefusal:
    def test_names_the_place_in_the_models_own_words(self, bench: Bench, serving: dict[str, Any]) -> None:
        answer = ask(serving, bench.engineer, [{"x0": "three"}])
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert "x0" in answer.json()["detail"]
        [field] = answer.json()["errors"]
        assert "x0" in field["field"]

    @pytest.mark.parametrize(
        "body",
        [
            {"instances": []},
            {"instances": [{"x0": 1.0}] * 101},
            {"instances": {"x0": 1.0}},
            {"instances": [{"x0": 1.0}], "revision_id": "rev_1"},
            {},
        ],
        ids=["none", "too many", "no list", "an unknown field", "nothing"],
    )
    def test_of_what_is_no_request_reaches_no_model(
        self, bench: Bench, serving: dict[str, Any], body: dict[str, Any]
    ) -> None:
        answer = bench.engineer.client.post(f"/deployments/{serving['deployment_id']}/predict", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")

    def test_comes_as_a_conflict_where_nothing_serves(self, bench: Bench, serving: dict[str, Any]) -> None:
        bench.engineer.client.post(f"/deployments/{serving['deployment_id']}/retire")
        answer = ask(serving, bench.engineer)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "nothing answers" in answer.json()["detail"]

    def test_is_a_503_while_the_inference_server_is_away(
        self, bench: Bench, serving: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = bench.platform.runtime.components.get(RolloutParts)
        nobody = InferenceClient(lambda: "http://127.0.0.1:9", "no token")
        monkeypatch.setattr(parts, "plane", nobody)
        answer = ask(serving, bench.engineer)
        nobody.close()
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "does not answer" in answer.json()["detail"]

    def test_says_that_the_model_failed(self, bench: Bench) -> None:
        accepted = deployed(bench, fails_above=100.0)
        answer = ask(accepted, bench.engineer, [{"x0": 500.0}])
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "the model failed" in answer.json()["detail"]

    def test_comes_at_once_when_others_wait_already(self, bench: Bench, serving: dict[str, Any]) -> None:
        taken = 0
        while _turns.acquire(blocking=False):
            taken += 1
        try:
            answer = ask(serving, bench.engineer)
        finally:
            for _ in range(taken):
                _turns.release()
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert answer.headers["retry-after"]
        assert ask(serving, bench.engineer).status_code == 200


class TestWhoMayAsk:
    def test_takes_the_permission_to_predict(self, bench: Bench, serving: dict[str, Any]) -> None:
        refused = ask(serving, bench.person("viewer"))
        assert (refused.status_code, refused.json()["permission"]) == (403, "predict")
        assert ask(serving, bench.person("prediction_client")).status_code == 200

    def test_another_team_finds_nothing(self, bench: Bench, serving: dict[str, Any]) -> None:
        other = bench.platform.new_user(bench.platform.new_team("other"), "ml_engineer")
        assert ask(serving, other).status_code == 404

    def test_the_key_that_carries_it_reaches_one_team_and_is_told_to_nobody(
        self, bench: Bench, serving: dict[str, Any]
    ) -> None:
        parts = bench.platform.runtime.components.get(RolloutParts)
        token = parts.smoke_keys.team_token(bench.team)
        answer = ask(serving, bench.engineer, explain=True)
        assert token not in answer.text + str(answer.headers)
        server = (bench.platform.settings.home / "secrets" / "inference.key").read_text()
        published = bench.platform.client(server).get("/inference/snapshot")
        assert token not in published.text
        [key] = [k for k in decode_snapshot(published.content).keys if k.token_sha256 == sha256_of(token)]
        assert (key.team, set(key.permissions)) == (bench.team, {"predict", "inference_internal"})
        elsewhere = bench.caller.post(
            serving["endpoint"].replace(bench.team, bench.platform.new_team("other")),
            json={"instances": [{"x0": 1.0}]},
            headers={"authorization": f"Bearer {token}"},
        )
        assert elsewhere.status_code == 404

    def test_the_teams_rate_holds_this_way_too(self, bench: Bench, serving: dict[str, Any]) -> None:
        set_rate = bench.platform.admin.patch(f"/teams/{bench.team}", json={"requests_per_second": 1})
        assert set_rate.status_code == 200, set_rate.text

        def limited() -> bool:
            answers = [ask(serving, bench.engineer) for _ in range(5)]
            return any(answer.json().get("code") == "rate_limited" for answer in answers)

        eventually(limited, within=30, what="a refusal by the team's rate")

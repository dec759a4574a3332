"""What a deployment declares for a feature store that is away: checked, kept, and handed to the servers."""

import pytest

from ml_platform.contracts.bundles import Column, EntityKey, FeatureRequest
from ml_platform.contracts.deployments import FeatureServing
from ml_platform.contracts.featurepolicy import FeaturePolicy
from ml_platform.services.deployments.featurepolicies import policy_of, policy_problem
from tests.support.rollouts import Bench

INPUTS = (Column(name="tenure", type="long"), Column(name="asked", type="double"))
REQUEST = FeatureRequest(entities=(EntityKey(name="customer_id"),), columns={"tenure": "customer:tenure"})


def config(**declared: object) -> dict[str, object]:
    return {"features": FeatureServing.model_validate(declared).model_dump(mode="json")}


class TestPolicyOf:
    def test_is_what_was_declared(self) -> None:
        found = policy_of(config(on_store_failure="default", defaults={"tenure": 12}, deadline_ms=20))
        assert found == FeaturePolicy(on_store_failure="default", defaults={"tenure": 12}, deadline_ms=20)

    @pytest.mark.parametrize("kept", [{}, {"features": None}])
    def test_is_nothing_for_revisions_that_declare_nothing(self, kept: dict[str, object]) -> None:
        assert policy_of(kept) is None


class TestPolicyProblem:
    def test_is_none_for_defaults_of_the_right_types(self) -> None:
        declared = config(on_store_failure="default", defaults={"tenure": 12})
        assert policy_problem(declared, INPUTS, REQUEST) is None
        assert policy_problem({}, INPUTS, REQUEST) is None

    def test_names_the_default_that_does_not_fit(self) -> None:
        declared = config(on_store_failure="default", defaults={"tenure": "long ago"})
        problem = policy_problem(declared, INPUTS, REQUEST)
        assert problem == "features.defaults.tenure: expected long, got str"
        problem = policy_problem(config(on_store_failure="default"), INPUTS, REQUEST)
        assert problem is not None
        assert problem.startswith("features.defaults.tenure: missing")


class TestDeploying:
    def test_stops_at_the_first_stage_for_a_model_without_features(self, bench: Bench) -> None:
        bench.plant("featureless")
        accepted = bench.deploy("featureless", features={"on_store_failure": "last_known"})
        rollout = bench.until(accepted, "failed")
        assert "declares no features" in rollout["reason"]
        assert rollout["config"]["features"]["on_store_failure"] == "last_known"
        assert rollout["stages"][0]["status"] == "failed"

    @pytest.mark.parametrize(
        "features",
        [
            {"on_store_failure": "zeros"},
            {"deadline_ms": 0},
            {"deadline_ms": "soon"},
            {"defaults": {"tenure": [1]}},
            {"last_known_max_age_seconds": -1},
            {"zeros": True},
            "fail",
        ],
    )
    def test_refuses_what_makes_no_sense(self, bench: Bench, features: object) -> None:
        bench.plant("refused")
        answer = bench.engineer.client.post(
            "/models/refused/deploy", json={"environment": "staging", "features": features}
        )
        assert answer.status_code == 422, answer.text

"""A policy for a feature store that is away fits the model's signature, or is refused."""

import pytest

from ml_platform.contracts.bundles import Column, EntityKey, FeatureRequest
from ml_platform.contracts.featurepolicy import FeaturePolicy, check_policy, typed_defaults

INPUTS = (
    Column(name="tenure", type="long"),
    Column(name="small", type="integer"),
    Column(name="charges", type="double"),
    Column(name="ratio", type="float"),
    Column(name="plan", type="string", required=False),
    Column(name="active", type="boolean"),
    Column(name="since", type="datetime"),
    Column(name="asked", type="double"),
)
FEATURES = FeatureRequest(
    entities=(EntityKey(name="customer_id"),),
    columns={column.name: f"customer:{column.name}" for column in INPUTS[:-1]},
)
DEFAULTS = {
    "tenure": 12,
    "small": 1,
    "charges": 65,
    "ratio": 0.5,
    "plan": None,
    "active": True,
    "since": "2026-01-01T00:00:00+00:00",
}


def refused(policy: FeaturePolicy, features: FeatureRequest | None = FEATURES) -> str:
    with pytest.raises(ValueError, match="features") as caught:
        check_policy(policy, INPUTS, features)
    return str(caught.value)


class TestCheck:
    def test_takes_a_default_for_every_column_that_is_looked_up(self):
        policy = FeaturePolicy(on_store_failure="default", defaults=DEFAULTS)
        check_policy(policy, INPUTS, FEATURES)
        typed = typed_defaults(policy, INPUTS)
        assert (typed["charges"], type(typed["charges"]), typed["plan"]) == (65.0, float, None)
        assert typed["since"].year == 2026

    @pytest.mark.parametrize("name", list(DEFAULTS))
    def test_refuses_a_column_without_one(self, name):
        left = {key: value for key, value in DEFAULTS.items() if key != name}
        assert f"defaults.{name}: missing" in refused(
            FeaturePolicy(on_store_failure="default", defaults=left)
        )

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("tenure", 1.5),
            ("tenure", True),
            ("tenure", "12"),
            ("tenure", None),
            ("tenure", 2**63),
            ("small", 2**31),
            ("charges", "65"),
            ("charges", False),
            ("charges", float("nan")),
            ("charges", float("inf")),
            ("charges", 10**400),
            ("ratio", 1e300),
            ("plan", 5),
            ("plan", "x" * 1001),
            ("active", 1),
            ("since", "yesterday"),
            ("since", 5),
        ],
    )
    def test_refuses_a_value_of_another_type(self, name, value):
        policy = FeaturePolicy(on_store_failure="default", defaults={**DEFAULTS, name: value})
        assert f"features.defaults.{name}" in refused(policy)

    @pytest.mark.parametrize("name", ["asked", "nonsense"])
    def test_refuses_a_default_for_a_column_that_is_not_looked_up(self, name):
        policy = FeaturePolicy(on_store_failure="default", defaults={**DEFAULTS, name: 1.0})
        assert f"features.defaults.{name}" in refused(policy)

    @pytest.mark.parametrize("kind", ["fail", "last_known"])
    def test_refuses_defaults_that_would_never_be_taken(self, kind):
        assert "defaults" in refused(FeaturePolicy(on_store_failure=kind, defaults=DEFAULTS))

    @pytest.mark.parametrize("milliseconds", [0, -1, 0.5, 10_001, float("nan"), float("inf")])
    def test_refuses_a_deadline_without_sense(self, milliseconds):
        assert "deadline_ms" in refused(FeaturePolicy(deadline_ms=milliseconds))

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
    def test_refuses_an_age_without_sense(self, seconds):
        policy = FeaturePolicy(on_store_failure="last_known", last_known_max_age_seconds=seconds)
        assert "max_age" in refused(policy)

    def test_refuses_a_model_without_features(self):
        assert "declares no features" in refused(FeaturePolicy(), None)

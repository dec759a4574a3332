"""What a deployment declares for the time in which its feature store is slow or down."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ml_platform.contracts.bundles import Column, FeatureRequest
from ml_platform.contracts.featurepolicy import FeaturePolicy, check_policy

CONFIG = "features"


def policy_of(config: Mapping[str, Any]) -> FeaturePolicy | None:
    """The policy in a revision's configuration; None where nothing is declared."""
    declared = config.get(CONFIG)
    return msgspec.convert(declared, FeaturePolicy) if declared is not None else None


def policy_problem(
    config: Mapping[str, Any], inputs: tuple[Column, ...], request: FeatureRequest | None
) -> str | None:
    """Why what is declared does not fit the model's signature and features, or None."""
    policy = policy_of(config)
    if policy is None:
        return None
    try:
        check_policy(policy, inputs, request)
    except ValueError as error:
        return str(error)
    return None

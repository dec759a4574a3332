"""What a version is deployed with when nobody says it: as the one whose place it takes."""

from collections.abc import Mapping
from typing import Any

from ml_platform.services.deployments.featurepolicies import CONFIG

BESIDE = ("resources", CONFIG)
"""Of what stands beside the traffic: it is tried, and held to no budget."""
INSTEAD = (*BESIDE, "budget")


def carried(
    config: Mapping[str, Any], *, has_features: bool, names: tuple[str, ...] = INSTEAD
) -> dict[str, Any]:
    """Parts of a revision's configuration for another; a version without features takes no policy for them."""
    kept = [name for name in names if has_features or name != CONFIG]
    return {name: config[name] for name in kept if config.get(name)}

"""What the slices' tests share beyond a running control plane."""

import pytest

from tests.support.platform import RunningPlatform
from tests.support.training import TrainedTeam, train_team


@pytest.fixture(scope="session")
def trained(platform: RunningPlatform) -> TrainedTeam:
    """A team whose job has registered `churn` version 1; read it, and add teams of your own to change things."""
    return train_team(platform)

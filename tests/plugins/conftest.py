"""The bench of rollouts, for clients from outside."""

from tests.services.deployments.conftest import bench, inference  # noqa: F401 - fixtures

"""What governance asks of other slices."""

from collections.abc import Collection, Mapping
from typing import Protocol

from ml_platform.contracts.identity import Role
from ml_platform.services.access import Work


class RoleDirectory(Protocol):
    def roles_of(self, work: Work, user_ids: Collection[str]) -> Mapping[str, frozenset[Role]]:
        """The roles that these users hold now in the team of `work`; nobody inactive holds any."""
        ...


class ModelDirectory(Protocol):
    def require_model(self, work: Work, name: str) -> None:
        """Raises NotFoundError unless the team has a registered model of that name."""
        ...

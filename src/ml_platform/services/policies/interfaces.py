"""What the slice asks of whoever evaluates policies."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from ml_platform.contracts.policies import PolicyCheck, PolicySummary


class PolicyEngine(Protocol):
    @property
    def version(self) -> int:
        """The version of the organisation's policies by which it decides; 0 for none."""
        ...

    @property
    def schema(self) -> str:
        """What policies can be about, as Cedar schema text."""
        ...

    def check(self, files: Mapping[str, str], tests: Mapping[str, str]) -> PolicyCheck:
        """Reads, validates and tests a set; changes nothing."""
        ...

    def use(self, version: int, files: Mapping[str, str]) -> str | None:
        """Decides by this version from now on; why it cannot, in which case the one before stays."""
        ...

    def close(self, why: str) -> None:
        """Refuses what an organisation's policies have a say in, until a version can be used."""
        ...

    def platform_policies(self) -> Sequence[PolicySummary]:
        """The platform's own."""
        ...

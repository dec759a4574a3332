"""What governance asks of other slices."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import Session

from ml_platform.contracts.identity import Role
from ml_platform.contracts.modelregister import Revalidation
from ml_platform.contracts.personaldata import PersonalDataFinding
from ml_platform.services.access import Actor, Work
from ml_platform.services.governance.cards import CardFacts


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a team."""

    user_id: str
    name: str


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A registered model."""

    name: str
    created_by: str
    latest_version: int


@dataclass(frozen=True, slots=True)
class ServesInProduction:
    """The versions of a model with traffic in production, as `name/version`.

    `since` is when its oldest endpoint there was made, `requested_by` the id of who asked for what serves.
    """

    versions: tuple[str, ...]
    since: datetime
    requested_by: str

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(version.rpartition("/")[2]) for version in self.versions)


class RoleDirectory(Protocol):
    def actor_of(self, work: Work, user_id: str, key_id: str | None = None) -> Actor | None:
        """A user as they could act in the team of `work` now; None for one who is unknown or inactive.

        With a key, as far as that goes; None when it was revoked. One that has run out still says how far it went.
        """
        ...

    def roles_of(self, work: Work, user_ids: Collection[str]) -> Mapping[str, frozenset[Role]]:
        """The roles that these users hold now in the team of `work`; nobody inactive holds any."""
        ...

    def member(self, work: Work, name: str) -> Member | None:
        """The active member of the team of `work` with this name."""
        ...


class ModelDirectory(Protocol):
    def require_model(self, work: Work, name: str) -> None:
        """Raises NotFoundError unless the team has a registered model of that name."""
        ...

    def list_models(self, work: Work, after: str | None, limit: int) -> Sequence[KnownModel]:
        """By name."""
        ...

    def get_model(self, work: Work, name: str) -> KnownModel:
        """Raises NotFoundError unless the team has a registered model of that name."""
        ...

    def card(self, work: Work, name: str, version: int) -> CardFacts:
        """A version's card and facts; raises NotFoundError unless the team has the version."""
        ...

    def set_card(self, work: Work, name: str, version: int, card: Mapping[str, object]) -> None:
        """Replaces a version's card; the one before stays readable in the audit log."""
        ...


class ProductionUse(Protocol):
    def serving(self, work: Work, names: Collection[str]) -> Mapping[str, ServesInProduction]:
        """What serves in production of each of these models of the team; absent where nothing does."""
        ...

    def everywhere(self, work: Work) -> Sequence[tuple[str, str, str, ServesInProduction]]:
        """The same over all teams: team id, team name, model name."""
        ...


class Revalidator(Protocol):
    def revalidate(self, work: Work, model_id: str, dataset: str) -> Revalidation:
        """Judges a version on labelled rows, in a process of its own; takes seconds."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingColumn:
    """What was found in a column of a version of a dataset, written `name@version`."""

    dataset: str
    finding: PersonalDataFinding

    @property
    def column(self) -> str:
        return self.finding.column


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What a model version was trained on, with what was found there; not `known`: its lineage names no data."""

    datasets: tuple[str, ...] = ()
    columns: tuple[TrainingColumn, ...] = ()
    known: bool = False


class TrainingData(Protocol):
    """Personal data behind model versions, by their lineage."""

    def of(self, session: Session, team_id: str, model: str, version: int) -> TrainingFacts:
        """Findings in the columns that training could read, those that people said are wrong included."""
        ...

    def named(self, column: str) -> Sequence[PersonalDataFinding]:
        """What the name of a column alone says."""
        ...
